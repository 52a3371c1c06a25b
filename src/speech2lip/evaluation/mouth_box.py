"""The box in which the mouth is judged: it follows the head alone, whatever the lips do."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1), half-open, pixels."""

BOX_MOUTH_WIDTHS = 2.0
"""Side of the box in canonical mouth widths: enough for the open jaw."""


def mouth_box(
    centre: NDArray[np.floating[Any]], mouth_width: float, *, frame_height: int, frame_width: int
) -> Box:
    """Return the square box around the mouth, clipped to the frame; empty if wholly outside (x0 = x1 or y0 =
    y1).

    Args:
        centre: [2], the canonical mouth's centre projected by the frame's head pose, pixels.
        mouth_width: width of the canonical mouth at the head's scale in this frame, pixels (not
            foreshortened).
        frame_height: rows of the frame.
        frame_width: columns of the frame.
    """
    side = max(2, round(BOX_MOUTH_WIDTHS * mouth_width))
    x0, y0 = (round(float(value) - side / 2) for value in centre[:2])
    x1, y1 = x0 + side, y0 + side
    return (
        min(max(x0, 0), frame_width),
        min(max(y0, 0), frame_height),
        min(max(x1, 0), frame_width),
        min(max(y1, 0), frame_height),
    )
