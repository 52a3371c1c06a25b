"""Changes of the sound that leave the lips as they are, made on mel windows."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from speech2lip.conventions import MEL_RATE, SAMPLE_RATE
from speech2lip.synthesis.speech import SILENT_MEL, log_mel, mel_corners, mel_scale

LOUD = 1.0
"""Where the loud bands of clear speech lie in the normalised log-mel spectrum."""
_NATURAL = 1.5 * math.log(10)
"""One unit of the normalised log-mel spectrum (15 dB) in natural logarithms of power."""


def vary_speech(windows: Tensor, *, generator: torch.Generator, parts: int = 1) -> Tensor:
    """Vary voice, room, microphone, level and background of mel windows, each in a share of them.

    Args:
        windows: [B, M, W] normalised log-mel (1 unit is 15 dB of power).
        generator: on the processor; makes the variation repeatable.
        parts: so many windows of equal length lie behind one another in W; all of a row are varied alike.

    Returns:
        [B, M, W], nowhere below silence.
    """
    dice = _Dice(windows.device, generator)
    varied = _voice(windows, dice)
    varied = _room(varied, dice, parts)
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
    varied = _read_bands(windows, place + dice.between(-1.5, 1.5, batch, 1))
    blurred = torch.nn.functional.avg_pool1d(
        torch.nn.functional.pad(varied.transpose(1, 2), (2, 2), mode="replicate"), 5, stride=1
    ).transpose(1, 2)
    varied = torch.where(dice.chance(0.4, batch, 1, 1), blurred, varied)
    pitch = dice.between(80, 320, batch, 1)
    # Harmonics show where they are further apart than bands are wide.
    shown = torch.sigmoid((pitch * 8 - hertz) / 150) * (dice.between(0, 0.5, batch, 1))
    ripple = shown * torch.cos(2 * math.pi * hertz / pitch)
    return varied + (ripple * dice.chance(0.4, batch, 1))[..., None]


def _room(windows: Tensor, dice: _Dice, parts: int) -> Tensor:
    """Let sound die away as echoes do: by 60 dB in 0.15 to 0.9 s, as strong as the direct sound or weaker."""
    batch, bands, frames = windows.shape
    length = frames // parts
    since = torch.arange(length, device=windows.device)
    since = since[None] - since[:, None]
    fall = 6 * math.log(10) / (dice.between(0.15, 0.9, batch, 1, 1) * MEL_RATE)
    tail = torch.where(since > 0, torch.exp(-fall * since.clamp_min(0)), torch.zeros((), device=fall.device))
    share = dice.between(0.05, 1.2, batch, 1, 1) * dice.chance(0.4, batch, 1, 1)
    mixed = torch.eye(length, device=windows.device) + share * tail * fall
    power = torch.exp(windows * _NATURAL).reshape(batch, bands * parts, length) @ mixed
    return (power / (1 + share)).clamp_min(1e-20).log().reshape(batch, bands, frames) / _NATURAL


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
    colour = (
        dice.between(-0.4, 0.4, batch, 1, 1) * torch.linspace(-1, 1, bands, device=windows.device)[:, None]
    )
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
        width = torch.where(dice.chance(0.1, batch, 1, 1), torch.full_like(width, bands), width)
        since = time - struck[:, tone % 3, None, None]
        fall = dice.between(0.0, 0.04, batch, 1, 1)
        fall = torch.where(width == bands, 10 * fall + 0.1, fall)
        heard = loud + dice.between(-0.5, 0.1, batch, 1, 1) - fall * since.clamp_min(0)
        heard = torch.where(since >= 0, heard, torch.full_like(heard, SILENT_MEL - LOUD))
        sound = torch.maximum(sound, heard - 0.5 * ((place[:, None] - band) / width) ** 2)
    return torch.where(dice.chance(0.5, batch, 1, 1), sound, torch.full_like(sound, 2 * SILENT_MEL))


def _dropped(windows: Tensor, dice: _Dice) -> Tensor:
    """Silence a few neighbouring bands in some windows."""
    batch, bands, _ = windows.shape
    start, width = (
        dice.between(0, bands, batch, 1),
        dice.between(0, 10, batch, 1) * dice.chance(0.4, batch, 1),
    )
    place = torch.arange(bands, device=windows.device)[None]
    inside = (place >= start) & (place < start + width)
    return torch.where(inside[..., None], torch.full_like(windows, SILENT_MEL), windows)


def _add(one: Tensor, other: Tensor) -> Tensor:
    """Add powers."""
    return torch.logaddexp(one * _NATURAL, other * _NATURAL) / _NATURAL


def _read_bands(windows: Tensor, place: Tensor) -> Tensor:
    """Read spectra at places between bands; [B, M, W], [B, M] -> [B, M, W]."""
    bands = windows.shape[1]
    place = place.clamp(0, bands - 1)
    low = place.floor().long().clamp(max=bands - 2)
    part = (place - low)[..., None]
    index = low[..., None].expand(-1, -1, windows.shape[2])
    return windows.gather(1, index) * (1 - part) + windows.gather(1, index + 1) * part


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
