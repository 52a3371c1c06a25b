"""What sampled frames agree on, carried over to takes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from speech2lip.conventions import Array
from speech2lip.decomposition.footage import Take
from speech2lip.decomposition.photometric.align import correct_takes, refocus_takes
from speech2lip.geometry.rigid import changed_poses, pose_change, project
from tests.made_face import head_pose, made_face

HOME = head_pose(turn=(0, 0, 0), shift=(0, 0, 6.0))


def _take(poses: Array) -> Take:
    count = len(poses)
    return Take(
        name="a",
        folder=Path("a"),
        width=256,
        height=256,
        fps=Fraction(25),
        focal=1.6,
        times=np.arange(count) / 25,
        landmarks=np.zeros((count, 478, 3), np.float32),
        light=np.zeros((count, 3), np.float32),
        camera_from_head=poses,
        rejection=np.zeros(count, np.uint8),
    )


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
    corrected = correct_takes([_take(landmarks)], sampled, sampled_true, HOME)[0]
    before = np.abs(pose_change(landmarks, true)).mean(0)
    after = np.abs(pose_change(corrected.camera_from_head, true)).mean(0)
    assert after[1] < 0.25 * before[1]
    assert after[3] < 0.3 * before[3]


def test_another_focal_length_moves_no_point_by_much() -> None:
    take = _take(_poses(10))
    further = refocus_takes([take], 1.3)[0]
    before = project(take.camera_from_head, take.k, made_face())
    after = project(further.camera_from_head, further.k, made_face())
    assert further.k[0, 0] == pytest.approx(1.3 * take.k[0, 0])
    assert np.median(np.linalg.norm(after - before, axis=-1)) < 1.0
    assert further.camera_from_head[0, 2, 3] == pytest.approx(1.3 * take.camera_from_head[0, 2, 3])
