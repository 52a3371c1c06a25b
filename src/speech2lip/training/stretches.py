"""Short stretches of neighbouring frames, whose sound is varied once for all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from speech2lip.conventions import MEL_RATE

MOMENT_SECONDS = 0.04
"""Between neighbouring frames of a stretch or a clip, about: those of video of 25 frames a second."""
LENGTH = 4
"""Frames of a stretch; windows of neighbouring frames share most of their sound."""


def frames_apart(rates: Tensor, length: int) -> Tensor:
    """Return the frames nearest to moments 0.04 s apart, counted from the first; all where fewer are shown.

    Args:
        rates: [S] frames a second.

    Returns:
        [S, length].
    """
    step = (rates * MOMENT_SECONDS).clamp_min(1)
    return (torch.arange(length, device=rates.device) * step[:, None]).round().long()


def moments_apart(rates: Tensor, length: int) -> Tensor:
    """Return how many times 0.04 s lie between neighbours of those frames; [S, length - 1], 1 at 25 fps."""
    return (frames_apart(rates, length).diff(dim=1) / (rates * MOMENT_SECONDS)[:, None]).float()


def stretch_starts(followed: Tensor, rates: Tensor, length: int) -> Tensor:
    """Return the frames that begin a stretch of `length` frames without a gap; sorted.

    Args:
        followed: [P] sorted indices of the frames whose successor is their neighbour.
        rates: [T] frames a second around each frame.
    """
    last = torch.ones(len(rates), dtype=torch.bool, device=rates.device)
    last[followed] = False
    ends = torch.nonzero(last)[:, 0]
    index = torch.arange(len(rates), device=rates.device)
    left = ends[torch.searchsorted(ends, index).clamp_max(len(ends) - 1)] - index
    return torch.nonzero(left >= frames_apart(rates, length)[:, -1])[:, 0]


def longest_stretches(followed: Tensor, rates: Tensor) -> tuple[Tensor, int]:
    """Return starts of stretches and their length: 4 frames, or fewer where none go on for so long."""
    for length in (LENGTH, 2):
        starts = stretch_starts(followed, rates, length)
        if len(starts):
            return starts, length
    return torch.arange(len(rates), device=rates.device), 1


@dataclass(frozen=True)
class FrameSequence:
    """Where the windows of some neighbouring frames lie in the sound around all of them."""

    offsets: Tensor
    """[L] columns of that sound, in mel frames from the first frame on."""
    columns: Tensor
    """[S, N, W] in which of them the windows of N frames stand, for each of S sequences."""

    @staticmethod
    def of(times: Tensor, offsets: Tensor, pace: Tensor) -> FrameSequence:
        """Lay out sequences.

        Args:
            times: [S, N] seconds of their frames; offsets: [W] of a frame's window.
            pace: [S] tempo of each sequence's sound: above 1 it is spoken faster.
        """
        starts = (times - times[:, :1]) * MEL_RATE / pace[:, None]
        reach = len(offsets) + math.ceil(float(starts.max())) + 2
        columns = starts[..., None] + torch.arange(len(offsets), device=offsets.device)
        return FrameSequence(int(offsets[0]) + torch.arange(reach, device=offsets.device), columns)
