"""What all takes share."""

from __future__ import annotations

import numpy as np
import pytest

from speech2lip.decomposition.fit import _filled


@pytest.mark.parametrize(
    ("known", "nearest"),
    [
        ([3], [3, 3, 3, 3, 3, 3, 3]),
        ([0, 6], [0, 0, 0, 0, 6, 6, 6]),
        ([1, 2, 5], [1, 1, 2, 2, 5, 5, 5]),
    ],
)
def test_frames_without_a_pose_take_the_nearest_one(known: list[int], nearest: list[int]) -> None:
    poses = np.full((7, 4, 4), np.nan)
    for frame in known:
        poses[frame] = frame
    assert _filled(poses, np.zeros((4, 4)))[:, 0, 0].tolist() == nearest


def test_a_take_without_any_pose_takes_the_usual_one() -> None:
    assert np.array_equal(_filled(np.full((3, 4, 4), np.nan), np.eye(4)), np.stack([np.eye(4)] * 3))
