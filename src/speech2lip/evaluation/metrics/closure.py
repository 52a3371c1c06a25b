"""Whether lips meet where they must: at /p b m/, and in silence."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.floating[Any]]
Intervals = NDArray[np.floating[Any]]
"""[N, 2], start and end in seconds of the take."""

BILABIALS = ("P", "B", "M")
CLOSED_QUANTILE = 0.05
WIDE_QUANTILE = 0.95
OPEN_SHARE = 0.15
CLOSURE_TOLERANCE = 0.04
"""Seconds by which a closure may fall before or after its phone: one frame at 25 frames a second."""
CLOSURE_REACH = 0.3
"""Seconds before and after a phone within which the lips must also be open somewhere."""


@dataclass(frozen=True)
class OpeningScale:
    """One person's lip openings, learned from real video of the person; everything in eye distances.

    A fixed figure would not do: detectors give a closed mouth as 0.00 to 0.01, and people open theirs
    differently far. On six people the openings have two heaps, and the threshold falls between them.
    """

    closed: float
    """5th percentile: the mouth at rest or in a closure."""
    wide: float
    """95th percentile."""

    @property
    def threshold(self) -> float:
        """The mouth counts as open above this: closed + 15 % of the way to wide."""
        return self.closed + OPEN_SHARE * (self.wide - self.closed)

    @classmethod
    def measure(cls, real_openings: Series) -> OpeningScale:
        """Learn the scale from real openings [T] that hold speech and closures; NaN frames are left out."""
        known = real_openings[np.isfinite(real_openings)]
        assert known.size > 0, "the opening scale needs at least one frame with a face"
        closed, wide = np.quantile(known, [CLOSED_QUANTILE, WIDE_QUANTILE])
        return cls(float(closed), float(wide))


@dataclass(frozen=True)
class Closures:
    """What became of the closures that the sound asks for."""

    count: int
    """Phones with at least one frame in reach."""
    reached: float
    """Share of them at which the lips meet and beside which they part, 0 to 1; NaN without phones."""
    depth: float
    """Mean over them of (wide - smallest opening) / (wide - closed): 1 fully closed, 0 wide open."""


def phone_intervals(
    phones: Iterable[tuple[str, float, float]], *, names: Iterable[str] = BILABIALS
) -> NDArray[np.float64]:
    """Return start and end [N, 2] of the named phones in (phone, start, end) rows.

    Capitals and stress marks make no difference; for silence ask for its name in the listing (`pau`, `SIL`).
    """
    wanted = {name.upper() for name in names}
    found = [(start, end) for phone, start, end in phones if phone.upper().rstrip("012") in wanted]
    return np.array(found, np.float64).reshape(-1, 2)


def closures(openings: Series, times: Series, intervals: Intervals, *, scale: OpeningScale) -> Closures:
    """Return how many of the asked-for closures the lips reach, and how deep.

    A closure is reached where the opening falls below the threshold, one frame early or late allowed, and is
    above it somewhere within 0.3 s before or after: lips that are always shut close nothing. Cannot see: a
    wrong time inside the tolerance. Real video does not reach 1 either, as a
    closure may be shorter than a frame: compare rows.

    Args:
        openings: [T], eye distances, NaN without a face.
        times: [T], seconds.
        intervals: [N, 2], seconds, one row a phone.
        scale: the person's own.
    """
    assert openings.shape == times.shape, f"{openings.shape} openings at {times.shape} times"
    deepest, parted = [], []
    for start, end in intervals:
        near = (times >= start - CLOSURE_TOLERANCE) & (times <= end + CLOSURE_TOLERANCE)
        near &= np.isfinite(openings)
        around = (times >= start - CLOSURE_REACH) & (times <= end + CLOSURE_REACH) & np.isfinite(openings)
        if near.any():
            deepest.append(float(openings[near].min()))
            parted.append(float(openings[around].max()) > scale.threshold)
    if not deepest:
        return Closures(0, math.nan, math.nan)
    found = np.array(deepest)
    depths = (scale.wide - found) / max(scale.wide - scale.closed, 1e-6)
    return Closures(
        len(found), float(((found <= scale.threshold) & np.array(parted)).mean()), float(depths.mean())
    )


def silent_open_percent(
    openings: Series, times: Series, intervals: Intervals, *, scale: OpeningScale, settle: float = 0.2
) -> float:
    """Return the per cent of frames in silence whose mouth is open; NaN if no frame lies in silence.

    Args:
        openings: [T], eye distances, NaN without a face.
        times: [T], seconds.
        intervals: [N, 2], the silent stretches, seconds.
        scale: the person's own.
        settle: seconds left out at both ends of each stretch, since real lips part before the first sound.
    """
    inside = openings[frames_inside(times, intervals, margin=settle) & np.isfinite(openings)]
    return 100 * float((inside > scale.threshold).mean()) if inside.size else math.nan


def silent_motion(openings: Series, times: Series, intervals: Intervals, *, settle: float = 0.2) -> float:
    """Return the standard deviation of the opening in silence, in eye distances; NaN without two frames."""
    inside = openings[frames_inside(times, intervals, margin=settle) & np.isfinite(openings)]
    return float(inside.std()) if inside.size > 1 else math.nan


def frames_inside(times: Series, intervals: Intervals, *, margin: float = 0.0) -> NDArray[np.bool_]:
    """Mark the frames [T] inside one of the intervals [N, 2], each shortened by a margin at both ends."""
    inside = np.zeros(times.shape, np.bool_)
    for start, end in intervals:
        inside |= (times >= start + margin) & (times < end - margin)
    return inside
