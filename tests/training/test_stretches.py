"""Stretches of neighbouring frames hear what each of their frames would hear alone."""

from __future__ import annotations

import pytest
import torch

from speech2lip.config import ModelSettings
from speech2lip.synthesis.speech import cut_windows, mel_windows, window_offsets
from speech2lip.training.losses import shape_losses
from speech2lip.training.stretches import (
    LENGTH,
    MOMENT_SECONDS,
    FrameSequence,
    frames_apart,
    longest_stretches,
    moments_apart,
    stretch_starts,
)

OFFSETS = window_offsets(ModelSettings())


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
