"""Unseen speakers' sound: what can be judged without picture truth."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.quality import cross
from benchmarks.quality.cross import UnseenSpeaker, drive_with_unseen_speaker
from speech2lip.decomposition.footage import Take
from speech2lip.evaluation.held_out import Span
from speech2lip.evaluation.methods import Method
from speech2lip.evaluation.metrics.mouth import OpeningScale
from speech2lip.evaluation.result import Row
from speech2lip.evaluation.speech_labels import GROUND_TRUTH, Phones
from tests.evaluation.made_footage import face_points, made_take
from tests.evaluation.talking import sound_of, spoken, times

SCALE = OpeningScale(0.0, 0.2)


def _row(lips: NDArray[np.float64], monkeypatch: pytest.MonkeyPatch, spans: Sequence[Span]) -> Row:
    """Drive with lips that are known at every moment of the sound."""
    opening = spoken(3)

    def known(
        _: object, span: Span, __: object, moments: NDArray[np.float64], ___: object
    ) -> dict[str, NDArray[np.float32]]:
        return {"": np.stack([face_points(float(np.interp(moment, times(), lips))) for moment in moments])}

    monkeypatch.setattr(cross, "driven_landmarks", known)
    rows = tuple(("b", second, second + 0.04) for second in times()[1:-50][opening[1:-50] < 0.01])
    sound = UnseenSpeaker(
        "stranger", sound_of(opening).wave, Phones((*rows, ("pau", 8.0, 10.0)), GROUND_TRUTH)
    )
    monkeypatch.setattr(OpeningScale, "of", lambda _: SCALE)
    footage: Any = SimpleNamespace(takes=[span.take for span in spans])
    return drive_with_unseen_speaker(Method(), spans, sound, footage, seconds=10.0)


@pytest.fixture
def spans() -> list[Span]:
    takes: list[Take] = [made_take(name, frames=125) for name in ("a", "bb", "ccc")]
    return [Span(take, 0, 125) for take in takes]


def test_lips_that_follow_the_speaker(monkeypatch: pytest.MonkeyPatch, spans: list[Span]) -> None:
    row = _row(spoken(3), monkeypatch, spans)
    assert row["frames"] == 250
    assert row["sync_offset_ms"] == pytest.approx(0, abs=20)
    assert row["closure_reached"] > 0.8
    assert row["silent_open_percent"] == 0
    assert abs(row["leak_r"]) < 0.3


def test_lips_that_never_move(monkeypatch: pytest.MonkeyPatch, spans: list[Span]) -> None:
    row = _row(np.full(250, 0.15), monkeypatch, spans)
    assert row["sync_offset_ms"] is None
    assert row["closure_reached"] == 0
    assert row["silent_open_percent"] == 100
    assert row["leak_r"] == 0


def test_no_frames_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _row(spoken(3), monkeypatch, []) == {"frames": 0}
