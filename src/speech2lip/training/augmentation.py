"""Changes of the sound that leave the lips as they are, made on mel windows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from speech2lip.synthesis.speech import SILENT_MEL


def vary_speech(windows: Tensor, *, generator: torch.Generator) -> Tensor:
    """Vary level, voice, microphone and background of mel windows.

    Args:
        windows: [B, M, W] normalised log-mel (1 unit is 15 dB of power).
        generator: on the processor; makes the variation repeatable.

    Returns:
        [B, M, W].
    """
    batch, bands, frames = windows.shape

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator).to(windows.device)

    varied = _shift_bands(windows, (draw(batch) - 0.5) * 8)
    level = (draw(batch, 1, 1) - 0.5) * 1.2
    tilt = (
        (draw(batch, 1, 1) - 0.5) * 0.8 * torch.linspace(-1, 1, bands, device=windows.device)[None, :, None]
    )
    varied = varied + level + tilt
    floor = SILENT_MEL + draw(batch, 1, 1) * 1.8 * (draw(batch, 1, 1) < 0.6)
    hiss = floor + 0.15 * (draw(batch, bands, frames) - 0.5)
    varied = torch.logaddexp(varied * _NATURAL, hiss * _NATURAL) / _NATURAL
    start, width = draw(batch, 1) * bands, draw(batch, 1) * 10 * (draw(batch, 1) < 0.5)
    place = torch.arange(bands, device=windows.device)[None]
    dropped = (place >= start) & (place < start + width)
    return torch.where(dropped[:, :, None], torch.full_like(varied, SILENT_MEL), varied).clamp_min(SILENT_MEL)


_NATURAL = 1.5 * math.log(10)
"""One unit of the normalised log-mel spectrum in natural logarithms of power."""


def _shift_bands(windows: Tensor, shift: Tensor) -> Tensor:
    """Move the spectrum up or down by a fraction of bands, as another vocal tract would; [B, M, W], [B] ->
    [B, M, W].
    """
    bands = windows.shape[1]
    position = (torch.arange(bands, device=windows.device)[None] - shift[:, None]).clamp(0, bands - 1)
    low = position.floor().long().clamp(max=bands - 2)
    part = (position - low)[..., None]
    index = low[..., None].expand(-1, -1, windows.shape[2])
    return windows.gather(1, index) * (1 - part) + windows.gather(1, index + 1) * part
