"""Fit one rigid face and all head poses to the landmarks of all takes together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2lip.config import PrepareSettings
from speech2lip.decomposition.head_pose import (
    aligned_head_poses,
    camera_matrix,
    fit_rigid_shape,
    initial_head_poses,
    normalise_shape,
    refine_head_poses,
    refine_shape,
    smooth_head_poses,
)
from speech2lip.decomposition.landmarks import OUTER_EYE_CORNERS, RIGID
from speech2lip.decomposition.packed_landmarks import chosen_points

Array = NDArray[np.float64]
_SAMPLES = 1200
"""Frames, at most, that the rigid face is fitted to."""
_SMOOTHING_RATE = 25
"""Frames a second of the frames that `smoothing_frames` counts: smoothing lasts as long at any rate."""


def fit_poses(
    tracks: Mapping[str, dict[str, Any]], settings: PrepareSettings
) -> tuple[Array, dict[str, Array]]:
    """Fit the person's rigid face and every frame's head pose.

    Args:
        tracks: per take: landmarks [T, 478, 3] to look rows up in, seen [T], width, height, fps as a
            fraction.

    Returns:
        The rigid face, [478, 3], and per take [T, 4, 4]; frames without a face take the nearest frame's pose.
    """
    shape = fit_rigid_shape(_sample(tracks.values()))
    shape = _refine_face(shape, tracks, settings)
    return shape, {name: _take_poses(track, shape, settings) for name, track in tracks.items()}


def _sample(tracks: Iterable[dict[str, Any]]) -> Array:
    """Return landmarks of frames with a face, evenly spread over all takes; [S, 478, 3]."""
    seen = [(track["landmarks"], np.flatnonzero(track["seen"])) for track in tracks]
    ends = np.cumsum([len(rows) for _, rows in seen])
    chosen = np.linspace(0, ends[-1] - 1, min(ends[-1], _SAMPLES)).astype(int)
    takes = np.split(chosen, np.searchsorted(chosen, ends[:-1]))
    starts = ends - [len(rows) for _, rows in seen]
    parts = [
        landmarks[rows[at - start]] for (landmarks, rows), at, start in zip(seen, takes, starts, strict=True)
    ]
    return np.concatenate(parts).astype(np.float64)


def _refine_face(shape: Array, tracks: Mapping[str, dict[str, Any]], settings: PrepareSettings) -> Array:
    """Alternate between head poses and face, on a sample of the frames of the most common picture size."""
    sizes = [(t["width"], t["height"]) for t in tracks.values()]
    common = max(set(sizes), key=sizes.count)
    points = _sample(t for t in tracks.values() if (t["width"], t["height"]) == common)
    k = camera_matrix(*common, settings.focal)
    rigid = list(RIGID)
    poses = initial_head_poses(shape, points, k)
    soft = _soft(points[:, list(OUTER_EYE_CORNERS)])
    for _ in range(3):
        poses = refine_head_poses(poses, shape[rigid], points[:, rigid, :2], k, soft_pixels=soft)
        shape = refine_shape(poses, shape, points[..., :2], k)
    return normalise_shape(shape)


def _soft(corners: Array) -> float:
    """Errors count linearly from 0.4 % of the distance between the eyes' outer corners [T, 2, 2 or 3] on."""
    left, right = np.median(corners[..., :2], axis=0)
    return max(0.25, 0.004 * float(np.linalg.norm(right - left)))


def _take_poses(track: dict[str, Any], shape: Array, settings: PrepareSettings) -> Array:
    seen = np.asarray(track["seen"])
    points = chosen_points(track["landmarks"], np.flatnonzero(seen), RIGID).astype(np.float64)
    k = camera_matrix(track["width"], track["height"], settings.focal)
    rigid = shape[list(RIGID)]
    found = aligned_head_poses(rigid, points, k)
    corners = points[:, [RIGID.index(corner) for corner in OUTER_EYE_CORNERS]]
    found = refine_head_poses(found, rigid, points[..., :2], k, soft_pixels=_soft(corners))
    sigma = settings.smoothing_frames * float(Fraction(track["fps"])) / _SMOOTHING_RATE
    return smooth_head_poses(found[_nearest(seen)], seen, sigma_frames=sigma)


def _nearest(seen: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Tell for each frame which of the seen ones is nearest, the earlier of two; [T] places among those."""
    indices, frames = np.flatnonzero(seen), np.arange(len(seen))
    after = np.clip(np.searchsorted(indices, frames), 0, len(indices) - 1)
    before = np.maximum(after - 1, 0)
    earlier = np.abs(frames - indices[before]) <= np.abs(indices[after] - frames)
    return np.where(earlier, before, after)
