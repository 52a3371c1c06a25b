"""The box in which the mouth is judged: it follows the head alone, whatever the lips do."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2lip.decomposition.footage import Take
from speech2lip.faces.landmarks import MOUTH_CORNERS
from speech2lip.geometry.rigid import project

Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1), half-open, pixels."""

BOX_MOUTH_WIDTHS = 2.0
"""Side of the box in canonical mouth widths: enough for the open jaw."""


def mouth_box(
    centre: NDArray[np.floating[Any]], mouth_width: float, *, frame_height: int, frame_width: int
) -> Box:
    """Return the square box around the mouth, clipped to the frame; x0 = x1 or y0 = y1 if wholly outside.

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


def mouth_box_of(take: Take, index: int, shape: NDArray[np.floating[Any]]) -> Box:
    """Return the mouth box of a take's frame; it depends on head pose alone.

    Args:
        shape: [478, 3] the canonical face.
    """
    corners = shape[list(MOUTH_CORNERS)]
    pose = take.camera_from_head[index]
    centre = project(pose[None], take.k, corners.mean(0, keepdims=True))[0, 0]
    distance = (pose[:3, :3] @ corners.mean(0) + pose[:3, 3])[2]
    width = float(np.linalg.norm(corners[1] - corners[0]) * take.k[0, 0] / distance)
    return mouth_box(centre, width, frame_height=take.height, frame_width=take.width)
