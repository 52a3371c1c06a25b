"""Fit one rigid face and all head poses to the landmarks of all takes together."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2lip.config import PrepareSettings
from speech2lip.decomposition.head_pose import (
    camera_matrix,
    fit_rigid_shape,
    initial_head_poses,
    normalise_shape,
    refine_head_poses,
    refine_shape,
    smooth_head_poses,
)
from speech2lip.decomposition.landmarks import RIGID
from speech2lip.decomposition.masks import eye_distance

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
        tracks: per take: landmarks [T, 478, 3], seen [T], width, height, fps as a fraction.

    Returns:
        The rigid face, [478, 3], and per take [T, 4, 4]; frames without a face take the nearest frame's pose.
    """
    shape = fit_rigid_shape(_sample([t["landmarks"][t["seen"]] for t in tracks.values()]))
    shape = _refine_face(shape, tracks, settings)
    return shape, {name: _take_poses(track, shape, settings) for name, track in tracks.items()}


def _sample(arrays: list[NDArray[np.float32]]) -> Array:
    every = np.concatenate(arrays)
    chosen = np.linspace(0, len(every) - 1, min(len(every), _SAMPLES)).astype(int)
    return every[chosen].astype(np.float64)


def _refine_face(shape: Array, tracks: Mapping[str, dict[str, Any]], settings: PrepareSettings) -> Array:
    """Alternate between head poses and face, on a sample of the frames of takes with the most common
    picture size.
    """
    sizes = [(t["width"], t["height"]) for t in tracks.values()]
    common = max(set(sizes), key=sizes.count)
    points = _sample(
        [t["landmarks"][t["seen"]] for t in tracks.values() if (t["width"], t["height"]) == common]
    )
    k = camera_matrix(*common, settings.focal)
    rigid = list(RIGID)
    poses = initial_head_poses(shape, points, k)
    for _ in range(3):
        poses = refine_head_poses(poses, shape[rigid], points[:, rigid, :2], k, soft_pixels=_soft(points))
        shape = refine_shape(poses, shape, points[..., :2], k)
    return normalise_shape(shape)


def _soft(points: Array) -> float:
    """Errors count linearly from 0.4 % of the distance between the eyes' outer corners on."""
    return max(0.25, 0.004 * eye_distance(np.median(points[..., :2], axis=0)))


def _take_poses(track: dict[str, Any], shape: Array, settings: PrepareSettings) -> Array:
    seen = np.asarray(track["seen"])
    points = track["landmarks"][seen].astype(np.float64)
    k = camera_matrix(track["width"], track["height"], settings.focal)
    rigid = list(RIGID)
    found = initial_head_poses(shape, points, k)
    found = refine_head_poses(found, shape[rigid], points[:, rigid, :2], k, soft_pixels=_soft(points))
    sigma = settings.smoothing_frames * float(Fraction(track["fps"])) / _SMOOTHING_RATE
    return smooth_head_poses(found[_nearest(seen)], seen, sigma_frames=sigma)


def _nearest(seen: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Tell for each frame which of the seen ones is nearest, the earlier of two; [T] places among those."""
    indices, frames = np.flatnonzero(seen), np.arange(len(seen))
    after = np.clip(np.searchsorted(indices, frames), 0, len(indices) - 1)
    before = np.maximum(after - 1, 0)
    earlier = np.abs(frames - indices[before]) <= np.abs(indices[after] - frames)
    return np.where(earlier, before, after)
