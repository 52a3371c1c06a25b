"""The shape of the mouth from landmarks (scheme mediapipe-478): landmark distance, lip opening, lip width.

`lip_opening` is the one of `decomposition.landmarks`: mean distance of three pairs of inner-lip points over
the distance of the outer eye corners in the same frame, so that scale and roll fall out; yaw by 17 degrees
raises it by 5 per cent. The detector's depth would not help: on real clips the opening with it correlates at
0.98 or more with the one without.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2lip.conventions import LANDMARK_COUNT
from speech2lip.faces.landmarks import MOUTH_CORNERS, OUTER_EYE_CORNERS, lip_opening

__all__ = [
    "MOUTH_68",
    "eye_distance",
    "lip_opening",
    "lip_width",
    "lmd",
    "lmd_frames",
    "lmd_percent",
    "mouth_68",
]

Series = NDArray[np.floating[Any]]
Landmarks = NDArray[np.floating[Any]]
"""[T, 478, 2 or 3], pixels; NaN in frames without a face."""

MOUTH_68 = (61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91, 78, 81, 13, 311, 308, 402, 14, 178)
"""Points of the mesh that stand for points 48 to 67 of the 68-point scheme, in that order.

Outer lip from the corner at the picture's left over the upper lip: 48 = 61, 49 = 40, 50 = 37, 51 = 0, 52 =
267, 53 = 270, 54 = 291, then back along the lower lip: 55 = 321, 56 = 314, 57 = 17, 58 = 84, 59 = 91. Inner
lip likewise: 60 = 78, 61 = 81, 62 = 13, 63 = 311, 64 = 308, 65 = 402, 66 = 14, 67 = 178. The two
schemes place these points by eye, not by definition: all rows of a table use this one map, but figures of
other papers come from other detectors.
"""


def mouth_68(landmarks: Landmarks) -> NDArray[np.float64]:
    """Return the 20 mouth points of the 68-point scheme in the picture; [T, 478, 2 or 3] to [T, 20, 2]."""
    _check(landmarks)
    return landmarks[:, MOUTH_68, :2].astype(np.float64)


def eye_distance(landmarks: Landmarks) -> NDArray[np.float64]:
    """Return the distance between the outer eye corners, the unit of scale-free figures; [T]."""
    _check(landmarks)
    left, right = OUTER_EYE_CORNERS
    distance: NDArray[np.float64] = np.linalg.norm(landmarks[:, right, :2] - landmarks[:, left, :2], axis=1)
    return distance.astype(np.float64)


def lmd_frames(a: Landmarks, b: Landmarks) -> NDArray[np.float64]:
    """Return each frame's mean distance of the 20 mouth points, each mouth centred; pixels, [T]."""
    assert a.shape[0] == b.shape[0], f"{a.shape[0]} frames against {b.shape[0]}"
    ours, theirs = (points - points.mean(axis=1, keepdims=True) for points in (mouth_68(a), mouth_68(b)))
    distances: NDArray[np.float64] = np.linalg.norm(ours - theirs, axis=2).mean(axis=1)
    return distances


def lmd(a: Landmarks, b: Landmarks) -> float:
    """Return the landmark distance in pixels (Chen et al. 2018, mean-centred) over points and frames.

    NaN frames (no face) are left out; NaN if none remains. Cannot see: a mouth that is shifted as a whole;
    which of two clips is out of sync; what the lips look like. Depends on the picture's size: compare within
    one footage only.
    """
    return _mean(lmd_frames(a, b))


def lmd_percent(a: Landmarks, real: Landmarks) -> float:
    """Return the landmark distance in per cent of the distance between the real frame's outer eye corners.

    As `lmd`, but comparable between pictures of different size.
    """
    return _mean(100 * lmd_frames(a, real) / eye_distance(real))


def lip_width(landmarks: Landmarks) -> NDArray[np.float64]:
    """Return the distance of the mouth corners (61, 291) in eye distances; [T]; NaN without a face."""
    _check(landmarks)
    left, right = MOUTH_CORNERS
    width: NDArray[np.float64] = np.linalg.norm(landmarks[:, right, :2] - landmarks[:, left, :2], axis=1)
    return width.astype(np.float64) / eye_distance(landmarks)


def _mean(values: Series) -> float:
    """Return the mean of what is known; NaN if nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def _check(landmarks: Landmarks) -> None:
    assert landmarks.ndim == 3 and landmarks.shape[1] == LANDMARK_COUNT and landmarks.shape[2] in (2, 3), (
        f"landmarks are [T, {LANDMARK_COUNT}, 2 or 3], not {landmarks.shape}"
    )
