"""Closures at /p b m/ and the mouth in silence, on made openings."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from speech2lip.evaluation.metrics.closure import (
    OpeningScale,
    closures,
    frames_inside,
    phone_intervals,
    silent_motion,
    silent_open_percent,
)

TIMES = np.arange(250) / 25
SCALE = OpeningScale(closed=0.0, wide=0.2)
PHONES = np.array([[1.0, 1.1], [3.0, 3.1], [5.0, 5.1], [7.0, 7.1]])
SILENCE = np.array([[8.0, 10.0]])


@pytest.fixture
def openings() -> NDArray[np.float64]:
    """A mouth 0.2 open but for the four closures and the silence at the end."""
    series = np.full(250, 0.2)
    for start, end in (*PHONES, *SILENCE):
        series[np.abs(TIMES - (start + end) / 2) <= (end - start) / 2 + 1e-9] = 0.0
    return series


def test_scale_of_a_person(openings: NDArray[np.float64]) -> None:
    scale = OpeningScale.measure(np.append(openings, np.nan))
    assert scale == SCALE
    assert scale.threshold == pytest.approx(0.03)
    with pytest.raises(AssertionError, match="face"):
        OpeningScale.measure(np.array([np.nan]))


def test_all_closures_reached(openings: NDArray[np.float64]) -> None:
    found = closures(openings, TIMES, PHONES, scale=SCALE)
    assert (found.count, found.reached, found.depth) == (4, 1.0, 1.0)


def test_half_closed_lips_do_not_count_but_have_depth(openings: NDArray[np.float64]) -> None:
    openings[(TIMES >= 2.9) & (TIMES <= 3.2)] = 0.1
    found = closures(openings, TIMES, PHONES, scale=SCALE)
    assert found.reached == 0.75
    assert found.depth == pytest.approx((3 + 0.5) / 4)


def test_static_open_lips_fail(openings: NDArray[np.float64]) -> None:
    static = np.full_like(openings, openings.mean())
    assert closures(static, TIMES, PHONES, scale=SCALE).reached == 0
    assert silent_open_percent(static, TIMES, SILENCE, scale=SCALE) == 100
    assert silent_motion(static, TIMES, SILENCE) == pytest.approx(0)


def test_lips_that_are_always_shut_close_nothing(openings: NDArray[np.float64]) -> None:
    shut = closures(np.zeros_like(openings), TIMES, PHONES, scale=SCALE)
    assert shut.reached == 0
    assert shut.depth == 1


def test_late_closures_are_missed(openings: NDArray[np.float64]) -> None:
    assert closures(np.roll(openings, 1), TIMES, PHONES, scale=SCALE).reached == 1
    assert closures(np.roll(openings, 5), TIMES, PHONES, scale=SCALE).reached == 0


def test_phones_without_a_face_are_not_judged(openings: NDArray[np.float64]) -> None:
    openings[(TIMES >= 0.8) & (TIMES <= 1.3)] = np.nan
    assert closures(openings, TIMES, PHONES, scale=SCALE).count == 3
    none = closures(openings, TIMES, np.zeros((0, 2)), scale=SCALE)
    assert none.count == 0
    assert math.isnan(none.reached)


def test_silence(openings: NDArray[np.float64]) -> None:
    assert silent_open_percent(openings, TIMES, SILENCE, scale=SCALE) == 0
    openings[220:230] = 0.1  # 10 of the 40 frames between 8.2 and 9.8 s
    assert silent_open_percent(openings, TIMES, SILENCE, scale=SCALE) == 25
    assert silent_motion(openings, TIMES, SILENCE) == pytest.approx(0.1 * math.sqrt(0.25 * 0.75))
    assert math.isnan(silent_open_percent(openings, TIMES, np.array([[1.0, 1.1]]), scale=SCALE))


def test_frames_inside_is_half_open() -> None:
    inside = frames_inside(np.array([0.9, 1.0, 1.5, 2.0]), np.array([[1.0, 2.0]]))
    assert inside.tolist() == [False, True, True, False]


def test_phone_intervals() -> None:
    rows = [("p", 0.0, 0.1), ("AA1", 0.1, 0.3), ("M", 0.3, 0.4), ("pau", 0.4, 1.0)]
    assert phone_intervals(rows).tolist() == [[0.0, 0.1], [0.3, 0.4]]
    assert phone_intervals(rows, names=["aa"]).tolist() == [[0.1, 0.3]]
    assert phone_intervals(rows, names=["pau", "SIL"]).tolist() == [[0.4, 1.0]]
    assert phone_intervals([]).shape == (0, 2)
