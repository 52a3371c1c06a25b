"""Where places of the canonical picture lie in frames, found by looking instead of by landmarks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from speech2lip.conventions import Array, Floats
from speech2lip.geometry.mapping import sample_array

_CELL = 0.085
"""Side of the cells that give one place each, in eye units."""
_WINDOW = 0.07
"""Half the side of what is compared around a place, in eye units."""
_ROUNDS = 4
"""Lucas-Kanade steps."""
_FURTHEST = 0.12
"""Places that seem to have moved further than this, in eye units, were mistaken."""
_ALIKE = 0.7
"""Least correlation of what lies around a place with what lay there in the canonical picture."""
_NOISE = 3.0
"""Grey levels by which a place differs between frames for other reasons than that it has moved; half of what
is seen, as only every fourth pixel is counted.
"""
_WORKERS = 2
"""Threads that look for places, a frame each."""
_FLOOR = 0.15
"""Standard deviation of the best track, in pixels."""


@dataclass(frozen=True)
class Tracks:
    """N canonical places seen in F frames that were brought into canonical space."""

    points: Array
    """[N, 2] canonical pixels."""
    moved: Array
    """[F, N, 2] canonical pixels by which a place lies beside where the mapping puts it."""
    information: Array
    """[F, N, 2, 2] inverse covariance of `moved`; 0 where the place was not found."""


def choose_places(detail: Floats, allowed: NDArray[np.bool_], *, unit: float) -> Array:
    """Choose pixel centres with the most detail around them, shared out evenly.

    Args:
        detail: [H, W] grey levels; allowed: [H, W]; unit: eye distance in pixels.

    Returns:
        [N, 2] in pixels.
    """
    side = max(3, round(_CELL * unit))
    margin = round(_WINDOW * unit) + 2
    steep = cv2.boxFilter(
        cv2.Sobel(detail, cv2.CV_32F, 1, 0, scale=1 / 8) ** 2
        + cv2.Sobel(detail, cv2.CV_32F, 0, 1, scale=1 / 8) ** 2,
        -1,
        (side, side),
    )
    inner = np.zeros(allowed.shape, bool)
    inner[margin:-margin, margin:-margin] = True
    steep = np.where(allowed & inner, steep, 0.0)
    found = []
    for row in range(0, steep.shape[0], side):
        for column in range(0, steep.shape[1], side):
            cell = steep[row : row + side, column : column + side]
            y, x = np.unravel_index(int(cell.argmax()), cell.shape)
            if cell[y, x] > 0.5:
                found.append((column + x + 0.5, row + y + 0.5))
    return np.array(found, np.float64).reshape(-1, 2)


def track_places(template: Floats, brought: Floats, points: Array, *, unit: float) -> Tracks:
    """Find canonical places again in frames that were brought into canonical space (Lucas-Kanade).

    Args:
        template: [H, W] detail of the canonical picture, grey levels.
        brought: [F, H, W] the same of frames in canonical space.
        points: [N, 2] canonical pixels.
        unit: eye distance in canonical pixels.
    """
    half = max(3, round(_WINDOW * unit))
    steps = np.arange(-half, half + 1, 2)
    window = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2).astype(np.float64)
    weight = np.exp(-(window**2).sum(1) / (2 * (0.6 * half) ** 2))
    at = points[:, None] + window
    home = sample_array(template, at)
    home = home - (home * weight).sum(1, keepdims=True) / weight.sum()
    slopes = [sample_array(template, at + step) - sample_array(template, at - step) for step in np.eye(2)]
    slope = 0.5 * np.stack(slopes, axis=-1)
    normal = np.einsum("nsi,s,nsj->nij", slope, weight, slope) + 1e-3 * np.eye(2)
    moved = np.zeros((len(brought), len(points), 2))
    information = np.zeros((len(brought), len(points), 2, 2))
    covariance = np.linalg.inv(normal) * _NOISE**2 + _FLOOR**2 * np.eye(2)
    certain = np.linalg.inv(covariance)
    with ThreadPoolExecutor(_WORKERS) as pool:
        followed = pool.map(lambda picture: _follow(picture, at, home, slope, weight, normal), brought)
        for n, (shift, alike) in enumerate(followed):
            kept = (alike > _ALIKE) & (np.linalg.norm(shift, axis=1) < _FURTHEST * unit)
            moved[n], information[n] = shift, certain * kept[:, None, None]
    return Tracks(points, moved, information)


def _follow(
    picture: Floats, at: Array, home: Array, slope: Array, weight: Array, normal: Array
) -> tuple[Array, Array]:
    """Move every window until it looks like home; shifts [N, 2] and correlations [N]."""
    shift = np.zeros((len(at), 2))
    alike = np.zeros(len(at))
    for step in range(_ROUNDS + 1):
        seen = sample_array(picture, at + shift[:, None])
        seen = seen - (seen * weight).sum(1, keepdims=True) / weight.sum()
        power = ((seen**2 * weight).sum(1), (home**2 * weight).sum(1))
        both = (seen * home * weight).sum(1)
        alike = both / np.sqrt(np.maximum(power[0] * power[1], 1e-9))
        if step == _ROUNDS:
            break
        gain = np.clip(np.sqrt(power[1] / np.maximum(power[0], 1e-9)), 0.5, 2.0)
        error = home - gain[:, None] * seen
        change = np.linalg.solve(normal, np.einsum("nsi,s,ns->ni", slope, weight, error)[..., None])[..., 0]
        shift += np.clip(change, -2.0, 2.0)
    return shift, alike
