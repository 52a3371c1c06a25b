"""Shape metrics on made landmarks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from speech2lip.evaluation.metrics.landmarks import (
    MOUTH_68,
    eye_distance,
    lip_opening,
    lip_width,
    lmd,
    lmd_frames,
    lmd_percent,
    mouth_68,
)

Landmarks = NDArray[np.float64]


@pytest.fixture
def face() -> Landmarks:
    """Ten frames of random points whose eye corners are 100 px apart and whose lips are 0 to 9 px open."""
    points = np.tile(np.random.default_rng(0).normal(200, 30, (478, 3)), (10, 1, 1))
    points[:, 33], points[:, 263] = (150, 150, 0), (250, 150, 0)
    points[:, 61], points[:, 291] = (175, 220, 0), (225, 220, 0)
    for upper, lower in ((13, 14), (82, 87), (312, 317)):
        points[:, lower] = points[:, upper]
        points[:, lower, 1] += np.arange(10)
    return points


def rotated(points: Landmarks, degrees: float) -> Landmarks:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    out = points.copy()
    out[..., :2] = points[..., :2] @ np.array([[c, s], [-s, c]])
    return out


def test_the_map_has_twenty_different_points_and_mirrors() -> None:
    assert len(set(MOUTH_68)) == 20
    mirror = {61: 291, 40: 270, 37: 267, 91: 321, 84: 314, 78: 308, 81: 311, 178: 402}
    mirror |= {right: left for left, right in mirror.items()} | {middle: middle for middle in (0, 17, 13, 14)}
    outer, inner = MOUTH_68[:12], MOUTH_68[12:]
    assert [mirror[p] for p in outer] == [outer[(6 - i) % 12] for i in range(12)]
    assert [mirror[p] for p in inner] == [inner[(4 - i) % 8] for i in range(8)]


def test_equal_landmarks_have_no_distance(face: Landmarks) -> None:
    assert lmd(face, face) == 0
    assert lmd_percent(face, face) == 0


def test_lmd_ignores_a_shift_of_the_whole_mouth(face: Landmarks) -> None:
    assert lmd(face + 7, face) == pytest.approx(0, abs=1e-9)


def test_lmd_known_value(face: Landmarks) -> None:
    moved = face.copy()
    moved[:, 14, 1] += 4  # 1 of 20 points by 4 px: its mean moves by 0.2
    assert lmd(moved, face) == pytest.approx((3.8 + 19 * 0.2) / 20)
    assert lmd_percent(moved, face) == pytest.approx((3.8 + 19 * 0.2) / 20)  # eyes 100 px apart
    assert lmd_percent(2 * moved, 2 * face) == pytest.approx(lmd_percent(moved, face))
    assert lmd(2 * moved, 2 * face) == pytest.approx(2 * lmd(moved, face))


def test_frames_without_a_face_are_left_out(face: Landmarks) -> None:
    moved = face.copy()
    moved[:, 14, 1] += 4
    known = lmd(moved, face)
    moved[3] = np.nan
    assert lmd(moved, face) == pytest.approx(known)
    assert np.isnan(lmd_frames(moved, face)).tolist() == [i == 3 for i in range(10)]
    assert math.isnan(lmd(np.full_like(face, np.nan), face))
    assert np.isnan(lip_opening(moved)[3])


def test_opening_and_width_in_eye_distances(face: Landmarks) -> None:
    assert lip_opening(face) == pytest.approx(np.arange(10) / 100)
    assert lip_width(face) == pytest.approx(0.5)
    assert eye_distance(face) == pytest.approx(100)


def test_opening_and_width_ignore_scale_roll_and_place(face: Landmarks) -> None:
    other = 1.7 * rotated(face, 25) + 40
    assert lip_opening(other) == pytest.approx(lip_opening(face), abs=1e-6)
    assert lip_width(other) == pytest.approx(lip_width(face))


def test_depth_is_not_looked_at(face: Landmarks) -> None:
    assert np.array_equal(lip_opening(face), lip_opening(face[..., :2]))
    assert np.array_equal(mouth_68(face), mouth_68(face[..., :2]))
    assert np.array_equal(lip_width(face), lip_width(face[..., :2]))


def test_other_schemes_are_refused() -> None:
    with pytest.raises(AssertionError, match="478"):
        mouth_68(np.zeros((3, 68, 2)))
