"""How this person's mouth rests, and sounds under which it must: nothing, faint noise, breath, clicks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from speech2lip.conventions import MEL_RATE
from speech2lip.synthesis.speech import SILENT_MEL
from speech2lip.training.augmentation import noise_windows

QUIET = 2.0
"""A moment is quiet this far (30 dB) below the loud moments of the footage."""
BEFORE, AFTER = 0.25, 0.35
"""Seconds around a frame that must be quiet: lips open before they are heard."""
LEAST_FRAMES = 10
"""Quiet frames below which nothing is known of how the mouth rests."""
CLOSED_SHARE = 0.05
"""Share of the frames that stand for it then: those whose lips are closest to each other."""
_DECIBEL = 1 / 15
"""In units of the normalised log-mel spectrum."""


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
    before, after = round(BEFORE * MEL_RATE), round(AFTER * MEL_RATE)
    padded = torch.nn.functional.pad((~quiet).float()[None, None], (before, after), value=0.0)
    loud_near = torch.nn.functional.max_pool1d(padded, before + after + 1, stride=1)[0, 0]
    place = (times * MEL_RATE).round().long().clamp(0, len(level) - 1)
    resting = torch.nonzero(loud_near[place] == 0)[:, 0]
    if len(resting) >= LEAST_FRAMES:
        return Resting(resting, in_silence=True)
    closed = torch.nonzero(openings <= torch.quantile(openings, CLOSED_SHARE))[:, 0]
    return Resting(closed, in_silence=False)


def quiet_windows(count: int, bands: int, frames: int, *, generator: torch.Generator) -> Tensor:
    """Make mel windows in which nobody speaks; [count, M, W], on the processor.

    All hold noise of a random colour from nothing up to 50 dB below full scale; a third hold a breath, a
    third clicks.
    """

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    place = torch.linspace(-1, 1, bands)[None, :, None]
    time = torch.arange(frames)[None, None]
    floor = draw(SILENT_MEL - 1, SILENT_MEL + 20 * _DECIBEL, count, 1, 1)
    # What listens for phones must know how real noise flickers, or it hears some in it.
    flicker = noise_windows(count, frames, generator=generator)
    noise = floor + draw(-0.3, 0.3, count, 1, 1) * place + flicker
    kind = torch.randint(3, (count, 1, 1), generator=generator)
    middle, width = draw(0, frames, count, 1, 1), draw(10, 60, count, 1, 1)
    hump = draw(0.0, 0.9, count, 1, 1) - 0.5 * ((place - draw(-0.5, 0.8, count, 1, 1)) / 0.7) ** 2
    breath = SILENT_MEL + 1.5 * hump - 0.5 * ((time - middle) / width) ** 2 + flicker
    click = torch.full((count, 1, frames), 3 * SILENT_MEL)
    for _ in range(2):
        since = time - draw(-frames, frames, count, 1, 1).round()
        struck = draw(SILENT_MEL, 1.0, count, 1, 1) - 0.6 * since.abs()
        click = torch.maximum(click, torch.where((since >= -1) & (since < 4), struck, click))
    click = click + draw(-0.3, 0.3, count, 1, 1) * place + draw(-0.2, 0.2, count, bands, frames)
    sound = torch.where(kind == 1, breath, torch.where(kind == 2, click, noise))
    return torch.maximum(noise, sound).clamp_min(SILENT_MEL)
