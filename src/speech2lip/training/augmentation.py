"""Changes of the sound that leave the lips as they are, and sounds in which nobody speaks.

Both as mel windows, and as waves for a pretrained encoder to hear.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import soxr
import torch
from scipy.signal import fftconvolve
from torch import Tensor
from torch.nn import functional

from speech2lip.arrays import Floats
from speech2lip.conventions import MEL_RATE, SAMPLE_RATE
from speech2lip.synthesis.speech import SILENT_MEL, cut_windows, log_mel, mel_corners, mel_scale

LOUD = 1.0
"""Where the loud bands of clear speech lie in the normalised log-mel spectrum."""
_NATURAL = 1.5 * math.log(10)
"""One unit of the normalised log-mel spectrum (15 dB) in natural logarithms of power."""
_NOISE_SECONDS, _LEAST_NOISE = 40, -1.0
"""Length of the noise that is cut from, and where its deepest dips are cut off, 15 dB below the mean."""

Random = np.random.Generator
_PIECE, _FADE = 4 * SAMPLE_RATE, SAMPLE_RATE // 50
"""Samples of a wave that are varied alike, and over which one piece fades into the next."""
_FFT, _HOP = 512, 128


def vary_speech(windows: Tensor, *, generator: torch.Generator) -> Tensor:
    """Vary voice, room, microphone, level and background of mel windows, each in a share of them.

    Args:
        windows: [B, M, W] normalised log-mel (1 unit is 15 dB of power).
        generator: on the processor; makes the variation repeatable.

    Returns:
        [B, M, W], nowhere below silence.
    """
    dice = _Dice(windows.device, generator)
    varied = _voice(windows, dice)
    varied = _room(varied, dice)
    level = _level(windows, dice)
    varied = varied + level + _microphone(windows, dice)
    varied = _add(varied, _hiss(windows, dice, level))
    varied = _add(varied, _music(windows, dice) + level)
    return _dropped(varied, dice).clamp_min(SILENT_MEL)


class _Dice:
    """Draws on the processor, whatever the device, so that a seed means the same everywhere."""

    def __init__(self, device: torch.device, generator: torch.Generator) -> None:
        self.device, self.generator = device, generator

    def between(self, low: float, high: float, *shape: int) -> Tensor:
        drawn = torch.rand(*shape, generator=self.generator)
        return (low + (high - low) * drawn).to(self.device)

    def chance(self, share: float, *shape: int) -> Tensor:
        return (torch.rand(*shape, generator=self.generator) < share).to(self.device)


def _voice(windows: Tensor, dice: _Dice) -> Tensor:
    """Stretch the spectrum as a longer or shorter vocal tract does, blur its harmonics or add others."""
    batch, bands, _ = windows.shape
    stretch = torch.exp(dice.between(-0.2, 0.2, batch))
    corners = mel_corners(bands).float().to(windows.device)
    hertz, top = corners[1:-1], mel_scale(corners[-1])
    place = mel_scale(hertz / stretch[:, None]) / top * (bands + 1) - 1
    place = place + dice.between(-1.5, 1.5, batch, 1)
    varied = cut_windows(windows.mT, place.clamp(0, bands - 1)[:, None]).mT.contiguous()
    blurred = functional.avg_pool1d(functional.pad(varied.mT, (2, 2), mode="replicate"), 5, stride=1).mT
    varied = torch.where(dice.chance(0.4, batch, 1, 1), blurred, varied)
    pitch = dice.between(80, 320, batch, 1)
    # Harmonics show where they are further apart than bands are wide.
    shown = torch.sigmoid((pitch * 8 - hertz) / 150) * dice.between(0, 0.5, batch, 1)
    ripple = shown * torch.cos(2 * math.pi * hertz / pitch)
    return varied + (ripple * dice.chance(0.4, batch, 1))[..., None]


def _room(windows: Tensor, dice: _Dice) -> Tensor:
    """Let sound die away as echoes do: by 60 dB in 0.15 to 0.9 s, as strong as the direct sound or weaker."""
    batch, _, frames = windows.shape
    time = torch.arange(frames, device=windows.device)
    since = time - time[:, None]
    fall = 6 * math.log(10) / (dice.between(0.15, 0.9, batch, 1, 1) * MEL_RATE)
    tail = torch.exp(-fall * since.clamp_min(0)).triu(1)
    share = dice.between(0.05, 1.2, batch, 1, 1) * dice.chance(0.4, batch, 1, 1)
    mixed = torch.eye(frames, device=windows.device) + share * tail * fall
    power = torch.exp(windows * _NATURAL) @ mixed
    return (power / (1 + share)).clamp_min(1e-20).log() / _NATURAL


def _level(windows: Tensor, dice: _Dice) -> Tensor:
    """Louder or softer: within 9 dB mostly, 6 to 33 dB softer at times; [B, 1, 1]."""
    batch = len(windows)
    usual, soft = dice.between(-0.6, 0.6, batch, 1, 1), dice.between(-2.2, -0.4, batch, 1, 1)
    return torch.where(dice.chance(0.3, batch, 1, 1), soft, usual)


def _microphone(windows: Tensor, dice: _Dice) -> Tensor:
    """Tilt and bend the spectrum, and at times cut off what a telephone does not carry; [B, M, 1]."""
    batch, bands, _ = windows.shape
    place = torch.linspace(0, 1, bands, device=windows.device)[None]
    curve = torch.zeros(batch, bands, device=windows.device)
    for wave in range(1, 5):
        turn = dice.between(0, 2 * math.pi, batch, 1)
        curve = curve + dice.between(-0.3, 0.3, batch, 1) * torch.cos(math.pi * wave * place + turn)
    low = dice.between(0, 0.16, batch, 1)
    high = dice.between(0.6, 1.1, batch, 1)
    cut = 40 * ((low - place).clamp_min(0) + (place - high).clamp_min(0))
    return (curve - cut * dice.chance(0.3, batch, 1))[..., None]


def _hiss(windows: Tensor, dice: _Dice, level: Tensor) -> Tensor:
    """Steady noise of a random colour, often none that is heard; [B, M, W]."""
    batch, bands, frames = windows.shape
    place = torch.linspace(-1, 1, bands, device=windows.device)[:, None]
    colour = dice.between(-0.4, 0.4, batch, 1, 1) * place
    room = (LOUD + level - 1.2 - SILENT_MEL).clamp_min(0.1)
    loud = room * dice.between(0, 1.0, batch, 1, 1) * dice.chance(0.6, batch, 1, 1)
    flicker = noise_windows(batch, frames, generator=dice.generator).to(windows.device)
    return SILENT_MEL + loud + colour + flicker


def _music(windows: Tensor, dice: _Dice) -> Tensor:
    """Chords that are struck at random moments and die away, and beats of a drum; [B, M, W].

    A tone is narrow: 15 dB below speech as a whole it is as loud as speech in its own band.
    """
    batch, bands, frames = windows.shape
    place = torch.arange(bands, device=windows.device)
    time = torch.arange(frames, device=windows.device)
    sound = torch.full_like(windows, SILENT_MEL - LOUD)
    loud = LOUD + dice.between(-1.3, 0.6, batch, 1, 1)
    struck = dice.between(-0.5 * frames, frames, batch, 3)
    for tone in range(12):
        band = dice.between(2, 0.6 * bands, batch, 1, 1)
        width = dice.between(0.5, 1.5, batch, 1, 1)
        width = width.masked_fill(dice.chance(0.1, batch, 1, 1), bands)
        since = time - struck[:, tone % 3, None, None]
        fall = dice.between(0.0, 0.04, batch, 1, 1)
        fall = torch.where(width == bands, 10 * fall + 0.1, fall)
        heard = loud + dice.between(-0.5, 0.1, batch, 1, 1) - fall * since.clamp_min(0)
        heard = heard.masked_fill(since < 0, SILENT_MEL - LOUD)
        sound = torch.maximum(sound, heard - 0.5 * ((place[:, None] - band) / width) ** 2)
    return torch.where(dice.chance(0.5, batch, 1, 1), sound, 2 * SILENT_MEL)


def _dropped(windows: Tensor, dice: _Dice) -> Tensor:
    """Silence a few neighbouring bands in some windows."""
    batch, bands, _ = windows.shape
    start = dice.between(0, bands, batch, 1)
    width = dice.between(0, 10, batch, 1) * dice.chance(0.4, batch, 1)
    place = torch.arange(bands, device=windows.device)[None]
    inside = (place >= start) & (place < start + width)
    return windows.masked_fill(inside[..., None], SILENT_MEL)


def _add(one: Tensor, other: Tensor) -> Tensor:
    """Add powers."""
    return torch.logaddexp(one * _NATURAL, other * _NATURAL) / _NATURAL


@functools.lru_cache(maxsize=1)
def _white() -> Tensor:
    """The mel spectrum of white noise against its mean power; [80, 4001]."""
    generator = torch.Generator().manual_seed(0)
    mel = log_mel(torch.randn(_NOISE_SECONDS * SAMPLE_RATE, generator=generator))
    mean = (10 ** (1.5 * mel)).mean(1, keepdim=True).log10() / 1.5
    return (mel - mean).clamp_min(_LEAST_NOISE)


def noise_windows(count: int, frames: int, *, generator: torch.Generator) -> Tensor:
    """Cut windows of white noise at random; [count, 80, W] about 0, on the processor.

    Raises:
        AssertionError: windows longer than 30 s.
    """
    white = _white()
    assert frames <= 30 * MEL_RATE
    starts = torch.randint(white.shape[1] - frames, (count, 1), generator=generator)
    return white[:, starts + torch.arange(frames)].transpose(0, 1)


def quiet_windows(count: int, bands: int, frames: int, *, generator: torch.Generator) -> Tensor:
    """Make mel windows in which nobody speaks; [count, M, W], on the processor.

    All hold noise of a random colour from nothing up to 50 dB below full scale; a third hold a breath, a
    third clicks.
    """
    draw = _Dice(torch.device("cpu"), generator).between
    place = torch.linspace(-1, 1, bands)[None, :, None]
    time = torch.arange(frames)[None, None]
    floor = draw(SILENT_MEL - 1, SILENT_MEL + 20 / 15, count, 1, 1)
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


def vary_wave(wave: Floats, random: Random) -> Floats:
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


def quiet_wave(pieces: int, random: Random) -> Floats:
    """Make pieces of 2 s in which nobody speaks; [S].

    Noise of any colour, up to 50 dB below full scale, in a third of them breaths and in a third clicks.
    """
    return np.concatenate([_quiet_piece(number % 3, random) for number in range(pieces)])


def _vary_piece(piece: Floats, random: Random) -> Floats:
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
        varied = varied + _noise(len(piece), random) * loud * 10 ** (-random.uniform(8, 40) / 20)
    decibel = random.uniform(-30, -6) if random.random() < 0.3 else random.uniform(-9, 9)
    return (varied * 10 ** (decibel / 20)).astype(np.float32)


def _other_voice(wave: Floats, factor: float) -> Floats:
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


def _echo(wave: Floats, random: Random) -> Floats:
    """Add a room in which sound dies away by 60 dB in 0.15 to 0.9 s."""
    length = random.uniform(0.15, 0.9)
    since = np.arange(round(length * SAMPLE_RATE)) / SAMPLE_RATE
    tail = random.normal(size=len(since)) * 10 ** (-3 * since / length)
    tail *= math.sqrt(random.uniform(0.05, 1.2) / float(np.sum(tail**2)))
    tail[0] = 1
    return fftconvolve(wave, tail)[: len(wave)].astype(np.float32)


def _coloured(wave: Floats, random: Random, *, cut: bool = False) -> Floats:
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


def _noise(count: int, random: Random) -> Floats:
    return _coloured(random.normal(size=count).astype(np.float32), random)


def _quiet_piece(kind: int, random: Random) -> Floats:
    count = 2 * SAMPLE_RATE
    time = np.arange(count) / SAMPLE_RATE
    sound = _noise(count, random) * 10 ** (-random.uniform(50, 110) / 20)
    if kind == 1:
        hump = np.exp(-(((time - random.uniform(0, 2)) / random.uniform(0.1, 0.4)) ** 2))
        sound = sound + _noise(count, random) * hump * 10 ** (-random.uniform(30, 50) / 20)
    if kind == 2:
        for place in random.integers(0, count - 200, 3):
            fall = np.exp(-np.arange(200) / random.uniform(5, 50))
            sound[place : place + 200] += random.normal(size=200) * fall * random.uniform(0.01, 0.3)
    return np.clip(sound, -1, 1).astype(np.float32)
