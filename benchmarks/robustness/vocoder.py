"""Another voice out of a recorded one, moment for moment: pitch and formants moved apart from each other."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy.signal import istft, stft

from speech2lip.arrays import Floats
from speech2lip.conventions import SAMPLE_RATE

_GRAIN = round(0.03 * SAMPLE_RATE)
_SEARCH = 0.005
"""Seconds that a grain may move, to either side: a period of 100 Hz in all."""
_FFT = 512
_LIFTER = round(0.002 * SAMPLE_RATE)
"""Quefrencies below this (2 ms) describe the vocal tract; pitch is above."""
_MOST_GAIN = np.log(30.0)


def change_voice(wave: Floats, *, pitch: float, formants: float) -> Floats:
    """Multiply the pitch and the formant frequencies of speech; when a sound is made stays, within 10 ms.

    The sound is played faster by `pitch`, brought back to its length by overlapping waveforms (WSOLA,
    Verhelst and Roelands 1993), and its smooth spectrum, taken from the cepstrum, is stretched.

    Args:
        wave: [S] at 16 kHz.
        pitch, formants: factors; about 1.7 and 1.17 from a man's to a woman's voice.

    Returns:
        [S], as loud as before.
    """
    if not np.any(wave):
        return wave.copy()
    quick = soxr.resample(wave, SAMPLE_RATE * pitch, SAMPLE_RATE) if pitch != 1 else wave
    changed = _move_formants(_stretch(quick, len(wave)), formants / pitch)
    loudness = np.sqrt(np.mean(np.square(wave)) / max(np.mean(np.square(changed)), 1e-12))
    return (changed * loudness).astype(np.float32)


def _stretch(wave: Floats, length: int) -> NDArray[np.float64]:
    """Bring a wave to a length: grains from their proportional place, each moved to fit what it follows."""
    hop = _GRAIN // 2
    speed = len(wave) / length
    reach = max(1, round(_SEARCH * SAMPLE_RATE * speed))
    padded = np.pad(wave.astype(np.float64), (_GRAIN, 2 * _GRAIN + reach))
    window = np.hanning(_GRAIN + 1)[:-1]
    out = np.zeros(length + 2 * _GRAIN)
    # A grain starts half a window early: its middle is the moment that it stands for.
    follow = padded[_GRAIN - hop : 2 * _GRAIN - hop]
    for start in range(0, length + hop, hop):
        place = _GRAIN - hop + round(start * speed)
        near = padded[place - reach : place + reach + _GRAIN]
        fits = np.correlate(near, follow, "valid")
        energy = np.convolve(near**2, np.ones(_GRAIN), "valid")
        best = place - reach + int(np.argmax(fits / np.sqrt(energy + 1e-9))) if start else place
        out[start : start + _GRAIN] += padded[best : best + _GRAIN] * window
        follow = padded[best + hop : best + hop + _GRAIN]
    return out[hop : hop + length]


def _move_formants(wave: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """Stretch the smooth spectrum along frequency, the pitch left as it is; [S]."""
    if factor == 1:
        return wave
    _, _, spectrum = stft(wave, nperseg=_FFT, noverlap=_FFT * 3 // 4)
    smooth = _envelope(np.log(np.abs(spectrum) + 1e-6))
    bins = np.arange(len(smooth))
    moved = np.stack([np.interp(bins / factor, bins, column) for column in smooth.T], axis=1)
    gain = np.exp(np.clip(moved - smooth, -_MOST_GAIN, _MOST_GAIN))
    _, changed = istft(spectrum * gain, nperseg=_FFT, noverlap=_FFT * 3 // 4)
    return np.asarray(changed[: len(wave)], np.float64)


def _envelope(log_spectrum: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smooth log spectra [bins, T] along frequency by keeping their lowest quefrencies.

    Repeated with the higher of spectrum and smooth, so that it rests on the harmonics and not between them
    (the true envelope, Roebel and Rodet 2005).
    """
    smooth = np.full_like(log_spectrum, -np.inf)
    for _ in range(10):
        cepstrum = np.fft.irfft(np.maximum(log_spectrum, smooth), axis=0)
        cepstrum[_LIFTER : len(cepstrum) - _LIFTER + 1] = 0
        smooth = np.fft.rfft(cepstrum, axis=0).real
    return smooth
