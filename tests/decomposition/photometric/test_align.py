"""Places found again in moved pictures, and what sampled frames agree on, carried over to takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from speech2lip.arrays import Array
from speech2lip.decomposition.photometric.align import (
    believable_factors,
    choose_places,
    correct_takes,
    refocus_takes,
    track_places,
)
from speech2lip.geometry.rigid import changed_poses, pose_change, project
from tests.made_face import fitted_take, head_pose, made_face

UNIT = 100.0


def _texture(shift: tuple[float, float] = (0, 0)) -> NDArray[np.float32]:
    random = np.random.default_rng(0).normal(0, 60, (160, 160)).astype(np.float32)
    smooth = cv2.GaussianBlur(random, (0, 0), 2.5) * 4
    moved: Any = cv2.warpAffine(
        smooth, np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float64), (160, 160)
    )
    return moved


def test_places_keep_to_where_they_are_allowed_and_off_the_border() -> None:
    allowed = np.zeros((160, 160), bool)
    allowed[:, :90] = True
    places = choose_places(_texture(), allowed, unit=UNIT)
    assert len(places) > 50
    assert places[:, 0].max() < 90
    assert places.min() > 9
    assert places[:, 1].max() < 151


def test_moved_places_are_found_again() -> None:
    home = _texture()
    places = choose_places(home, np.ones(home.shape, bool), unit=UNIT)
    brought = np.stack([home, _texture((2.4, -1.3)) * 0.8, -home])
    moved, information = track_places(home, brought, places, unit=UNIT)
    found = information[..., 0, 0] > 0
    assert np.abs(moved[0]).max() < 1e-3
    assert found[0].all()
    assert found[1].mean() > 0.9
    assert np.abs(np.median(moved[1][found[1]], axis=0) - [2.4, -1.3]).max() < 0.05
    assert found[2].mean() < 0.02  # a blob that looks like another by chance


def test_an_edge_tells_nothing_along_itself() -> None:
    step = np.zeros((160, 160), np.float32)
    step[:, 80:] = 60
    picture = cv2.GaussianBlur(step, (0, 0), 1.5).astype(np.float32)
    _, information = track_places(picture, picture[None], np.array([[80.0, 80.0]]), unit=UNIT)
    across, along = information[0, 0, 0, 0], information[0, 0, 1, 1]
    assert across > 100 * along


@pytest.mark.parametrize("distance", [3.0, 4.6, 5.5, 9.0, 20.0])
def test_no_focal_length_is_tried_that_puts_the_head_before_the_lens(distance: float) -> None:
    factors = believable_factors(distance)
    assert min(factors) * distance >= min(4.5, distance)
    assert 1.0 in factors
    assert max(factors) > 2
    assert len(factors) >= 3


def test_a_head_far_away_may_be_much_nearer() -> None:
    assert min(believable_factors(20.0)) < 0.7


HOME = head_pose(turn=(0, 0, 0), shift=(0, 0, 6.0))


def _poses(count: int) -> Array:
    random = np.random.default_rng(0)
    turns = random.uniform(-0.3, 0.3, (count, 3))
    return np.stack([head_pose(turn=tuple(t), shift=(t[1], 0, 6.0 + t[0])) for t in turns])


def test_what_grows_with_the_turn_is_taken_out_of_frames_that_were_not_sampled() -> None:
    true = _poses(200)
    away = pose_change(true, np.broadcast_to(HOME, true.shape))
    wrong = np.zeros((200, 6))
    wrong[:, 1] = 0.12 * away[:, 1] + 0.01
    wrong[:, 3] = 0.05 * away[:, 1]
    landmarks = changed_poses(true, wrong)
    sampled = landmarks[::4].copy()
    sampled_true = true[::4].copy()
    sampled_true[3] = HOME  # one that went astray
    corrected = correct_takes([fitted_take(Path("a"), landmarks)], sampled, sampled_true, HOME)[0]
    before = np.abs(pose_change(landmarks, true)).mean(0)
    after = np.abs(pose_change(corrected.camera_from_head, true)).mean(0)
    assert after[1] < 0.25 * before[1]
    assert after[3] < 0.3 * before[3]


def test_another_focal_length_moves_no_point_by_much() -> None:
    take = fitted_take(Path("a"), _poses(10))
    further = refocus_takes([take], 1.3)[0]
    before = project(take.camera_from_head, take.k, made_face())
    after = project(further.camera_from_head, further.k, made_face())
    assert further.k[0, 0] == pytest.approx(1.3 * take.k[0, 0])
    assert np.median(np.linalg.norm(after - before, axis=-1)) < 1.0
    assert further.camera_from_head[0, 2, 3] == pytest.approx(1.3 * take.camera_from_head[0, 2, 3])
