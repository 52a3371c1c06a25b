"""Rows shown to SyncNet, with a stand-in whose codes are brightness and loudness."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from speech2lip.conventions import SAMPLE_RATE
from speech2lip.evaluation.accumulate import Moment
from speech2lip.evaluation.held_out import Span
from speech2lip.evaluation.metrics import published
from speech2lip.evaluation.metrics.published import SyncNet, SyncNetObserver
from speech2lip.evaluation.speech_labels import Heard
from tests.evaluation.made_footage import made_take
from tests.made_face import SIZE

SECONDS = 6
LEVELS = np.random.default_rng(0).uniform(40, 200, SECONDS * 25)
"""Loudness and brightness of each 25th of a second."""


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def encode_faces(expert: SyncNet, windows: np.ndarray) -> np.ndarray:
        return windows[:, :, 7:9, 7:9].mean(axis=(2, 3, 4)).astype(np.float32)

    def encode_sounds(expert: SyncNet, wave: np.ndarray, count: int) -> np.ndarray:
        loud = wave[: len(wave) // 640 * 640].reshape(-1, 640).mean(axis=1) * 255
        return np.stack([loud[i : i + 5] for i in range(count)])

    monkeypatch.setattr(published, "SIDE", 16)
    monkeypatch.setattr(published, "encode_faces", encode_faces)
    monkeypatch.setattr(published, "encode_sounds", encode_sounds)


def shown(*, fps: int = 25, missing: range = range(0), late: int = 0) -> SyncNetObserver:
    """Show grey frames that are as bright as the sound is loud, and a still row."""
    count = SECONDS * fps
    take = made_take("a", frames=count, opening=0.1)
    info = dataclasses.replace(take.info, fps=Fraction(fps))
    take = dataclasses.replace(take, info=info, times=np.arange(count) / fps)
    span = Span(take, 0, count)
    observer = SyncNetObserver(SyncNet(), ["ours", "static_lips"])
    wave = np.repeat(LEVELS / 255, SAMPLE_RATE // 25).astype(np.float32)
    observer.begin_take(span, Heard(wave))
    box = (0, 0, 8, 8)
    for i in (i for i in range(count) if i not in missing):
        level = np.roll(LEVELS, late)[min(round(take.times[i] * 25), len(LEVELS) - 1)]
        picture = np.full((*SIZE, 3), round(level), np.uint8)
        moment = Moment(
            i, float(take.times[i]), picture, box, take.landmarks[i], box, np.ones((8, 8), np.float32)
        )
        still = np.full_like(picture, 128)
        observer.frame(moment, {"ours": picture, "static_lips": still}, {})
    observer.end_take({})
    return observer


@pytest.mark.parametrize("late", [0, 3, -5])
def test_lips_that_come_late_show_as_offset(late: int) -> None:
    figures = shown(late=late).figures()
    assert figures["ours"]["syncnet_offset_ms"] == -40 * late  # positive: the sound is late
    assert figures["ours"]["syncnet_confidence"] > 20
    still = figures["static_lips"]
    assert still["syncnet_confidence"] < figures["ours"]["syncnet_confidence"] / 3
    assert still["syncnet_distance"] > figures["ours"]["syncnet_distance"]


def test_right_lips_have_no_distance() -> None:
    distance = shown().figures()["ours"]["syncnet_distance"]
    assert distance == pytest.approx(0, abs=1)  # rounding to levels


@pytest.mark.parametrize("fps", [24, 30, 50])
def test_other_frame_rates_are_brought_to_25(fps: int) -> None:
    assert shown(fps=fps).figures()["ours"]["syncnet_offset_ms"] == 0


def test_a_missing_frame_ends_a_piece() -> None:
    observer = shown(missing=range(60, 63))
    assert [count for count, _ in observer.scored] == [55, 82]
    assert observer.figures()["ours"]["syncnet_offset_ms"] == 0
    short = shown(missing=range(20, 21))
    assert [count for count, _ in short.scored] == [124]  # the first piece was too short


def test_long_takes_are_scored_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "PIECE_FRAMES", 50)
    assert [count for count, _ in shown().scored] == [45, 45, 45]


def test_nothing_seen_is_not_applicable() -> None:
    assert SyncNetObserver(SyncNet(), ["ours"]).figures() == {}
