"""How faces look: small upright pictures of them, and how unlike two of those are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]
Look = NDArray[np.uint8]
"""[32, 32, 3]."""

LOOK = 32
"""Side of the small upright picture of a face that people are told by and covered mouths are found on."""
SAME_LOOK, OTHER_LOOK = 0.15, 0.34
"""Gaps between looks below which it is surely the same person of the same take, and above which, with a face
shape that is doubtful, surely not: between people 0.34 and more; of one person 0.09 from word to word, up to
0.37 where the head turns."""
ABRUPT_LOOK = 0.5
"""Gap between the looks of one frame and the next above which it is surely not the same person."""
_LOOK_FROM = np.array([33, 263, 10, 152])
_LOOK_TO = np.array([[0.248, 0.374], [0.752, 0.374], [0.5, 0.05], [0.5, 0.95]], np.float32) * LOOK


def upright_look(rgb: NDArray[np.uint8], points: Points) -> NDArray[np.uint8]:
    """Return a small picture of the face, upright, always the same in size; [32, 32, 3]."""
    import cv2

    height, width = rgb.shape[:2]
    margin = 0.1 * float(np.ptp(points[:, 0]))
    x0, y0 = np.clip(np.floor(points[:, :2].min(0) - margin), 0, [width - 1, height - 1]).astype(int)
    x1, y1 = np.clip(np.ceil(points[:, :2].max(0) + margin), [x0 + 1, y0 + 1], [width, height]).astype(int)
    crop = rgb[y0:y1, x0:x1]
    shrink = max(1.0, crop.shape[1] / (1.5 * LOOK))
    size = (max(1, round(crop.shape[1] / shrink)), max(1, round(crop.shape[0] / shrink)))
    small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    places = (points[_LOOK_FROM, :2] - [x0, y0]) * [size[0] / crop.shape[1], size[1] / crop.shape[0]]
    transform = _similarity(places.astype(np.float64), _LOOK_TO.astype(np.float64))
    return np.asarray(
        cv2.warpAffine(small, transform, (LOOK, LOOK), borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def _similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the 2 x 3 matrix that turns, scales and shifts one set of points onto another."""
    s, t = source - source.mean(0), target - target.mean(0)
    complex_s, complex_t = s[:, 0] + 1j * s[:, 1], t[:, 0] + 1j * t[:, 1]
    factor = (np.conj(complex_s) @ complex_t) / max(float(np.abs(complex_s) @ np.abs(complex_s)), 1e-9)
    turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.concatenate([turn, (target.mean(0) - turn @ source.mean(0))[:, None]], axis=1)


def is_abrupt_change(gap: float, frames: int) -> bool:
    """Tell whether a face that looks so different `frames` frames later must be somebody else's.

    A fast turn changes the look by up to 0.37 from one frame to the next.
    """
    return gap > (OTHER_LOOK if frames > 1 else ABRUPT_LOOK)


def changes_abruptly(looks: NDArray[np.uint8], frames: NDArray[np.intp], shot: NDArray[np.int32]) -> bool:
    """Tell whether somebody else steps into a face's place without a cut.

    Args:
        looks: [N, 32, 32, 3] of one followed face; frames: [N] their indices; shot: [N] their shots.
    """
    if len(looks) < 2:
        return False
    normed = _normed(looks)
    gaps = 1 - (normed[1:] * normed[:-1]).sum(1)
    between, same = np.diff(frames), np.diff(shot) == 0
    return any(is_abrupt_change(float(g), int(n)) for g, n in zip(gaps[same], between[same], strict=True))


def look_gap(a: Look, b: Look) -> float:
    """Tell how unlike two looks are; 0 alike, 1 unlike."""
    first, second = _normed(np.stack([a, b]))
    return float(1 - first @ second)


def _normed(looks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return looks [N, 32, 32, 3] in grey, with a mean of 0 and a length of 1; [N, 1024]."""
    grey: NDArray[np.float32] = looks.astype(np.float32).mean(-1).reshape(len(looks), LOOK * LOOK)
    grey -= grey.mean(1, keepdims=True)
    grey /= np.maximum(np.linalg.norm(grey, axis=1, keepdims=True), 1e-6)
    return grey


def look_gaps(looks: NDArray[np.uint8], shot: NDArray[np.int32], shots: int) -> NDArray[np.float32]:
    """Tell how unlike each shot's face looks to each other shot's nearest frames; 0 alike, 1 unlike.

    Args:
        looks: [N, 32, 32, 3] upright pictures of seen faces; shot: [N] the number of each one's shot.

    Returns:
        [shots, shots]; 1 where a face is not seen.
    """
    grey = _normed(looks)
    parts = [np.flatnonzero(shot == number) for number in range(shots)]
    few = [part[np.linspace(0, len(part) - 1, min(len(part), 12)).astype(int)] for part in parts]
    gaps = np.ones((shots, shots), np.float32)
    for a in range(shots):
        for b in range(shots):
            if len(few[a]) and len(few[b]):
                gaps[a, b] = np.median((1 - grey[few[a]] @ grey[few[b]].T).min(1))
    return gaps
