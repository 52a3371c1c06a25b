"""The order in which base frames are shown under speech of any length: forward and back, never a jump.

It turns where the head is most at rest and the eyes are open, and slows down evenly before: neither position
nor velocity jumps, and no blink is cut in half. Positions between two frames are shown as a mixture of both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from speech2lip.arrays import Array

_SLOW_FRAMES = 8
"""Frames in which speed falls before a turn, and rises after it; even."""
_SEARCHED_SECONDS = 2.0
"""How much of each end is searched for a place to turn at; a third of a short take."""
_CLOSED = 0.7
"""Share of the usual opening below which the eyes are closing."""
_BLINK_FRAMES = 4
"""Frames beside a turn in which no eye may close."""
_CALM_SECONDS = 6.0
"""Length of what a still head is taken from: long enough to hold a blink or two."""
_PLACES = np.array([[0, 0.3, -0.4], [-0.5, 0, 0], [0.5, 0, 0], [0, 1.1, 0], [0, -0.9, 0.2]])
"""Points of the head whose movement is watched, in head space."""


def ping_pong_order(start: int, first: int, last: int) -> Iterator[float]:
    """Yield places in a take without end, in frames: from `start` on to and fro between two turns.

    Between turns these are whole frames; around a turn the speed goes evenly from one frame a frame to one
    frame a frame back.

    Args:
        start: any frame; one beyond the last turn goes back.
        first, last: frames to turn at, as `reversal_frames` finds them.
    """
    while first == last:
        yield float(first)
    reach = min(_SLOW_FRAMES // 2, (last - first - 1) // 2)
    index, step = start, 1 if start < last else -1
    while True:
        end = last if step > 0 else first
        left = (end - index) * step
        if left > reach:
            yield float(index)
            index += step
            continue
        begun = math.isqrt(4 * reach * left)
        if begun * begun < 4 * reach * left:
            yield float(index)
        for k in range(-begun, 2 * reach + 1):
            yield end - step * k * k / max(4 * reach, 1)
        index, step = end - step * (reach + 1), -step


def head_path(camera_from_head: Array) -> Array:
    """Return where points of the head are in each frame [T, 15], in eye units; depth counts a third."""
    at = np.einsum("tij,nj->tni", camera_from_head[:, :3, :3], _PLACES) + camera_from_head[:, None, :3, 3]
    return (at * (1, 1, 1 / 3)).reshape(len(at), -1)


def reversal_frames(
    camera_from_head: Array, *, fps: float, eyes: NDArray[np.float32] | None = None
) -> tuple[int, int]:
    """Find the frames near both ends at which turning is least seen: head at rest, no blink near.

    Args:
        camera_from_head: [T, 4, 4] head poses of one unbroken take.
        fps: of its frames.
        eyes: [T] opening of the eyes in any unit; None where it is not known.
    """
    count = len(camera_from_head)
    searched = min(round(_SEARCHED_SECONDS * fps), count // 3)
    if searched < 2:
        return 0, count - 1
    path = head_path(camera_from_head)
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    # The slower the head, the less the two frames that are mixed there differ.
    around = np.convolve(np.pad(steps, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    usual = float(np.median(around)) + 1e-9
    blinking = np.zeros(count) if eyes is None else _near(eyes < _CLOSED * np.median(eyes), _BLINK_FRAMES)
    early = np.arange(searched)
    late = count - 1 - early
    by_distance = 0.3 * usual * early / searched
    first = early[np.argmin(around[early] + by_distance + 1e6 * blinking[early])]
    last = late[np.argmin(around[late - 1] + by_distance + 1e6 * blinking[late])]
    return int(first), int(last)


def _near(flags: NDArray[np.bool_], reach: int) -> Array:
    """Return 1 at and near flags, else 0."""
    kernel = np.ones(2 * reach + 1)
    return (np.convolve(flags.astype(np.float64), kernel, mode="same") > 0).astype(np.float64)


def calm_span(camera_from_head: Array, *, fps: float, seconds: float = _CALM_SECONDS) -> tuple[int, int]:
    """Find the stretch of a take, start and stop, in which the head moves least, about its usual pose."""
    count = len(camera_from_head)
    length = min(count, round(seconds * fps))
    path = head_path(camera_from_head)
    usual = np.median(path, axis=0)
    best, least = 0, np.inf
    for start in range(0, count - length + 1, max(1, round(fps / 5))):
        part = path[start : start + length]
        moved = np.linalg.norm(part.std(axis=0)) + 0.1 * np.linalg.norm(part.mean(axis=0) - usual)
        if moved < least:
            best, least = start, float(moved)
    return best, best + length
