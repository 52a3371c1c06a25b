"""Which frames are never trained on, so that an avatar can be judged on what it has not seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from speech2lip.decomposition.footage import Take

MANY_TAKES = 10
"""From this many takes on whole takes are held out."""
_GAP_SECONDS = 0.4
"""Kept free between trained and held-out frames of one take: they hear the same sound."""

Ranges = dict[str, tuple[int, int]]
"""Per take: start and stop of its held-out frames."""


def held_out_ranges(takes: Sequence[Take], hold_out: float | None) -> Ranges:
    """Choose the held-out frames.

    With ten takes or more every tenth in sorted order, beginning with the fourth; otherwise the last 10 % of
    the footage. A share holds out the last part of the footage of that size.

    Args:
        hold_out: share of the footage in [0, 0.9], 0 for nothing; None for the rule above.
    """
    ordered = sorted(takes, key=lambda take: take.name)
    if hold_out is None and len(ordered) >= MANY_TAKES:
        return {take.name: (0, len(take.times)) for take in ordered[3::10]}
    left = round((0.1 if hold_out is None else hold_out) * sum(len(take.times) for take in ordered))
    ranges: Ranges = {}
    for take in reversed(ordered):
        count = min(left, len(take.times))
        if count:
            ranges[take.name] = (len(take.times) - count, len(take.times))
        left -= count
    return ranges


def trainable(take: Take, ranges: Ranges) -> NDArray[np.bool_]:
    """Tell which frames of a take are trained on: not left out, not held out, not next to held out; [T]."""
    allowed = take.kept
    if take.name in ranges:
        start, stop = ranges[take.name]
        gap = round(_GAP_SECONDS * float(take.fps))
        allowed[max(0, start - gap) : stop + gap] = False
    return allowed
