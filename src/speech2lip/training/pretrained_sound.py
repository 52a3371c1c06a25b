"""What a pretrained encoder hears of the training takes, found once and kept for when training goes on."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from functools import partial
from pathlib import Path

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from scipy.signal import fftconvolve
from torch import Tensor

from speech2lip.atomic import save_tensors
from speech2lip.conventions import MEL_RATE, SAMPLE_RATE
from speech2lip.progress import Progress
from speech2lip.synthesis.pretrained import PretrainedEncoder, PretrainedListener, Projection, step_windows
from speech2lip.synthesis.speech import log_mel
from speech2lip.training.dataset import TrainingSet

_LOG = logging.getLogger(__name__)

VERSIONS = 4
"""The sound as it is, and so often in other voices, rooms and noise."""
_LONG_SECONDS = 900.0
"""Longer footage is varied in itself: two versions do."""
_QUIET_PIECES = 24
_LEARNED_FROM = 3000
"""Steps, about, that the projection is learned from."""
_MAKE = 1
"""Counted up whenever the same sound would be heard otherwise."""
_MEL_HOP = SAMPLE_RATE // MEL_RATE


def hear_takes(data: TrainingSet, encoder: PretrainedEncoder, *, seed: int, cache: Path) -> Projection:
    """Let the encoder hear the sound of a training set, in several versions, and what is quiet.

    Fills `heard` and `quiet` of the set and drops its wave.

    Args:
        data: with a wave.
        encoder: on the device where it shall run.
        cache: a file that keeps what was heard.

    Returns:
        How its features are reduced, on the processor.
    """
    assert data.wave is not None
    began = time.monotonic()
    random = np.random.default_rng(seed)
    waves = _versions(data.wave.numpy(), random)
    quiet = quiet_wave(_QUIET_PIECES, random)
    key = _key(data.wave, encoder, seed)
    projection = Projection()
    rows = _load(cache, key, projection)
    if rows is None:
        rows = _hear([wave for _, wave in waves] + [quiet], encoder, projection, seed)
        tensors = {f"rows.{number}": row.half() for number, row in enumerate(rows)}
        save_tensors(cache, tensors | projection.state_dict(), metadata={"key": key})
    frames = data.mel.shape[1]
    # A version begins some mel frames late, so that the encoder's steps fall elsewhere on the speech.
    features = [row.float()[:, late:][:, :frames] for (late, _), row in zip(waves, rows, strict=False)]
    data.heard = torch.cat([torch.cat([data.mel, row]) for row in features], dim=1)
    data.quiet = torch.cat([log_mel(torch.from_numpy(quiet)), rows[-1].float()])
    data.wave = None
    _LOG.info(f"the pretrained encoder heard the takes in {time.monotonic() - began:.0f} s")
    return projection


def _versions(wave: Wave, random: np.random.Generator) -> list[tuple[int, Wave]]:
    """Return how many mel frames late the versions of a wave begin, and the versions."""
    count = VERSIONS if len(wave) < _LONG_SECONDS * SAMPLE_RATE else 2
    late = [0, *random.integers(0, 8, count - 1).tolist()]
    varied = [wave, *(vary_wave(wave, random) for _ in range(count - 1))]
    return [(n, np.pad(one, (n * _MEL_HOP, 0))) for n, one in zip(late, varied, strict=True)]


def _hear(waves: list[Wave], encoder: PretrainedEncoder, projection: Projection, seed: int) -> list[Tensor]:
    windows = [step_windows(torch.from_numpy(wave)) for wave in waves]
    random = torch.Generator().manual_seed(seed)
    device = next(encoder.network.parameters()).device
    some = [
        one[torch.randperm(len(one), generator=random)[: -(-_LEARNED_FROM // len(waves))]]
        for one in windows[:-1]
    ]
    projection.learn(encoder.features(torch.cat(some).to(device)).flatten(0, 1).cpu(), encoder)
    listener = PretrainedListener(encoder, projection.to(device))
    rows, before = [], 0.0
    with Progress("Hearing the takes", total=sum(map(len, waves)) / SAMPLE_RATE, unit="s") as progress:
        for wave in waves:
            rows.append(listener.rows(torch.from_numpy(wave), done=partial(_tell, progress, before)))
            before += len(wave) / SAMPLE_RATE
    projection.cpu()
    return rows


def _tell(progress: Progress, before: float, seconds: float) -> None:
    progress.set(before + seconds)


def _key(wave: Tensor, encoder: PretrainedEncoder, seed: int) -> str:
    mark = hashlib.sha256(f"{_MAKE} {VERSIONS} {_QUIET_PIECES} {seed}".encode())
    mark.update(encoder.fingerprint)
    mark.update(wave.numpy().tobytes())
    return mark.hexdigest()


def _load(cache: Path, key: str, projection: Projection) -> list[Tensor] | None:
    """Read what was heard of the same sound by the same encoder; None where it was not."""
    try:
        with safe_open(cache, framework="pt") as file:
            if (file.metadata() or {}).get("key") != key:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    count = sum(name.startswith("rows.") for name in tensors)
    rows = [tensors.pop(f"rows.{number}") for number in range(count)]
    projection.load_state_dict(tensors)
    return rows


Wave = NDArray[np.float32]
Random = np.random.Generator

_PIECE, _FADE = 4 * SAMPLE_RATE, SAMPLE_RATE // 50
"""Samples that are varied alike, and over which one piece fades into the next."""
_FFT, _HOP = 512, 128
_QUIET_SECONDS = 2.0


def vary_wave(wave: Wave, random: Random) -> Wave:
    """Vary voice, room, microphone, level and noise, anew every 4 s; moments stay where they are.

    Args:
        wave: [S] at 16 kHz.

    Returns:
        [S] in [-1, 1].
    """
    varied = np.zeros(len(wave) + _FADE, np.float32)
    fade = np.ones(_PIECE + _FADE, np.float32)
    fade[:_FADE] = (np.arange(_FADE) + 0.5) / _FADE
    fade[_PIECE:] = fade[:_FADE][::-1]
    for start in range(0, len(wave), _PIECE):
        piece = _vary_piece(wave[start : start + _PIECE + _FADE], random)
        varied[start : start + len(piece)] += piece * fade[: len(piece)]
    return np.clip(varied[: len(wave)], -1, 1)


def quiet_wave(pieces: int, random: Random) -> Wave:
    """Make pieces of 2 s in which nobody speaks; [S].

    Noise of any colour, up to 50 dB below full scale, in a third of them breaths and in a third clicks.
    """
    made = [_quiet_piece(number % 3, random) for number in range(pieces)]
    return np.concatenate(made)


def _vary_piece(piece: Wave, random: Random) -> Wave:
    loud = float(np.sqrt(np.mean(piece**2)))
    # Nothing, or next to nothing, stays what it is.
    if len(piece) < 4 * _FFT or loud < 1e-4:
        return piece
    varied = piece
    if random.random() < 0.7:
        varied = _other_voice(varied, math.exp(random.uniform(-0.22, 0.22)))
    if random.random() < 0.4:
        varied = _echo(varied, random)
    varied = _coloured(varied, random, cut=random.random() < 0.3)
    varied = varied * loud / max(float(np.sqrt(np.mean(varied**2))), 1e-6)
    if random.random() < 0.6:
        noise = _coloured(random.normal(size=len(piece)).astype(np.float32), random, cut=False)
        varied = varied + noise * loud * 10 ** (-random.uniform(8, 40) / 20)
    decibel = random.uniform(-30, -6) if random.random() < 0.3 else random.uniform(-9, 9)
    return (varied * 10 ** (decibel / 20)).astype(np.float32)


def _other_voice(wave: Wave, factor: float) -> Wave:
    """Make pitch and formants so many times as high: stretched by a phase vocoder, then played faster.

    Source: Flanagan and Golden 1966, "Phase vocoder".
    """
    window = torch.hann_window(_FFT)
    spectrum = torch.stft(torch.from_numpy(wave), _FFT, _HOP, window=window, return_complex=True)
    stretched = torch.istft(_stretched(spectrum, factor), _FFT, _HOP, window=window).numpy()
    higher = soxr.resample(stretched, SAMPLE_RATE * factor, SAMPLE_RATE)[: len(wave)]
    return np.pad(higher, (0, len(wave) - len(higher))).astype(np.float32)


def _stretched(spectrum: Tensor, factor: float) -> Tensor:
    """[Q, F] -> [Q, F factor], the phases going on as they did."""
    frames = spectrum.shape[1]
    place = torch.arange(0, frames - 1, 1 / factor, dtype=torch.float64)
    whole = place.long()
    part = (place - whole).float()
    loud = spectrum.abs()
    size = torch.lerp(loud[:, whole], loud[:, whole + 1], part)
    usual = 2 * math.pi * _HOP * torch.arange(spectrum.shape[0])[:, None] / _FFT
    turned = spectrum.angle().diff(dim=1)[:, whole] - usual
    turned = turned - 2 * math.pi * (turned / (2 * math.pi)).round() + usual
    phase = torch.cumsum(torch.cat([spectrum.angle()[:, :1], turned[:, :-1]], dim=1), dim=1)
    return torch.polar(size, phase)


def _echo(wave: Wave, random: Random) -> Wave:
    """Add a room in which sound dies away by 60 dB in 0.15 to 0.9 s."""
    length = random.uniform(0.15, 0.9)
    since = np.arange(round(length * SAMPLE_RATE)) / SAMPLE_RATE
    tail = random.normal(size=len(since)) * 10 ** (-3 * since / length)
    tail *= math.sqrt(random.uniform(0.05, 1.2) / float(np.sum(tail**2)))
    tail[0] = 1
    return fftconvolve(wave, tail)[: len(wave)].astype(np.float32)


def _coloured(wave: Wave, random: Random, *, cut: bool) -> Wave:
    """Tilt and bend the spectrum by some 9 dB, and cut off what a telephone does not carry."""
    spectrum = np.fft.rfft(wave)
    hertz = np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE)
    place = np.log1p(hertz / 700) / math.log1p(8000 / 700)
    waves = np.arange(1, 4)[:, None]
    bends = np.cos(math.pi * waves * place + random.uniform(0, 2 * math.pi, (3, 1)))
    gain = (random.uniform(-4.5, 4.5, (3, 1)) * bends).sum(0)
    if cut:
        low, high = random.uniform(80, 350), random.uniform(3000, 7000)
        octaves = np.log2(np.maximum(low / np.maximum(hertz, 1), 1)) + np.log2(np.maximum(hertz / high, 1))
        gain = gain - 30 * octaves
    return np.fft.irfft(spectrum * 10 ** (gain / 20), len(wave)).astype(np.float32)


def _quiet_piece(kind: int, random: Random) -> Wave:
    count = round(_QUIET_SECONDS * SAMPLE_RATE)
    time = np.arange(count) / SAMPLE_RATE

    def noise() -> Wave:
        return _coloured(random.normal(size=count).astype(np.float32), random, cut=False)

    sound = noise() * 10 ** (-random.uniform(50, 110) / 20)
    if kind == 1:
        hump = np.exp(-(((time - random.uniform(0, 2)) / random.uniform(0.1, 0.4)) ** 2))
        sound = sound + noise() * hump * 10 ** (-random.uniform(30, 50) / 20)
    if kind == 2:
        for place in random.integers(0, count - 200, 3):
            fall = np.exp(-np.arange(200) / random.uniform(5, 50))
            sound[place : place + 200] += random.normal(size=200) * fall * random.uniform(0.01, 0.3)
    return np.clip(sound, -1, 1).astype(np.float32)
