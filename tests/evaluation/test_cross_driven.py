"""Pairings of one take's frames with another's sound tell a leak from an honest system."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from speech2lip.evaluation.cross_driven import (
    Pairing,
    leak_figures,
    other_sounds,
    pair_up,
    pieces,
    silences,
    silent_parts,
    usual_opening,
)
from speech2lip.evaluation.held_out import Span
from tests.evaluation.made_footage import made_take
from tests.evaluation.talking import spoken

Series = NDArray[np.float64]


def _pairings(made: str, *, rhythm: float = 0.0) -> list[Pairing]:
    """Pair six takes; `rhythm` is a course that all of them share."""
    shared = rhythm * np.sin(np.linspace(0, 4 * np.pi, 250))
    found = []
    for seed in range(6):
        shown, heard = spoken(2 * seed) + shared, spoken(2 * seed + 1) + shared
        noise = np.random.default_rng(seed).normal(0, 0.01, 250)
        # Sound tells something of the rhythm that the true opening of that day does not show.
        honest = heard + 0.5 * shared + noise
        lips = {
            "honest": honest,
            "original": shown,
            "static": np.full(250, 0.1),
            "half": honest + 0.5 * shown,
        }
        found.append(Pairing(lips[made], shown, heard, shared))
    return found


def test_an_honest_system_does_not_leak() -> None:
    row, details = leak_figures(_pairings("honest"))
    assert abs(row["leak_r"]) < 0.1
    assert row["cross_r"] > 0.9
    interval: Any = details["leak_r_interval"]
    low, high = interval
    assert low < row["leak_r"] < high
    assert details["pairings"] == 6


def test_the_original_video_leaks_all() -> None:
    row, _ = leak_figures(_pairings("original"))
    assert row["leak_r"] > 0.95
    assert abs(row["cross_r"]) < 0.5


def test_half_a_leak_is_seen() -> None:
    assert leak_figures(_pairings("half"))[0]["leak_r"] > 0.7


def test_static_lips_neither_leak_nor_follow() -> None:
    assert leak_figures(_pairings("static"))[0] == {"leak_r": 0.0, "cross_r": 0.0}


def test_shared_rhythm_is_no_leak() -> None:
    row, details = leak_figures(_pairings("honest", rhythm=0.1))
    assert abs(row["leak_r"]) < 0.1
    figures: dict[str, Any] = dict(details)
    assert figures["leak_r_plain"] > 0.5
    given_heard = [dataclasses.replace(one, usual=None).leak() for one in _pairings("honest", rhythm=0.1)]
    assert np.mean(given_heard) > 0.3  # what the partial correlation alone would have said


def test_without_pairings_nothing_is_known() -> None:
    assert leak_figures([]) == ({"leak_r": None, "cross_r": None}, {"pairings": 0})


def _spans(count: int, frames: int = 50) -> list[Span]:
    return [Span(made_take(f"t{i}", frames=frames), 0, frames) for i in range(count)]


def test_pairs_never_meet_themselves() -> None:
    spans = _spans(4)
    pairs = pair_up(spans, spans, pairings=100, frames=30)
    assert len(pairs) == 12
    assert all(a.take.name != b.take.name and len(a.times) == len(b.times) == 30 for a, b in pairs)
    assert len({(a.take.name, b.take.name) for a, b in pairs}) == 12
    few = pair_up(spans, spans, pairings=3, frames=30)
    assert len({a.take.name for a, _ in few}) == 3


def test_long_takes_are_paired_piece_by_piece() -> None:
    parts = pieces(_spans(1, 200), 75)
    assert [(part.start, part.stop) for part in parts] == [(0, 75), (75, 150), (150, 200)]
    pairs = pair_up(parts, parts, pairings=100, frames=75)
    assert len(pairs) == 6
    assert all(a.start != b.start for a, b in pairs)
    assert len(pieces(_spans(1, 80), 75)) == 1  # five frames tell nothing


def test_pairings_never_cross_cuts() -> None:
    take = dataclasses.replace(
        made_take("cut", frames=200), shot=np.repeat(np.arange(4, dtype=np.int32), [40, 10, 80, 70])
    )
    parts = pieces([Span(take, 20, 200)], 75)
    assert [(part.start, part.stop) for part in parts] == [
        (20, 40),
        (50, 125),
        (130, 200),
    ]


def test_one_held_out_take_hears_the_rest() -> None:
    take = made_take("only", frames=200)
    sounds, trained_on = other_sounds([Span(take, 180, 200)], [Span(take, 0, 200)])
    assert trained_on
    assert all(sound.stop <= 180 for sound in sounds)
    assert pair_up([Span(take, 180, 200)], sounds, pairings=4, frames=75)
    assert other_sounds(_spans(2), _spans(3))[1] is False


def test_silence_shows_the_middle_of_takes() -> None:
    parts = silent_parts(_spans(8, 75), 100)
    assert [(part.start, part.stop) for part in parts] == [(25, 50)] * 4
    assert [part.stop - part.start for part in silent_parts(_spans(1, 75), 100)] == [75]


def test_the_usual_opening() -> None:
    takes = [made_take(f"t{i}", frames=40, opening=0.1 * i) for i in range(3)]
    assert usual_opening(takes, 0, 40) == pytest.approx(np.full(40, 0.1), abs=1e-3)
    assert usual_opening(takes, 30, 50) is None
    assert usual_opening([], 0, 10) is None


def test_silence_is_silent_and_noise_is_soft() -> None:
    digital, noise = silences()["digital"], silences()["room noise"]
    assert digital.shape == noise.shape == (64_000,)
    assert digital.dtype == noise.dtype == np.float32
    assert not digital.any()
    assert 20 * np.log10(np.sqrt(np.mean(noise.astype(np.float64) ** 2))) == pytest.approx(-60, abs=0.1)
    assert (noise == silences()["room noise"]).all()
