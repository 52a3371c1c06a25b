"""A face's rigid shape and the head pose of every frame, from landmarks that speech does not move."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from speech2lip.arrays import Array
from speech2lip.config import PrepareSettings
from speech2lip.decomposition.footage import Track
from speech2lip.decomposition.tracking.landmarks import chosen_points
from speech2lip.faces.landmarks import OUTER_EYE_CORNERS, RIGID
from speech2lip.geometry.rigid import (
    align_similarity,
    by_motion,
    camera_matrix,
    changed_poses,
    pixel_by_point,
    smooth_head_poses,
    to_pixels,
    transformed,
)

_SAMPLES = 1200
"""Frames, at most, that the rigid face is fitted to."""
_SMOOTHING_RATE = 25
"""Frames a second of the frames that `smoothing_frames` counts: smoothing lasts as long at any rate."""


def fit_rigid_shape(points: Array, *, rounds: int = 3) -> Array:
    """Average all frames' 3-D landmarks after aligning them on points that speech does not move.

    Args:
        points: [T, 478, 3] in pixels.

    Returns:
        [478, 3] in eye units, centred between the outer eye corners, axes as the camera's when the face looks
        into it.
    """
    rigid = list(RIGID)
    shape = points[len(points) // 2]
    for _ in range(rounds):
        scale, rotation, shift = align_similarity(shape[rigid], points[:, rigid])
        back = np.einsum("tji,tnj->tni", rotation, points - shift[:, None]) / scale[:, None, None]
        shape = np.median(back, axis=0)
    return normalise_shape(shape)


def normalise_shape(shape: Array) -> Array:
    """Scale a shape to eye units and turn it to face the camera: eyes level, nose bridge ahead."""
    left, right = shape[list(OUTER_EYE_CORNERS)]
    across = (right - left) / np.linalg.norm(right - left)
    # The line from the top of the forehead to the chin fixes pitch: it stands upright.
    down = shape[152] - shape[10]
    down -= across * (down @ across)
    down /= np.linalg.norm(down)
    away = np.cross(across, down)
    axes = np.stack([across, down, away])
    turned: Array = (shape - (left + right) / 2) @ axes.T / np.linalg.norm(right - left)
    return turned


def initial_head_poses(shape: Array, points: Array, k: Array) -> Array:
    """Take rotation and scale from the similarity alignment, distance from focal length over scale.

    Args:
        shape: [N, 3] rigid points of the face in eye units.
        points: [T, N, 3] the same points in pixels.
        k: [3, 3].

    Returns:
        [T, 4, 4].
    """
    scale, rotation, shift = align_similarity(shape, points)
    pose = np.tile(np.eye(4), (len(points), 1, 1))
    depth = k[0, 0] / scale
    pose[:, :3, :3] = rotation
    pose[:, :2, 3] = (shift[:, :2] - k[:2, 2]) / k[[0, 1], [0, 1]] * depth[:, None]
    pose[:, 2, 3] = depth
    return pose


def refine_head_poses(
    camera_from_head: Array,
    shape: Array,
    points: Array,
    k: Array,
    *,
    rounds: int = 8,
    soft_pixels: float = 1.0,
) -> Array:
    """Minimise the soft-L1 reprojection error of all frames at once (Gauss-Newton with reweighting).

    Args:
        camera_from_head: [T, 4, 4] to start from.
        shape: [N, 3] head points in eye units.
        points: [T, N, 2] in pixels.
        k: [3, 3].
        soft_pixels: error from which a point counts linearly instead of squared.

    Returns:
        [T, 4, 4].
    """
    pose = camera_from_head
    for _ in range(rounds):
        at = transformed(pose, shape)
        residual = points - to_pixels(k, at)
        weight = 1.0 / np.sqrt(1.0 + (residual**2).sum(-1) / soft_pixels**2)
        arms = (at - pose[:, None, :3, 3])[:, :, None]
        jacobian = by_motion(pixel_by_point(k, at), arms).reshape(len(pose), -1, 6)
        weighted = (jacobian * np.repeat(weight, 2, axis=1)[..., None]).transpose(0, 2, 1)
        right = weighted @ residual.reshape(len(pose), -1, 1)
        step = np.linalg.solve(weighted @ jacobian + 1e-9 * np.eye(6), right)[..., 0]
        pose = changed_poses(pose, step)
    return pose


def refine_shape(
    camera_from_head: Array, shape: Array, points: Array, k: Array, *, prior: float = 0.05
) -> Array:
    """Move each head point to where all frames see it (one linear step), held to its place by a prior.

    Args:
        camera_from_head: [T, 4, 4]; shape: [N, 3]; points: [T, N, 2]; k: [3, 3].
        prior: weight of staying, as a share of the mean information of the frames.

    Returns:
        [N, 3].
    """
    at = transformed(camera_from_head, shape)
    jacobian = pixel_by_point(k, at) @ camera_from_head[:, None, :3, :3]
    residual = points - to_pixels(k, at)
    rows = jacobian.transpose(1, 0, 2, 3).reshape(len(shape), -1, 3)  # of each point, in all frames
    normal = rows.transpose(0, 2, 1) @ rows
    right = rows.transpose(0, 2, 1) @ residual.transpose(1, 0, 2).reshape(len(shape), -1, 1)
    stay = prior * np.trace(normal, axis1=1, axis2=2)[:, None, None] / 3 * np.eye(3)
    refined: Array = shape + np.linalg.solve(normal + stay, right)[..., 0]
    return refined


def fit_poses(
    tracks: Mapping[str, Track], person: Mapping[str, NDArray[np.bool_]], settings: PrepareSettings
) -> tuple[Array, dict[str, Array]]:
    """Fit the person's rigid face and every frame's head pose, smoothed over time but never across a cut.

    Args:
        tracks: per take what its first pass found.
        person: per take [T] whether the person is seen.

    Returns:
        The rigid face, [478, 3], and per take [T, 4, 4]; frames without the person take the pose of the
        nearest frame that has one.
    """
    shape = fit_rigid_shape(_sample(tracks, person))
    sizes = [(track.width, track.height) for track in tracks.values()]
    common = max(set(sizes), key=sizes.count)
    alike = {name: track for name, track in tracks.items() if (track.width, track.height) == common}
    shape = _refine_face(shape, _sample(alike, person), camera_matrix(*common, settings.focal))
    poses = {name: _take_poses(track, person[name], shape, settings) for name, track in tracks.items()}
    known = {name: np.isfinite(every[:, 0, 0]) for name, every in poses.items()}
    usual = next(every[known[name]][0] for name, every in poses.items() if known[name].any())
    for name, every in poses.items():
        every[:] = every[known[name]][_nearest(known[name])] if known[name].any() else usual
    return shape, poses


def _sample(tracks: Mapping[str, Track], person: Mapping[str, NDArray[np.bool_]]) -> Array:
    """Return landmarks of frames with the person, evenly spread over all takes; [S, 478, 3]."""
    seen = [(name, index) for name in tracks for index in np.flatnonzero(person[name])]
    chosen = [seen[n] for n in np.linspace(0, len(seen) - 1, min(len(seen), _SAMPLES)).astype(int)]
    rows = {name: np.array([index for take, index in chosen if take == name], np.intp) for name in tracks}
    return np.concatenate([tracks[name].landmarks[rows[name]] for name in tracks]).astype(np.float64)


def _refine_face(shape: Array, points: Array, k: Array) -> Array:
    """Alternate between head poses and face, on landmarks [S, 478, 3] of pictures of one size."""
    rigid = list(RIGID)
    poses = initial_head_poses(shape[rigid], points[:, rigid], k)
    soft = _soft(points[:, list(OUTER_EYE_CORNERS)])
    for _ in range(3):
        poses = refine_head_poses(poses, shape[rigid], points[:, rigid, :2], k, soft_pixels=soft)
        shape = refine_shape(poses, shape, points[..., :2], k)
    return normalise_shape(shape)


def _soft(corners: Array) -> float:
    """Errors count linearly from 0.4 % of the distance between the eyes' outer corners [T, 2, 2 or 3] on."""
    left, right = np.median(corners[..., :2], axis=0)
    return max(0.25, 0.004 * float(np.linalg.norm(right - left)))


