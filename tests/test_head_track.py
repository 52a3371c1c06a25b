"""Where the head is in the frames of a video."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from speech2lip.decomposition.footage import read_footage
from speech2lip.head_track import HeadTrack, light_gain, median_skin_colour, pose_numbers
from tests.evaluation.made_footage import write_footage
from tests.made_face import head_pose, made_head


def test_pose_numbers_are_zero_at_the_canonical_pose() -> None:
    numbers = pose_numbers(np.stack([np.eye(4), head_pose(turn=(0, 0.2, 0), shift=(0, 0, 0))]))
    assert np.abs(numbers[0]).max() == 0
    assert numbers[1, 1] == pytest.approx(1)


def test_the_lips_are_told_of_steady_poses_within_each_shot(tmp_path: Path) -> None:
    footage = read_footage(write_footage(tmp_path / "a.footage"))
    poses = footage.takes[0].camera_from_head.copy()
    poses[20:, 0, 3] += 1.0
    smeared = replace(footage.takes[0], camera_from_head=poses)
    broken = replace(smeared, shot=np.repeat(np.arange(2, dtype=np.int32), 20))
    still, across, within = (
        HeadTrack.of_take(take, footage.canonical, median_skin_colour(footage.takes)).pose[:, 3]
        for take in (footage.takes[0], smeared, broken)
    )
    assert abs(across[19] - still[19]) > 0.1
    assert np.allclose(within[:20], still[:20], atol=1e-6)
    assert np.ptp(within[20:]) < 1e-6


def test_some_frames_of_a_track() -> None:
    track = made_head(*(head_pose(turn=(0, 0.1 * i, 0)) for i in range(5)))
    assert len(track[2]) == 1
    assert np.array_equal(track[[3, 1]].camera_from_head, track.camera_from_head[[3, 1]])
    assert np.array_equal(track[1:3].pose, track.pose[1:3])
    assert np.array_equal(track[range(2)].light_gain, track.light_gain[:2])


def test_between_frames_it_is_mixed() -> None:
    track = made_head(*(head_pose(shift=(0.1 * i**2, 0, 5)) for i in range(4)))
    found = track.at([0, 1.25, 3])
    assert np.array_equal(found.camera_from_head[[0, 2]], track.camera_from_head[[0, 3]])
    assert found.camera_from_head[1, 0, 3] == pytest.approx(0.175)
    assert found.pose[1] == pytest.approx(0.75 * track.pose[1] + 0.25 * track.pose[2], abs=1e-6)


def test_a_carried_head_tells_the_lips_what_it_told_before() -> None:
    track = made_head(head_pose(), head_pose())
    offset = head_pose(turn=(0, 0.2, 0), shift=(0.1, 0, 0))
    moved = track.moved(np.stack([np.eye(4), offset]))
    assert np.array_equal(moved.camera_from_head[0], track.camera_from_head[0])
    assert np.array_equal(moved.camera_from_head[1], offset @ track.camera_from_head[1])
    assert np.array_equal(moved.pose, track.pose)


def test_light_is_kept_within_bounds() -> None:
    light = np.array([[100, 10, 500], [np.nan] * 3], np.float32)
    assert light_gain(light, np.full(3, 100, np.float32)).tolist() == [[1, 0.5, 2], [1, 1, 1]]
