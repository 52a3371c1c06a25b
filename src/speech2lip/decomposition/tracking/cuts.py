"""Cuts: where a take jumps from one moment to another, so that neighbouring frames are not consecutive."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Thumbnail = NDArray[np.float32]

THUMBNAIL = (36, 64)
"""Rows and columns of the picture that neighbouring frames are compared on."""
LEAST_CHANGE = 1.0
"""Grey levels: smaller changes are never cuts."""
LEAST_RATIO = 2.5
"""A cut changes the picture this many times as much as any of the frames around it. On 48 words of one
person, joined by jump cuts, it is 4.4 or more at cuts and 1.6 or less between; up to 2.4 in other footage.
"""
AROUND = 3
"""Frames before and after that a change is held against."""
_STILL = 0.4
"""Grey levels of change that a still picture has from coding noise."""


def thumbnail(rgb: NDArray[np.uint8]) -> Thumbnail:
    """Shrink a frame [H, W, 3] to what cuts are looked for on; [36, 64, 3], 0 to 255."""
    import cv2

    small = cv2.resize(rgb, THUMBNAIL[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def change_between(before: Thumbnail | None, now: Thumbnail) -> float:
    """Return the mean absolute difference of two thumbnails in grey levels; 0 for the first frame."""
    return 0.0 if before is None else float(np.abs(now - before).mean())


def is_abrupt(changes: list[float]) -> bool:
    """Tell from the past alone whether the newest change may be a cut: a tracker should look anew."""
    newest, past = changes[-1], changes[-1 - AROUND : -1]
    return newest > 4 * LEAST_CHANGE and newest > LEAST_RATIO * max([_STILL, *past])


def find_cuts(changes: NDArray[np.float32]) -> NDArray[np.intp]:
    """Find the first frames after cuts.

    A cut is one change that stands out from those around it. A flash is two of them, a fast nod many.

    Args:
        changes: [T] change of each frame against the one before, in grey levels; see `change_between`.

    Returns:
        [C] frame indices, growing.
    """
    if len(changes) < 2:
        return np.zeros(0, np.intp)
    others = np.ones(2 * AROUND + 1, bool)
    others[AROUND] = False
    padded = np.pad(changes, AROUND)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1)
    around = np.maximum(windows[:, others].max(axis=1), _STILL)
    cut = (changes > LEAST_CHANGE) & (changes > LEAST_RATIO * around)
    cut[0] = False
    return np.flatnonzero(cut)


def shot_numbers(changes: NDArray[np.float32]) -> NDArray[np.int32]:
    """Number the shots of a take from 0; [T]."""
    shots = np.zeros(len(changes), np.int32)
    shots[find_cuts(changes)] = 1
    return np.cumsum(shots, dtype=np.int32)


def runs_within_shots(flags: NDArray[np.bool_], shot: NDArray[np.int32]) -> list[tuple[int, int]]:
    """Return (start, stop) of every run of True that no cut breaks."""
    edges = np.flatnonzero((np.diff(flags.astype(np.int8)) != 0) | (np.diff(shot) != 0)) + 1
    bounds = [0, *edges.tolist(), len(flags)]
    return [(a, b) for a, b in pairwise(bounds) if b > a and flags[a]]
