"""What is heard in a take: wave, spectrum, phones and pauses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speech2lip.conventions import SAMPLE_RATE
from speech2lip.evaluation.closure import phone_intervals
from speech2lip.evaluation.held_out import Span
from speech2lip.evaluation.phones import Intervals, Phones, Wave, pauses, phones_of
from speech2lip.synthesis.speech import log_mel

ROOM_NOISE_DB = -60.0
"""Root mean square of the made room noise, below full scale."""


@dataclass(frozen=True)
class Heard:
    """The sound of a take, or of a part of a long one, and what is known of it (in the take's seconds)."""

    wave: Wave
    """[S] at 16 kHz."""
    mel: Tensor
    """[M, F] log-mel spectrum."""
    closures: Intervals | None = None
    """[N, 2] seconds of /p b m/; None where phones are not known."""
    pauses: Intervals | None = None
    """[N, 2] seconds in which nobody speaks; None: not looked for."""
    source: str | None = None
    """How the phones are known."""
    begins: float = 0.0
    """Second of the take at which `wave` and `mel` begin."""


def listen_to(span: Span, *, transcripts: Path | None = None) -> Heard:
    """Hear a span's take out; of a long take, only what belongs to the span."""
    times = span.times
    wave, begins = span.take.wave_around(float(times[0]), float(times[-1]))
    phones: Phones | None = phones_of(span.take, wave, begins=begins, transcripts=transcripts)
    return Heard(
        wave=wave,
        mel=log_mel(torch.from_numpy(wave)),
        closures=None if phones is None else phone_intervals(phones.rows),
        pauses=pauses(wave, phones, begins=begins),
        source=None if phones is None else phones.source,
        begins=begins,
    )


def digital_silence(seconds: float) -> Wave:
    """Return nothing at all; [S]."""
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def room_noise(seconds: float) -> Wave:
    """Return white noise 60 dB below full scale, the same each time; [S]."""
    noise: NDArray[np.float64] = np.random.default_rng(0).normal(size=round(seconds * SAMPLE_RATE))
    return (noise * 10 ** (ROOM_NOISE_DB / 20)).astype(np.float32)
