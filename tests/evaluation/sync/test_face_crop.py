"""Crops of the face for SyncNet."""

from __future__ import annotations

import numpy as np
import pytest

from speech2lip.evaluation.sync.syncnet import face_crop, face_squares


def test_square_around_the_mesh() -> None:
    points = np.full((20, 478, 2), 100.0)
    points[:, 1], points[:, 2] = (60, 50), (140, 150)  # 80 wide, 100 high, middle (100, 100)
    points[4] = np.nan
    squares = face_squares(points)
    assert squares == pytest.approx(np.tile([100 - 70, 50, 140], (20, 1)))
    with pytest.raises(AssertionError, match="face"):
        face_squares(np.full((3, 478, 2), np.nan))


def test_crop_at_its_own_size_is_a_cut() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    assert np.array_equal(face_crop(frame, np.array([10.0, 5.0, 20.0]), side=20), frame[5:25, 10:30])


def test_halving_keeps_the_place_and_outside_is_grey() -> None:
    ramp = np.tile(np.arange(0, 200, 2, dtype=np.uint8)[None, :, None], (100, 1, 3))
    crop = face_crop(ramp, np.array([20.0, 20.0, 40.0]), side=20)
    assert crop[0, :, 0] == pytest.approx(2 * (20 + 2 * np.arange(20) + 0.5), abs=1)
    assert (face_crop(ramp, np.array([-90.0, -90.0, 50.0]), side=10) == 110).all()
