"""Stretches of neighbouring frames hear what each of their frames would hear alone."""

from __future__ import annotations

import pytest
import torch

from speech2lip.config import ModelSettings
from speech2lip.synthesis.speech import mel_windows, window_offsets
from speech2lip.training.stretches import cut_scores, cut_windows, lay_out, stretch_starts

OFFSETS = window_offsets(ModelSettings())


def test_stretches_begin_where_enough_neighbours_follow() -> None:
    # Frames 0 to 5 and 6 to 8 are neighbours.
    followed = torch.tensor([0, 1, 2, 3, 4, 6, 7])
    assert stretch_starts(followed, 4).tolist() == [0, 1, 2]
    assert stretch_starts(followed, 3).tolist() == [0, 1, 2, 3, 6]
    assert stretch_starts(followed, 2).tolist() == followed.tolist()


@pytest.mark.parametrize("fps", [25.0, 29.97])
def test_windows_of_a_stretch_are_those_of_its_frames(fps: float) -> None:
    torch.manual_seed(0)
    # Straight lines: reading between columns twice changes nothing.
    mel = torch.randn(80, 1) * torch.arange(600) / 100
    times = torch.arange(60, dtype=torch.float64) / fps + 1
    starts, pace = torch.tensor([3, 20, 40]), torch.tensor([1.0, 0.7, 1.3])
    stretch = lay_out(starts, times, OFFSETS, pace, 4)
    assert stretch.index.tolist() == [[3, 4, 5, 6], [20, 21, 22, 23], [40, 41, 42, 43]]
    sound = mel_windows(mel, times[starts], stretch.offsets, pace=pace)
    found = cut_windows(sound, stretch.place, len(OFFSETS))
    wanted = mel_windows(mel, times[stretch.index.flatten()], OFFSETS, pace=pace.repeat_interleave(4))
    assert torch.allclose(found, wanted, atol=1e-4)
    assert not torch.allclose(found[0], wanted[1], atol=1e-4)


def test_on_the_grid_windows_are_exact() -> None:
    mel = torch.randn(80, 600)
    times = torch.arange(60, dtype=torch.float64) / 25 + 1
    stretch = lay_out(torch.tensor([5]), times, OFFSETS, torch.ones(1), 4)
    sound = mel_windows(mel, times[:1] + 0.2, stretch.offsets)
    found = cut_windows(sound, stretch.place, len(OFFSETS))
    assert torch.allclose(found, mel_windows(mel, times[5:9], OFFSETS), atol=1e-5)


def test_scores_stand_at_every_second_column() -> None:
    sound = torch.arange(120.0)[None, None].expand(2, 3, -1)
    place = torch.tensor([[0.0, 4.0], [0.0, 5.5]])
    found = cut_scores(sound[..., ::2], place, 60)
    assert found.shape == (4, 3, 30)
    assert torch.allclose(found, cut_windows(sound, place, 60)[..., ::2])
