"""Which frames of a video can be spoken over: which stretch is used, and how lips come and go elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from speech2lip.conventions import Array
from speech2lip.geometry.rigid import unbroken_runs

Flags = NDArray[np.bool_]
One = TypeVar("One")

FADE_SECONDS = 0.12
"""Over which drawn lips come and go, so that nothing pops."""
LEAST_SECONDS = 4.0
"""A stretch that is shown to and fro must be as long, or speech returns too often to the same frames."""


def fade_frames(fps: float) -> int:
    """Return the frames over which lips come or go."""
    return max(1, round(FADE_SECONDS * fps))


def longest_run(flags: Flags) -> tuple[int, int]:
    """Return (start, stop) of the longest run of True; (0, 0) without any."""
    return max(unbroken_runs(flags), key=lambda run: run[1] - run[0], default=(0, 0))


def best_stretch(flags: Flags, *, fps: float, start: int = 0) -> tuple[int, int]:
    """Choose the frames, first and stop, that are shown under speech.

    That is the longest run of frames that can be spoken over, or the one that holds frame `start`, where that
    was asked for (is not 0). Where none is long enough it is the whole take.

    Args:
        flags: [T] which frames can be spoken over.
    """
    long = [run for run in unbroken_runs(flags) if run[1] - run[0] >= LEAST_SECONDS * fps]
    wished = [run for run in long if start and run[0] <= start < run[1]]
    return max(wished or long, key=lambda run: run[1] - run[0], default=(0, len(flags)))


def drawn_shares(flags: Flags, *, fps: float) -> Array:
    """Return how much of the drawn lips is shown in each frame; [T] in [0, 1].

    0 where a frame cannot be spoken over, 1 from the length of a fade before and after such frames on.

    Args:
        flags: [T] which frames can be spoken over, of one unbroken take.
    """
    reach = fade_frames(fps)
    away = np.flatnonzero(~flags)
    if not len(away):
        return np.ones(len(flags))
    index = np.arange(len(flags))
    after = np.searchsorted(away, index)
    before = index - away[np.maximum(after - 1, 0)]
    distance = np.minimum(np.abs(before), np.abs(away[np.minimum(after, len(away) - 1)] - index))
    return np.minimum(distance / (reach + 1), 1.0)


def with_shares(
    items: Iterator[One], can_be_spoken_over: Callable[[One], bool], *, fps: float
) -> Iterator[tuple[One, float]]:
    """Yield items without end, each with the share of the drawn lips that it shows, as `drawn_shares` does.

    It looks ahead as far as a fade reaches.
    """
    reach = fade_frames(fps)
    coming: deque[tuple[One, bool]] = deque()
    since = reach
    for item in items:
        coming.append((item, can_be_spoken_over(item)))
        if len(coming) <= reach:
            continue
        one, fine = coming.popleft()
        since = since + 1 if fine else 0
        until = next((k for k, (_, later) in enumerate(coming, 1) if not later), reach + 1)
        yield one, min(since, until, reach + 1) / (reach + 1) if fine else 0.0
