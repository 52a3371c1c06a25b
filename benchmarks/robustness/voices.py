"""Recorded speech as others would say or send it; words and moments stay, so the true lips are known."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import av
import numpy as np
import soxr
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, sosfiltfilt

from benchmarks.robustness.vocoder import change_voice
from speech2lip.arrays import Floats
from speech2lip.conventions import SAMPLE_RATE
from speech2lip.errors import SettingsError

MUSIC_DB = -15.0
"""Music below the speech (root mean squares)."""
ROOM_SECONDS = 0.5
"""Time in which the room's echo falls by 60 dB."""
_MU = 255.0
_CHORDS = ((220.0, 277.2, 329.6), (174.6, 220.0, 261.6), (196.0, 246.9, 293.7), (164.8, 196.0, 246.9))


def in_voice(wave: Floats, voice: str) -> Floats:
    """Return a wave in another voice or over another channel, one of `VOICES`.

    None of these methods is used in training (which bends mel spectra), and moments stay within 10 ms.

    Args:
        wave: [S] at 16 kHz.

    Returns:
        [S] in [-1, 1], the same each time.

    Raises:
        SettingsError: no such voice.
    """
    if voice not in VOICES:
        raise SettingsError(f"there is no voice {voice!r}; there are {', '.join(VOICES)}")
    return np.clip(VOICES[voice](wave), -1, 1).astype(np.float32)


def _telephone(wave: Floats) -> NDArray[np.float64]:
    """300 to 3,400 Hz, 8 kHz, mu-law with 8 bits (ITU-T G.711)."""
    band = sosfiltfilt(butter(4, (300, 3400), "bandpass", fs=SAMPLE_RATE, output="sos"), wave)
    narrow = np.clip(soxr.resample(band, SAMPLE_RATE, 8000), -1, 1)
    pressed = np.sign(narrow) * np.log1p(_MU * np.abs(narrow)) / np.log1p(_MU)
    steps = np.round(pressed * 127) / 127
    wide = soxr.resample(np.sign(steps) * np.expm1(np.abs(steps) * np.log1p(_MU)) / _MU, 8000, SAMPLE_RATE)
    return _fitted(wide, len(wave))


def _mp3(wave: Floats, *, bits_per_second: int = 32_000) -> NDArray[np.float64]:
    """There and back through MP3."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as target:
        stream = target.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="mono")
        stream.bit_rate = bits_per_second
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[None]), format="fltp", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as source:
        heard = np.concatenate([f.to_ndarray()[0] for f in source.decode(audio=0)]).astype(np.float64)
    return _fitted(heard, len(wave))


def _room(wave: Floats) -> NDArray[np.float64]:
    """A made room: noise that dies away, as strong as the direct sound in all."""
    seconds = np.arange(round(ROOM_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    tail = np.random.default_rng(3).normal(size=len(seconds)) * 10 ** (-3 * seconds / ROOM_SECONDS)
    tail[: SAMPLE_RATE // 200] = 0
    tail /= np.sqrt(np.sum(tail**2))
    tail[0] = 1
    echo: NDArray[np.float64] = fftconvolve(wave, tail)[: len(wave)]
    return echo * _rms(wave) / _rms(echo)


def _music(wave: Floats) -> NDArray[np.float64]:
    """Chords of four harmonics, a new one each half second, and a beat of noise."""
    seconds = np.arange(len(wave)) / SAMPLE_RATE
    since = seconds % 0.5
    turn = (seconds // 0.5).astype(int)
    notes = np.array(_CHORDS)[turn % len(_CHORDS)]
    tones = sum(np.sin(2 * np.pi * seconds[:, None] * notes * k) / k for k in range(1, 5))
    beat = np.random.default_rng(4).normal(size=len(wave)) * np.exp(-since * 40)
    music = np.sum(tones, axis=1) * np.exp(-2 * since) + beat
    return wave + music * _rms(wave) / _rms(music) * 10 ** (MUSIC_DB / 20)


def _soft(wave: Floats) -> NDArray[np.float64]:
    """26 dB softer, as 16-bit numbers."""
    return np.round(wave * 0.05 * 32768) / 32768


def _loud(wave: Floats) -> NDArray[np.float64]:
    """Three times the full scale at its peak, cut off."""
    return np.clip(wave / max(np.abs(wave).max(), 1e-6) * 3, -1, 1).astype(np.float64)


def _rms(wave: NDArray[np.floating[Any]]) -> float:
    return float(np.sqrt(np.mean(np.square(wave, dtype=np.float64)) + 1e-20))


def _fitted(wave: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    return np.pad(wave, (0, max(0, length - len(wave))))[:length]


VOICES: dict[str, Callable[[Floats], NDArray[np.floating[Any]]]] = {
    "other sex": lambda wave: change_voice(wave, pitch=1.7, formants=1.17),
    "deeper": lambda wave: change_voice(wave, pitch=0.75, formants=0.88),
    "telephone": _telephone,
    "mp3": _mp3,
    "room": _room,
    "music": _music,
    "soft": _soft,
    "loud": _loud,
}
"""Ways of changing a wave, by name."""
