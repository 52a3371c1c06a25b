"""Short stretches of neighbouring frames, whose sound is varied and scored once for all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from speech2lip.conventions import MEL_RATE
from speech2lip.synthesis.phonetic import STRIDE

LENGTH = 4
"""Frames of a stretch; windows of neighbouring frames share most of their sound."""


def stretch_starts(followed: Tensor, length: int) -> Tensor:
    """Return the frames that are followed by `length` - 1 neighbours without a gap.

    Args:
        followed: [P] sorted indices of the frames whose successor is their neighbour.
    """
    starts = followed
    for step in range(1, length - 1):
        starts = starts[torch.isin(starts + step, followed)]
    return starts


@dataclass(frozen=True)
class Stretch:
    """Where the windows of some neighbouring frames lie in the sound around all of them."""

    index: Tensor
    """[S, N] frames."""
    place: Tensor
    """[S, N] where each frame's window begins, in columns of the stretch's sound."""
    offsets: Tensor
    """[L] columns of that sound, in mel frames from the first frame on."""


def lay_out(starts: Tensor, times: Tensor, offsets: Tensor, pace: Tensor, length: int) -> Stretch:
    """Lay out stretches of frames.

    Args:
        starts: [S] first frames; times: [T] seconds of all frames; offsets: [W] of a frame's window.
        pace: [S] tempo of each stretch's sound: above 1 it is spoken faster.
    """
    index = starts[:, None] + torch.arange(length, device=starts.device)
    place = (times[index] - times[starts, None]) * MEL_RATE / pace[:, None]
    reach = len(offsets) + math.ceil(float(place.max())) + 2
    return Stretch(index, place, int(offsets[0]) + torch.arange(reach, device=offsets.device))


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
    part = (columns - whole).reshape(count, 1, -1).to(rows.dtype)
    at = whole.reshape(count, 1, -1).expand(-1, channels, -1)
    left, right = rows.gather(2, at), rows.gather(2, (at + 1).clamp_max(rows.shape[2] - 1))
    windows = (left + (right - left) * part).reshape(count, channels, -1, width)
    return windows.transpose(1, 2).flatten(0, 1)


def cut_scores(scores: Tensor, place: Tensor, width: int) -> Tensor:
    """Do the same with scores, which stand at every second column; [S N, C, width / 2]."""
    return cut_windows(scores, place / STRIDE, width // STRIDE)
