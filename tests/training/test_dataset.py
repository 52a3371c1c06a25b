"""What training reads of a footage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from speech2lip.decomposition.footage import Take, read_footage
from speech2lip.errors import FootageError
from speech2lip.training import dataset
from speech2lip.training.dataset import build_training_set, chosen_frames, held_out_ranges, trainable
from tests.evaluation.made_footage import FRAMES, write_footage
from tests.made_face import TINY, fitted_take, head_pose


def test_frames_on_both_sides_of_a_cut_are_never_taken_for_neighbours(tmp_path: Path) -> None:
    footage = read_footage(write_footage(tmp_path / "a.footage"))
    whole = build_training_set(footage, {}, TINY).followed.tolist()
    cut = replace(footage.takes[0], shot=np.repeat(np.arange(3, dtype=np.int32), [12, 18, FRAMES - 30]))
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


def test_long_footage_keeps_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thinned frame by frame nobody had a neighbour, and training crashed."""
    footage = read_footage(write_footage(tmp_path / "a.footage"))
    monkeypatch.setattr(dataset, "MAX_FRAMES", 60)
    monkeypatch.setattr(dataset, "_RUN", 10)
    data = build_training_set(footage, {}, TINY)
    assert 25 <= len(data.times) <= 60
    assert len(data.followed) >= 0.7 * len(data.times)
    assert len(data.crops.index) == len(data.times)
    apart = data.times[data.followed + 1] - data.times[data.followed]
    assert torch.allclose(apart, torch.full_like(apart, 0.04))


@pytest.mark.parametrize("takes", [1, 7, 100])
def test_runs_are_spread_evenly(takes: int) -> None:
    allowed = {str(take): np.ones(30_000 // takes, bool) for take in range(takes)}
    frames = chosen_frames(allowed, 9000)
    where = np.concatenate([int(name) * (30_000 // takes) + kept for name, kept in frames.items()])
    assert 8500 < len(where) <= 9000
    assert np.diff(where).max() < 500
    assert (np.diff(where) == 1).mean() > 0.95
    assert np.histogram(where, 5, (0, 30_000))[0].min() > 1600


def test_short_footage_is_kept_whole() -> None:
    allowed = {"a": np.array([True, False, True]), "b": np.zeros(4, bool), "c": np.ones(2, bool)}
    frames = chosen_frames(allowed, 4)
    assert [kept.tolist() for kept in frames.values()] == [[0, 2], [], [0, 1]]


def test_patches_are_held_once(tmp_path: Path) -> None:
    footage = read_footage(write_footage(tmp_path / "a.footage", ("a",)))
    collector = dataset._Collector(footage, TINY, 30)
    collector.add(footage.takes[0], np.arange(30), lambda _: None)
    data = collector.finish(1.2)
    assert data.patches.data_ptr() == collector.patches.data_ptr()
    assert data.crops.picture.data_ptr() == collector.crops.picture.data_ptr()
    assert data.rates.tolist() == [25.0] * 30


def test_a_picture_that_ends_early_is_no_room_left_empty(tmp_path: Path) -> None:
    footage = read_footage(write_footage(tmp_path / "a.footage", ("a",)))
    take = footage.takes[0]
    longer = {
        name: np.concatenate([getattr(take, name)] * 2)
        for name in ("camera_from_head", "rejection", "light", "shot")
    }
    times = np.concatenate([take.times, take.times + 1.6])
    cut_short = replace(take, times=times, landmarks=np.concatenate([take.landmarks[:]] * 2), **longer)
    data = build_training_set(replace(footage, takes=(cut_short,)), {}, TINY)
    assert len(data.patches) == len(data.times) == FRAMES
    assert int(data.followed.max()) < FRAMES - 1
    with pytest.raises(FootageError, match="only 10 frames are left"):
        build_training_set(footage, {"a": (20, FRAMES)}, TINY)


def _take(name: str, frames: int = 100) -> Take:
    light = np.ones((frames, 3), np.float32)
    return fitted_take(Path(name), np.tile(np.eye(4), (frames, 1, 1)), size=(64, 64), light=light)


def test_every_tenth_of_many_takes_beginning_with_the_fourth() -> None:
    takes = [_take(f"{i:02d}") for i in reversed(range(24))]
    assert held_out_ranges(takes, None) == {"03": (0, 100), "13": (0, 100), "23": (0, 100)}


def test_the_last_tenth_of_few_takes() -> None:
    takes = [_take("a", 300), _take("b", 20), _take("c", 10)]
    assert held_out_ranges(takes, None) == {"c": (0, 10), "b": (0, 20), "a": (297, 300)}
    assert held_out_ranges([_take("a", 500)], None) == {"a": (450, 500)}


def test_a_share_and_nothing() -> None:
    assert held_out_ranges([_take("a", 500)], 0.2) == {"a": (400, 500)}
    assert held_out_ranges([_take(str(i)) for i in range(20)], 0) == {}


def test_frames_next_to_held_out_ones_are_not_trained_on() -> None:
    take = _take("a", 100)
    take.rejection[3] = 1
    flags = trainable(take, {"a": (90, 100)})
    assert flags[:80].sum() == 79
    assert not flags[80:].any()
    assert trainable(take, {}).sum() == 99
