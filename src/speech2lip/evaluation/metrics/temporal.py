"""What goes wrong between frames and at the edge of the paste: jitter, flicker, seam."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2lip.conventions import Picture
from speech2lip.evaluation.metrics.landmarks import MOUTH_68, Landmarks, mouth_68
from speech2lip.evaluation.metrics.mouth_box import Box
from speech2lip.evaluation.metrics.picture import gradient_energy, luma
from speech2lip.faces.landmarks import OUTER_EYE_CORNERS, RIGID

Series = NDArray[np.floating[Any]]

SEAM_CELL = 16
"""Pixels; side of the cells in which a border's steps are averaged."""
SEAM_NOISE = 0.5
"""Levels; added to both steps of a seam, so that a flat real background does not divide by zero."""


def jitter(landmarks: Landmarks, *, cuts: Sequence[int] | NDArray[np.intp] = ()) -> float:
    """Return how much the mouth trembles against the face: in per cent of the eye distance.

    Root mean square of the second difference (a[t-1] - 2 a[t] + a[t+1]) of the 20 mouth points, after each
    frame was moved, turned and scaled so that the points that speech does not move lie on their mean; so head
    motion and shaking cameras do not count. Speech counts, and so does the detector: on real video 1.0 to
    2.6, on a mouth at rest still 0.8 (eyes 65 pixels apart). So read it as `jitter_ratio`, where static lips
    give 0.7 to 0.9. NaN without three frames in a row that have a face.

    Args:
        landmarks: [T, 478, 2 or 3], pixels, of one take, evenly spaced.
        cuts: first frames after cuts; nothing is measured across them.
    """
    mouths = _mouths_on_still_face(landmarks)
    change = np.abs(mouths[:-2] - 2 * mouths[1:-1] + mouths[2:]) ** 2
    for cut in cuts:
        change[max(0, cut - 2) : max(0, cut)] = np.nan
    known = change[np.isfinite(change).all(axis=1)]
    return 100 * math.sqrt(float(known.mean())) if known.size else math.nan


def jitter_ratio(generated: Landmarks, real: Landmarks) -> float:
    """Return the made video's jitter over the real one's: > 1 trembles, < 1 is too smooth."""
    floor = jitter(real)
    return jitter(generated) / floor if floor > 0 else math.nan


def box_brightness(frame: Picture, box: Box) -> float:
    """Return the mean luma in a box, levels; NaN if the box is empty."""
    inside = luma(_cut(frame, box))
    return float(inside.mean()) if inside.size else math.nan


def box_detail(frame: Picture, box: Box) -> float:
    """Return the root mean square gradient in a box, levels a pixel; NaN if it has no inner pixel."""
    inside = _cut(frame, box)
    return math.sqrt(gradient_energy(inside)) if min(inside.shape[:2]) > 2 else math.nan


def flicker(values: Series) -> float:
    """Return the root mean square second difference of a figure per frame (brightness, detail), its unit.

    The second difference leaves slow changes of light and steady motion out. NaN frames are left out.
    """
    change = values[:-2] - 2 * values[1:-1] + values[2:]
    known = change[np.isfinite(change)]
    return math.sqrt(float((known.astype(np.float64) ** 2).mean())) if known.size else math.nan


def flicker_ratio(generated: Series, real: Series) -> float:
    """Return the made video's flicker over the real one's: 1 alike, above 1 flickers.

    Args:
        generated: [T], `box_brightness` (or `box_detail`) of each made frame in the mouth box.
        real: [T], the same of the real frames, in the same boxes.
    """
    floor = flicker(real)
    return flicker(generated) / floor if floor > 0 else math.nan


def seam_step(frame: Picture, mask: NDArray[np.floating[Any]]) -> float:
    """Return the step of luma across the mask's border (where it crosses 0.5), levels; NaN without a border.

    Steps from the pixel outside to the one inside are averaged, with their sign, over the stretch of border
    in each 16 x 16 cell; then the sizes are averaged over the cells. Grain and texture fall out, an edge that
    runs along the border stays, as it does for the eye, and a strong edge that the border crosses weighs
    little.

    Args:
        frame: uint8, [H, W, 3].
        mask: [H, W] in [0, 1], what was pasted.
    """
    grey, inside = luma(frame), mask > 0.5
    steps, cells = [], []
    for axis in (0, 1):
        entering = np.diff(inside.astype(np.int8), axis=axis)
        rows, columns = np.nonzero(entering)
        steps.append(np.diff(grey, axis=axis)[rows, columns] * entering[rows, columns])
        cells.append(rows // SEAM_CELL * grey.shape[1] + columns // SEAM_CELL)
    step = np.concatenate(steps)
    if not step.size:
        return math.nan
    cell = np.unique(np.concatenate(cells), return_inverse=True)[1]
    counts = np.bincount(cell)
    means = np.bincount(cell, weights=step) / counts
    return float(np.average(np.abs(means), weights=counts))


def seam_ratio(generated: Picture, real: Picture, mask: NDArray[np.floating[Any]]) -> float:
    """Return the step across the mask's border over that at the same place in the real frame; 1 no seam.

    A patch 4 levels too bright gives 1.4 and 2.1 on two real clips, recompression (JPEG 70) up to 1.1. NaN
    without a border. Cannot see: a difference that a wide feather spreads over many pixels (nor do eyes); a
    step that changes its sign within a few pixels.
    """
    return (seam_step(generated, mask) + SEAM_NOISE) / (seam_step(real, mask) + SEAM_NOISE)


def _cut(frame: Picture, box: Box) -> Picture:
    x0, y0, x1, y1 = box
    return frame[y0:y1, x0:x1]


def _mouths_on_still_face(landmarks: Landmarks) -> NDArray[np.complex128]:
    """Return the mouth points as complex numbers in eye distances, the face held still; [T, 20]."""
    mouths = np.full((len(landmarks), len(MOUTH_68)), np.nan, np.complex128)
    known = np.isfinite(landmarks).all(axis=(1, 2))
    if not known.any():
        return mouths
    face, mouth = _complex(landmarks[known][:, RIGID]), _complex(mouth_68(landmarks[known]))
    middle = face.mean(axis=1, keepdims=True)
    face, mouth = face - middle, mouth - middle
    mean = face.mean(axis=0)
    left, right = (RIGID.index(corner) for corner in OUTER_EYE_CORNERS)
    # One complex number turns and scales each frame's face on to the mean face (least squares).
    turn = (face.conj() * mean).sum(axis=1) / (np.abs(face) ** 2).sum(axis=1)
    mouths[known] = mouth * turn[:, None] / np.abs(mean[right] - mean[left])
    return mouths


def _complex(points: NDArray[np.floating[Any]]) -> NDArray[np.complex128]:
    return np.asarray(points[..., 0] + 1j * points[..., 1], np.complex128)
