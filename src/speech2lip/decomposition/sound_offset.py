"""Sound against picture: how late the sound of a take is, how sure that is, and whether it is put right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from speech2lip.conventions import SAMPLE_RATE
from speech2lip.evaluation.sync import SyncCurve, pooled_offset, sync_curve, trusted_offset
from speech2lip.formats import SoundOffset

__all__ = ["LEAST_OFFSET_MS", "UNKNOWN", "SoundOffset", "find_offsets", "shifted"]

LEAST_OFFSET_MS = 60.0
"""Smaller offsets are left alone: takes that are in step measure up to 45 ms."""
SURE_MS = 20.0
"""Largest standard error of an offset that is corrected."""
ALONE_SECONDS = 20.0
"""From this length on a take is judged for itself; shorter ones share what all takes together show."""
_PIECE_SECONDS = 4.0
_DRAWS = 100


UNKNOWN = SoundOffset(None, None, 0.0, "none", False)


def find_offsets(
    openings: Mapping[str, NDArray[np.float32]],
    waves: Mapping[str, NDArray[np.float32]],
    times: Mapping[str, NDArray[np.float64]],
) -> dict[str, SoundOffset]:
    """Find every take's sound offset.

    Long takes are judged alone. Short ones say too little, but were mostly filmed with one device: they are
    judged together.

    Args:
        openings: per take [T], NaN where the mouth cannot be trusted.
        waves: per take [S] at 16 kHz; times: per take [T] in seconds.
    """
    pieces = {name: _pieces(openings[name], waves[name], times[name]) for name in openings}
    together = _judge([piece for every in pieces.values() for piece in every], "all takes")
    found = {}
    for name, curves in pieces.items():
        long = sum(curve.weight for curve in curves) >= ALONE_SECONDS
        alone = _judge(curves, "take") if long else UNKNOWN
        found[name] = alone if alone.milliseconds is not None else together
    return found


def shifted(wave: NDArray[np.float32], seconds: float) -> NDArray[np.float32]:
    """Return the sound `seconds` earlier (negative: later), filled up with silence; as long as before."""
    samples = round(seconds * SAMPLE_RATE)
    if samples == 0:
        return wave
    moved = np.zeros_like(wave)
    if samples > 0:
        moved[: max(0, len(wave) - samples)] = wave[samples:]
    else:
        moved[-samples:] = wave[: max(0, len(wave) + samples)]
    return moved


def _pieces(
    opening: NDArray[np.float32], wave: NDArray[np.float32], times: NDArray[np.float64]
) -> list[SyncCurve]:
    """Return curves of pieces of about four seconds."""
    if len(times) < 2:
        return []
    count = max(1, round(float(times[-1]) / _PIECE_SECONDS))
    edges = np.linspace(0, len(times), count + 1).astype(int)
    curves = []
    for start, stop in pairwise(edges.tolist()):
        if stop - start < 3:
            continue
        begin = float(times[start])
        first = round(begin * SAMPLE_RATE)
        last = round((float(times[stop - 1]) + 0.1) * SAMPLE_RATE)
        part = wave[first:last]
        if len(part) and stop - start > 2:
            curves.append(sync_curve(opening[start:stop], part, times[start:stop] - begin))
    return [curve for curve in curves if curve.weight > 0]


def _judge(curves: Sequence[SyncCurve], basis: Literal["take", "all takes"]) -> SoundOffset:
    trusted = trusted_offset(curves) if curves else None
    if trusted is None:
        return UNKNOWN
    error = _standard_error(curves)
    sure = error is not None and error <= SURE_MS and abs(trusted) >= LEAST_OFFSET_MS
    return SoundOffset(trusted, error, pooled_offset(curves).correlation, basis, sure)


def _standard_error(curves: Sequence[SyncCurve]) -> float | None:
    """Return the spread of the offset over random choices of the pieces (bootstrap), in ms."""
    if len(curves) < 4:
        return None
    random = np.random.default_rng(0)
    draws = [
        pooled_offset([curves[i] for i in random.integers(0, len(curves), len(curves))]).milliseconds
        for _ in range(_DRAWS)
    ]
    return float(np.nanstd(draws))