def _take_poses(track: Track, person: NDArray[np.bool_], shape: Array, settings: PrepareSettings) -> Array:
    """Fit the head poses shot by shot; [T, 4, 4], NaN in shots without the person."""
    rigid, k = shape[list(RIGID)], camera_matrix(track.width, track.height, settings.focal)
    sigma = settings.smoothing_frames * float(track.fps) / _SMOOTHING_RATE
    poses = np.full((len(person), 4, 4), np.nan)
    for number in np.unique(track.shot[person]):
        frames = np.flatnonzero(track.shot == number)
        seen = person[frames]
        points = chosen_points(track.landmarks, frames[seen], RIGID).astype(np.float64)
        soft = _soft(points[:, [RIGID.index(corner) for corner in OUTER_EYE_CORNERS]])
        found = initial_head_poses(rigid, points, k)
        found = refine_head_poses(found, rigid, points[..., :2], k, soft_pixels=soft)
        poses[frames] = smooth_head_poses(found[_nearest(seen)], seen, sigma_frames=sigma)
    return poses


def _nearest(seen: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Tell for each frame which of the seen ones is nearest, the earlier of two; [T] places among those."""
    indices = np.flatnonzero(seen)
    return np.searchsorted((indices[1:] + indices[:-1]) / 2, np.arange(len(seen)))
