"""What training reads of a footage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from speech2lip.decomposition.footage import read_footage
from speech2lip.training.dataset import build_training_set
from tests.evaluation.made_footage import FRAMES, write_footage
from tests.made_face import TINY, head_pose


def test_frames_on_both_sides_of_a_cut_are_never_taken_for_neighbours(tmp_path: Path) -> None:
    footage = read_footage(write_footage(tmp_path / "a.footage"))
    whole = build_training_set(footage, {}, TINY).followed.tolist()
    cut = replace(footage.takes[0], cuts=np.array([12, 30]))
    broken = build_training_set(replace(footage, takes=(cut, *footage.takes[1:])), {}, TINY).followed.tolist()
    assert cut.shot[[0, 11, 12, 29, 30, FRAMES - 1]].tolist() == [0, 0, 1, 1, 2, 2]
    assert set(whole) - set(broken) == {11, 29}
    assert set(broken) < set(whole)


def test_frames_that_look_away_are_not_trained_on(tmp_path: Path) -> None:
    footage = read_footage(write_footage(tmp_path / "a.footage"))
    poses = footage.takes[0].camera_from_head.copy()
    poses[10:20] = head_pose(turn=(0, 1.4, 0))
    turned = replace(footage.takes[0], camera_from_head=poses)
    whole = build_training_set(footage, {}, TINY)
    fewer = build_training_set(replace(footage, takes=(turned, *footage.takes[1:])), {}, TINY)
    assert len(whole.times) - len(fewer.times) == 10
    assert 9 not in fewer.followed.tolist()  # frame 20 does not follow frame 9


def test_sound_that_is_put_right_is_what_training_hears(tmp_path: Path) -> None:
    take = read_footage(write_footage(tmp_path / "a.footage")).takes[0]
    late = replace(take, sound_shift=0.1)
    assert np.array_equal(late.wave()[:1000], take.wave()[1600:2600])
    assert len(late.wave()) == len(take.wave())


def test_steady_poses_do_not_reach_across_a_cut(tmp_path: Path) -> None:
    take = read_footage(write_footage(tmp_path / "a.footage")).takes[0]
    poses = take.camera_from_head.copy()
    poses[20:, 0, 3] += 1.0
    smeared = replace(take, camera_from_head=poses)
    broken = replace(smeared, cuts=np.array([20]))
    assert abs(smeared.steady_from_head[19, 0, 3] - poses[19, 0, 3]) > 0.1
    assert np.allclose(broken.steady_from_head[:, 0, 3], poses[:, 0, 3])
