"""How faces look, on made pictures."""

from __future__ import annotations

import numpy as np
import pytest

from speech2lip.decomposition.tracking.faces import (
    appearance_distance,
    appearance_distances,
    changes_abruptly,
    is_abrupt_change,
)
from tests.decomposition.tracking.test_faces import _look


def test_light_makes_no_difference_and_another_face_does() -> None:
    darker = (_look(0, 1) * 0.5 + 20).astype(np.uint8)
    assert appearance_distance(_look(0, 1), darker) < 0.05
    assert appearance_distance(_look(0, 1), _look(1, 1)) > 0.4
    assert appearance_distance(_look(0, 1), _look(0, 1)) == pytest.approx(0, abs=1e-5)


def test_gaps_of_shots() -> None:
    appearances = np.stack([_look(person, frame) for person in (0, 1, 0) for frame in range(20)])
    gaps = appearance_distances(appearances, np.repeat([0, 1, 3], 20).astype(np.int32), 4)
    assert gaps[0, 3] < 0.05 < 0.4 < gaps[0, 1]
    assert (gaps[2] == 1).all()  # nobody is seen in it


def test_a_fast_turn_is_no_other_person() -> None:
    assert not is_abrupt_change(0.37, 1)
    assert is_abrupt_change(0.37, 4)
    assert is_abrupt_change(0.6, 1)


def test_somebody_else_in_the_same_place_is_noticed() -> None:
    appearances = np.stack([_look(0, i) for i in range(10)] + [_look(1, i) for i in range(10)])
    frames, one_shot = np.arange(20), np.zeros(20, np.int32)
    assert changes_abruptly(appearances, frames, one_shot)
    assert not changes_abruptly(appearances[:10], frames[:10], one_shot[:10])
    assert not changes_abruptly(
        appearances, frames, np.repeat([0, 1], 10).astype(np.int32)
    )  # a cut tells as much
    assert not changes_abruptly(appearances[:1], frames[:1], one_shot[:1])
