"""What training reads of a footage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from speech2lip.config import ModelSettings
from speech2lip.decomposition.footage import Take, read_footage
from speech2lip.errors import FootageError
from speech2lip.synthesis.speech import cut_windows, mel_windows, window_offsets
from speech2lip.training import dataset
from speech2lip.training.dataset import build_training_set, chosen_frames
from speech2lip.training.losses import shape_losses
from speech2lip.training.split import held_out_ranges, trainable
from speech2lip.training.stretches import (
    LENGTH,
    MOMENT_SECONDS,
    FrameSequence,
    frames_apart,
    longest_stretches,
    moments_apart,
    stretch_starts,
)
from tests.evaluation.made_footage import FRAMES, write_footage
from tests.made_face import TINY, fitted_take, head_pose

OFFSETS = window_offsets(ModelSettings())


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


def test_stretches_begin_where_enough_neighbours_follow() -> None:
    # Frames 0 to 5 and 6 to 8 are neighbours.
    followed, rates = torch.tensor([0, 1, 2, 3, 4, 6, 7]), _rates(25, 9)
    assert stretch_starts(followed, rates, 4).tolist() == [0, 1, 2]
    assert stretch_starts(followed, rates, 3).tolist() == [0, 1, 2, 3, 6]
    assert stretch_starts(followed, rates, 2).tolist() == followed.tolist()


def _rates(fps: float, count: int) -> torch.Tensor:
    return torch.full((count,), fps, dtype=torch.float64)


def test_at_25_a_second_each_frame_follows_the_one_before() -> None:
    assert frames_apart(_rates(25, 1), 5).tolist() == [[0, 1, 2, 3, 4]]
    assert moments_apart(_rates(25, 2), 4).tolist() == [[1, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize("fps", [24, 25, 30000 / 1001, 30, 48, 50, 60000 / 1001, 60, 120])
@pytest.mark.parametrize("length", [2, LENGTH, 5])
def test_a_stretch_lasts_as_long_at_any_rate(fps: float, length: int) -> None:
    frames = frames_apart(_rates(fps, 1), length)[0].double()
    wanted = MOMENT_SECONDS * torch.arange(length)
    assert (frames / fps - wanted).abs().max() <= 0.5 / fps + 0.01


def test_slow_video_is_seen_frame_by_frame() -> None:
    assert frames_apart(_rates(10, 1), 4).tolist() == [[0, 1, 2, 3]]
    assert moments_apart(_rates(10, 1), 3).tolist() == [[2.5, 2.5]]


def test_fast_takes_and_slow_ones_are_mixed() -> None:
    # Take one has 6 frames at 25, take two 9 at 60 a second: of those, frames 0, 2, 5 and 7 are seen.
    rates = torch.cat([_rates(25, 6), _rates(60, 9)])
    followed = torch.tensor([*range(5), *range(6, 14)])
    assert stretch_starts(followed, rates, 4).tolist() == [0, 1, 2, 6, 7]


def test_frames_without_neighbours_are_stretches_of_one() -> None:
    nothing = torch.zeros(0, dtype=torch.long)
    starts, length = longest_stretches(nothing, _rates(25, 5))
    assert (starts.tolist(), length) == ([0, 1, 2, 3, 4], 1)
    starts, length = longest_stretches(torch.tensor([1]), _rates(25, 5))
    assert (starts.tolist(), length) == ([1], 2)


@pytest.mark.parametrize("fps", [30.0, 50.0, 60.0])
def test_lips_of_the_same_speed_cost_the_same_at_any_rate(fps: float) -> None:
    rates = _rates(fps, 1)
    error = (3 * frames_apart(rates, LENGTH).double() / fps)[..., None]
    steady = shape_losses(error, 0 * error, torch.ones(1), moments_apart(rates, LENGTH))["velocity"]
    assert steady.item() == pytest.approx((3 * MOMENT_SECONDS) ** 2)
    alone = shape_losses(error[:, :1], 0 * error[:, :1], torch.ones(1))
    assert set(alone) == {"shape"}


@pytest.mark.parametrize("fps", [25.0, 29.97])
def test_windows_of_a_stretch_are_those_of_its_frames(fps: float) -> None:
    torch.manual_seed(0)
    # Straight lines: reading between columns twice changes nothing.
    mel = torch.randn(80, 1) * torch.arange(600) / 100
    times = torch.arange(60, dtype=torch.float64) / fps + 1
    starts, pace = torch.tensor([3, 20, 40]), torch.tensor([1.0, 0.7, 1.3])
    moments = times[starts[:, None] + torch.arange(4)]
    sequence = FrameSequence.of(moments, OFFSETS, pace)
    sound = mel_windows(mel, times[starts], sequence.offsets, pace=pace)
    found = cut_windows(sound, sequence.columns)
    wanted = mel_windows(mel, moments.flatten(), OFFSETS, pace=pace.repeat_interleave(4))
    assert torch.allclose(found, wanted, atol=1e-4)
    assert not torch.allclose(found[0], wanted[1], atol=1e-4)


def test_on_the_grid_windows_are_exact() -> None:
    mel = torch.randn(80, 600)
    times = torch.arange(60, dtype=torch.float64) / 25 + 1
    sequence = FrameSequence.of(times[None, 5:9], OFFSETS, torch.ones(1))
    sound = mel_windows(mel, times[:1] + 0.2, sequence.offsets)
    found = cut_windows(sound, sequence.columns)
    assert torch.allclose(found, mel_windows(mel, times[5:9], OFFSETS), atol=1e-5)
