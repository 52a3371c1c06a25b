"""How the mel spectrum of steady noise flickers: narrow bands much, wide ones little."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from speech2lip.conventions import MEL_RATE, SAMPLE_RATE
from speech2lip.synthesis.speech import log_mel

_SECONDS = 40
_LEAST = -1.0
"""The deepest dips are cut off here, 15 dB below the mean."""


@functools.lru_cache(maxsize=1)
def _white() -> Tensor:
    """The mel spectrum of white noise against its mean power; [80, 4001]."""
    generator = torch.Generator().manual_seed(0)
    mel = log_mel(torch.randn(_SECONDS * SAMPLE_RATE, generator=generator))
    mean = (10 ** (1.5 * mel)).mean(1, keepdim=True).log10() / 1.5
    return (mel - mean).clamp_min(_LEAST)


def noise_windows(count: int, frames: int, *, generator: torch.Generator) -> Tensor:
    """Cut windows of white noise at random; [count, 80, W] about 0, on the processor.

    Raises:
        AssertionError: windows longer than 30 s.
    """
    white = _white()
    assert frames <= 30 * MEL_RATE
    starts = torch.randint(white.shape[1] - frames, (count, 1), generator=generator)
    return white[:, starts + torch.arange(frames)].transpose(0, 1)
