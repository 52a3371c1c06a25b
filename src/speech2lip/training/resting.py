"""How this person's mouth rests: the frames around which nobody speaks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from speech2lip.conventions import MEL_RATE
from speech2lip.synthesis.speech import SILENT_MEL

QUIET = 2.0
"""A moment is quiet this far (30 dB) below the loud moments of the footage."""
QUIET_BEFORE, QUIET_AFTER = 0.25, 0.35
"""Seconds around a frame that must be quiet: lips open before they are heard."""
LEAST_FRAMES = 10
"""Quiet frames below which nothing is known of how the mouth rests."""
CLOSED_SHARE = 0.05
"""Share of the frames that stand for it then: those whose lips are closest to each other."""


@dataclass(frozen=True)
class Resting:
    """Frames that show the mouth at rest."""

    frames: Tensor
    """[R] indices."""
    in_silence: bool
    """Whether nobody speaks around them; otherwise they are those whose lips are closest to each other."""

    def shape(self, shapes: Tensor) -> Tensor:
        """Return the median of their lip shapes, of all frames' [N, K]; [K]."""
        return shapes[self.frames].median(dim=0).values


def resting_frames(openings: Tensor, mel: Tensor, times: Tensor) -> Resting | None:
    """Find the frames around which nobody speaks.

    Where they are few, closed lips stand for it: the frames with the least openings. None of
    footage without sound.

    Args:
        openings: [N] of the lips.
        mel: [M, F] of the footage, takes with silence between them.
        times: [N] seconds in `mel`.
    """
    level = mel.exp().mean(0).log()
    heard = level[level > SILENT_MEL + 0.05]
    if not len(heard):
        return None
    quiet = level < torch.quantile(heard, 0.95) - QUIET
    before, after = round(QUIET_BEFORE * MEL_RATE), round(QUIET_AFTER * MEL_RATE)
    padded = functional.pad((~quiet).float()[None, None], (before, after))
    loud_near = functional.max_pool1d(padded, before + after + 1, stride=1)[0, 0]
    place = (times * MEL_RATE).round().long().clamp(0, len(level) - 1)
    resting = torch.nonzero(loud_near[place] == 0)[:, 0]
    if len(resting) >= LEAST_FRAMES:
        return Resting(resting, in_silence=True)
    closed = torch.nonzero(openings <= torch.quantile(openings, CLOSED_SHARE))[:, 0]
    return Resting(closed, in_silence=False)
