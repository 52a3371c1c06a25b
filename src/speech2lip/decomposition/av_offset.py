"""The time between sound and lips, from the lip opening and the sound's energy alone: no trained expert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import butter, sosfiltfilt

from speech2lip.arrays import Array, Series
from speech2lip.conventions import SAMPLE_RATE
from speech2lip.formats import SoundOffset

RATE = 100
"""Grid on which sound and lips are compared, samples a second."""
BAND = (600.0, 2000.0)
"""Hz. Energy here follows the jaw (first formant of open vowels); the whole band also follows the voice,
nasals and hisses, which closed lips have too: over grid_s1 it peaks 0.25 s beside the truth."""
FAST, SLOW = 0.03, 0.15
"""Seconds: both series keep what lies between these two Gaussians. Slower trends (mouth open through a whole
sentence) make the peak broad and biased."""
FLOOR_DB = -40.0
"""Energy this far below the loud parts counts as silence."""
MAX_LAG = 0.3
"""Seconds."""
LEAST_SECONDS = 2.0
"""Of speech, below which no offset is trusted."""
LEAST_OFFSET_MS = 60.0
"""Smaller offsets are left alone: takes that are in step measure up to 45 ms."""
SURE_MS = 20.0
"""Largest standard error of an offset that is corrected."""
ALONE_SECONDS = 20.0
"""From this length on a take is judged for itself; shorter ones share what all takes together show."""
_PIECE_SECONDS = 4.0
_DRAWS = 100
_UNKNOWN = SoundOffset(None, None, 0.0, "none", False)


@dataclass(frozen=True)
class SyncCurve:
    """Correlation of lips and sound over the lag of the sound."""

    lags: Array
    """[L], seconds; at a positive lag the sound is looked up later than the picture."""
    correlation: Array
    """[L]."""
    weight: float
    """Seconds of footage behind it."""


@dataclass(frozen=True)
class SyncOffset:
    """Where sound and lips fit best."""

    milliseconds: float
    """How late the sound is: positive = sound after the lips, negative = lips after the sound."""
    correlation: float
    """Height of the peak."""
    confidence: float
    """Height of the peak above the median over all lags, about 0 to 0.8."""


def sync_curve(series: Series, wave: NDArray[np.float32], times: Series) -> SyncCurve:
    """Return the correlation of one take's lips and sound at every lag of the sound.

    Cannot see: which phone the lips show; sound of another take with the same rhythm.

    Args:
        series: [T], lip opening (or any motion that grows as the mouth opens), NaN without a face.
        wave: [S], 16 kHz; sample 0 is at time 0.
        times: [T], seconds, increasing.
    """
    assert series.shape == times.shape and series.ndim == 1, f"{series.shape} values at {times.shape} times"
    count = min(len(wave) * RATE // SAMPLE_RATE, int(times[-1] * RATE) + 1)
    steps = round(MAX_LAG * RATE)
    lags = np.arange(-steps, steps + 1) / RATE
    known = np.isfinite(series)
    if count < 3 * steps or known.sum() < 3:
        return SyncCurve(lags, np.zeros(len(lags)), 0.0)
    grid = np.arange(count) / RATE
    lips = _middle_band(np.interp(grid, times[known], series[known].astype(np.float64)))
    # Between two frames with a face; what interpolation made up elsewhere does not count.
    usable = (np.interp(grid, times, known.astype(np.float64)) > 0.999) & (grid >= times[0])
    sound = _middle_band(speech_energy(wave)[:count])
    values = [_shifted_correlation(lips, sound, usable, step) for step in range(-steps, steps + 1)]
    return SyncCurve(lags, np.array(values), float(usable.sum()) / RATE)


def pooled_offset(curves: Sequence[SyncCurve]) -> SyncOffset:
    """Return the offset that several takes share: the peak of their curves' mean, weighted by length.

    Positive = sound late, to a fraction of a frame: lips that lag k frames behind their sound give
    -1000 k / fps. Read it as a difference to the real video's row; real offsets found are 0 +- 15 ms
    (grid_s1; one take in eight 43), 2 to 45 ms (words), +87 ms (whitehouse). A still mouth: offset NaN,
    correlation and confidence 0.

    It needs much speech: on 8 s of real footage right sound peaks at 0.29 to 0.78 and foreign sound mostly
    at 0.2, but up to 0.39, so two of three hdtf clips give a wrong offset. On 64 s pooled, right sound gives
    0.43 and foreign at most 0.13 (grid_s1). Trust no peak below 0.4 (8 s) or 0.2 (a minute). Isolated words
    repeat so evenly that foreign sound still gives 0.34 to 0.48.
    """
    weights = np.array([curve.weight for curve in curves])
    known = weights.sum() > 0
    mean = (
        np.average([curve.correlation for curve in curves], axis=0, weights=weights) if known else np.zeros(1)
    )
    if np.ptp(mean) < 1e-9:
        return SyncOffset(float("nan"), 0.0, 0.0)
    best = int(mean.argmax())
    offset = float(curves[0].lags[best])
    if 0 < best < len(mean) - 1:
        before, peak, after = mean[best - 1 : best + 2]
        offset += 0.5 * float((before - after) / (before - 2 * peak + after)) / RATE
    return SyncOffset(1000 * offset, float(mean[best]), float(mean[best] - np.median(mean)))


def trusted_offset(curves: Sequence[SyncCurve]) -> float | None:
    """Return the offset that several takes share, in ms; None where its peak may be chance.

    That is below a correlation of 0.6 for 3 s of speech, 0.4 for 8 s and 0.2 for a minute, always below 2 s,
    and at the edge of the lags that were looked at.
    """
    seconds = sum(curve.weight for curve in curves)
    found = pooled_offset(curves)
    if seconds < LEAST_SECONDS or not np.isfinite(found.milliseconds):
        return None
    needed = np.interp(np.log(seconds), np.log([3.0, 8.0, 60.0]), [0.6, 0.4, 0.2])
    edge = 1000 * float(curves[0].lags[-1])
    return found.milliseconds if found.correlation >= needed and abs(found.milliseconds) < edge else None


def speech_energy(wave: NDArray[np.float32]) -> Array:
    """Return the log energy between 600 and 2000 Hz in dB below the loud parts, 100 a second; [S / 160]."""
    band = sosfiltfilt(butter(4, BAND, "bandpass", fs=SAMPLE_RATE, output="sos"), wave.astype(np.float64))
    total = np.concatenate([[0.0], np.cumsum(band**2)])
    hop = SAMPLE_RATE // RATE
    centres = np.arange(len(wave) // hop) * hop
    start, end = np.clip(centres - 2 * hop, 0, len(wave)), np.clip(centres + 2 * hop, 0, len(wave))
    energy = (total[end] - total[start]) / (end - start)
    loud = max(float(np.quantile(energy, 0.95)), 1e-12)
    return np.asarray(10 * np.log10(np.maximum(energy / loud, 10 ** (FLOOR_DB / 10))), np.float64)


def _middle_band(series: Array) -> Array:
    """Keep what changes slower than FAST and faster than SLOW."""
    return np.asarray(
        gaussian_filter1d(series, FAST * RATE) - gaussian_filter1d(series, SLOW * RATE), np.float64
    )


def _shifted_correlation(lips: Array, sound: Array, usable: NDArray[np.bool_], step: int) -> float:
    """Correlate the lips with the sound `step` grid points later, where both exist."""
    length = len(lips) - abs(step)
    here = slice(max(0, -step), max(0, -step) + length)
    there = slice(max(0, step), max(0, step) + length)
    x, y = lips[here][usable[here]], sound[there][usable[here]]
    if len(x) < 3 or x.std() < 1e-9 or y.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def find_offsets(
    takes: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32], Array]],
) -> dict[str, SoundOffset]:
    """Find every take's sound offset.

    Long takes are judged alone. Short ones say too little, but were mostly filmed with one device: they are
    judged together.

    Args:
        takes: lip opening [T], NaN where the mouth cannot be trusted; sound [S], 16 kHz; times [T], seconds.
    """
    pieces = {name: _pieces(*take) for name, take in takes.items()}
    together = _judge([piece for every in pieces.values() for piece in every], "all takes")
    found = {}
    for name, curves in pieces.items():
        long = sum(curve.weight for curve in curves) >= ALONE_SECONDS
        alone = _judge(curves, "take") if long else _UNKNOWN
        found[name] = alone if alone.milliseconds is not None else together
    return found


def shifted(wave: NDArray[np.float32], seconds: float) -> NDArray[np.float32]:
    """Return the sound `seconds` earlier (negative: later), filled up with silence; as long as before."""
    samples = round(seconds * SAMPLE_RATE)
    moved = np.roll(wave, -samples)
    moved[slice(max(0, len(wave) - samples), None) if samples > 0 else slice(-samples)] = 0
    return moved


def _pieces(lips: NDArray[np.float32], wave: NDArray[np.float32], times: Array) -> list[SyncCurve]:
    """Return curves of pieces of about four seconds."""
    count = max(1, round(float(times[-1]) / _PIECE_SECONDS))
    curves = []
    for frames in np.array_split(np.arange(len(times)), count):
        first, last = float(times[frames[0]]), float(times[frames[-1]])
        part = wave[round(first * SAMPLE_RATE) : round((last + 0.1) * SAMPLE_RATE)]
        if len(part) and len(frames) > 2:
            curves.append(sync_curve(lips[frames], part, times[frames] - first))
    return [curve for curve in curves if curve.weight > 0]


def _judge(curves: Sequence[SyncCurve], basis: Literal["take", "all takes"]) -> SoundOffset:
    trusted = trusted_offset(curves) if curves else None
    if trusted is None:
        return _UNKNOWN
    error = _standard_error(curves)
    sure = error is not None and error <= SURE_MS and abs(trusted) >= LEAST_OFFSET_MS
    return SoundOffset(trusted, error, pooled_offset(curves).correlation, basis, sure)


def _standard_error(curves: Sequence[SyncCurve]) -> float | None:
    """Return the spread of the offset over random choices of the pieces (bootstrap), in ms."""
    if len(curves) < 4:
        return None
    random = np.random.default_rng(0)
    draws = [random.integers(0, len(curves), len(curves)) for _ in range(_DRAWS)]
    return float(np.nanstd([pooled_offset([curves[i] for i in draw]).milliseconds for draw in draws]))
