"""Square crops of the face as SyncNet wants them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, median_filter

MARGIN = 0.4
"""Of half the face's side, left and right; twice that below, none above."""
SMOOTH_FRAMES = 13


def face_squares(landmarks: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return x0, y0 and side of the crop in each frame, median-smoothed over 13 frames; [T, 3], pixels.

    The public pipeline takes the box of a face detector; here it is the box of the face mesh (brows to chin,
    cheek to cheek), much the same. Frames without a face (NaN) take the nearest one's.

    Args:
        landmarks: [T, 478, 2 or 3], pixels; at least one frame with a face.
    """
    known = np.flatnonzero(np.isfinite(landmarks[:, 0, 0]))
    assert known.size > 0, "no frame has a face"
    # Between two known frames the middle decides; no table of all frames by all frames for long takes.
    nearest = known[np.searchsorted((known[1:] + known[:-1]) / 2, np.arange(len(landmarks)))]
    low, high = landmarks[nearest, :468, :2].min(axis=1), landmarks[nearest, :468, :2].max(axis=1)
    centre, half = (low + high) / 2, (high - low).max(axis=1) / 2
    track = np.column_stack([centre, half]).astype(np.float64)
    track = np.asarray(median_filter(track, size=(SMOOTH_FRAMES, 1), mode="nearest"))
    x, y, half = track.T
    return np.column_stack([x - half * (1 + MARGIN), y - half, 2 * half * (1 + MARGIN)])


def face_crop(frame: NDArray[np.uint8], square: NDArray[np.float64], *, side: int = 224) -> NDArray[np.uint8]:
    """Cut a square out and bring it to side x side by bilinear look-up; grey (110) outside the frame.

    Args:
        frame: [H, W, 3].
        square: x0, y0, side in pixels, see `face_squares`.
        side: pixels of the crop.
    """
    x0, y0, length = square
    steps = (np.arange(side) + 0.5) * length / side - 0.5
    rows, columns = np.meshgrid(y0 + steps, x0 + steps, indexing="ij")
    planes = [
        map_coordinates(frame[..., c].astype(np.float32), [rows, columns], order=1, mode="constant", cval=110)
        for c in range(3)
    ]
    return np.asarray(np.round(np.stack(planes, axis=2)), np.uint8)
