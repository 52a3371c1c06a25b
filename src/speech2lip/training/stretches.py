"""Short stretches of neighbouring frames, whose sound is varied and scored once for all of them."""

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

    index: Tensor
    """[S, N] frames."""
    place: Tensor
    """[S, N] where each frame's window begins, in columns of the stretch's sound."""
    offsets: Tensor
    """[L] columns of that sound, in mel frames from the first frame on."""


def lay_out(index: Tensor, times: Tensor, offsets: Tensor, pace: Tensor) -> FrameSequence:
    """Lay out stretches of frames.

    Args:
        index: [S, N] frames; times: [T] seconds of all frames; offsets: [W] of a frame's window.
        pace: [S] tempo of each stretch's sound: above 1 it is spoken faster.
    """
    place = (times[index] - times[index[:, :1]]) * MEL_RATE / pace[:, None]
    reach = len(offsets) + math.ceil(float(place.max())) + 2
    return FrameSequence(index, place, int(offsets[0]) + torch.arange(reach, device=offsets.device))


def cut_windows(rows: Tensor, place: Tensor, width: int) -> Tensor:
    """Cut windows out of the rows of stretches, between columns by linear interpolation.

    Args:
        rows: [S, C, L]; place: [S, N] columns at which windows of `width` columns begin.

    Returns:
        [S N, C, width].
    """
    count, channels, _ = rows.shape
    columns = place[..., None] + torch.arange(width, device=place.device)
    whole = columns.floor().long()
    part = (columns - whole).reshape(count, 1, -1).to(torch.promote_types(rows.dtype, torch.float32))
    at = whole.reshape(count, 1, -1).expand(-1, channels, -1)
    left, right = rows.gather(2, at), rows.gather(2, (at + 1).clamp_max(rows.shape[2] - 1))
    windows = (left + (right - left) * part).reshape(count, channels, -1, width)
    return windows.transpose(1, 2).flatten(0, 1)
