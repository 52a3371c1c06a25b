"""Rigid transforms and pinhole cameras in numpy, one or many at a time."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from speech2lip.arrays import Array

STEADY_SECONDS = 0.5
"""Standard deviation of the smoothing that makes a head pose steady, in seconds."""


def camera_matrix(width: int, height: int, focal: float) -> Array:
    """Return K for a picture; the focal length is in units of the longer side, the centre in the middle."""
    pixels = focal * max(width, height)
    return np.array([[pixels, 0.0, width / 2], [0.0, pixels, height / 2], [0.0, 0.0, 1.0]])


def transformed(to_from_from: Array, points: Array) -> Array:
    """Move points [..., N, 3] by transforms [..., 4, 4]."""
    moved: Array = points @ np.swapaxes(to_from_from[..., :3, :3], -1, -2) + to_from_from[..., None, :3, 3]
    return moved


def to_pixels(k: Array, points: Array) -> Array:
    """Return the pixels at which cameras [..., 3, 3] see points [..., N, 3] of their space."""
    flat: Array = points[..., :2] / points[..., 2:] * k[..., None, [0, 1], [0, 1]] + k[..., None, :2, 2]
    return flat


def project(camera_from_head: Array, k: Array, points_head: Array) -> Array:
    """Project head points: [T, 4, 4], [3, 3] or [T, 3, 3], [N, 3] -> [T, N, 2] in pixels."""
    return to_pixels(k, transformed(camera_from_head, points_head))


def rays(k: Array, pixels: Array) -> Array:
    """Return what times its depth is the point that a camera [3, 3] sees at pixels [..., 2]; [..., 3]."""
    flat = (pixels - k[:2, 2]) / k[[0, 1], [0, 1]]
    return np.concatenate([flat, np.ones((*flat.shape[:-1], 1))], axis=-1)


def pixel_by_point(k: Array, points: Array) -> Array:
    """Return d(pixel)/d(point) where cameras [..., 3, 3] see points [..., N, 3]; [..., N, 2, 3]."""
    slope = np.zeros((*points.shape[:-1], 2, 3))
    slope[..., [0, 1], [0, 1]] = k[..., None, [0, 1], [0, 1]] / points[..., 2:]
    slope[..., 2] = -slope[..., [0, 1], [0, 1]] * points[..., :2] / points[..., 2:]
    return slope


def by_motion(by_point: Array, arms: Array) -> Array:
    """Return the derivative by a small turn and a shift, from that by the point.

    Args:
        by_point: [..., 3].
        arms: [..., 3] from what is turned about to the point.

    Returns:
        [..., 6]: by the rotation vector, then by the shift.
    """
    return np.concatenate([np.cross(arms, by_point), by_point], axis=-1)


def pose_change(pose: Array, other: Array) -> Array:
    """Return the turn (radians) and shift from `other` to `pose`; [..., 6] of [..., 4, 4]."""
    turn = Rotation.from_matrix(pose[..., :3, :3] @ np.swapaxes(other[..., :3, :3], -1, -2)).as_rotvec()
    return np.concatenate([turn, pose[..., :3, 3] - other[..., :3, 3]], axis=-1)


def changed_poses(poses: Array, changes: Array) -> Array:
    """Turn and shift poses [..., 4, 4] by `pose_change`s [..., 6]."""
    result = poses.copy()
    result[..., :3, :3] = Rotation.from_rotvec(changes[..., :3]).as_matrix() @ poses[..., :3, :3]
    result[..., :3, 3] += changes[..., 3:]
    return result


def align_similarity(source: Array, target: Array) -> tuple[Array, Array, Array]:
    """Find scale, rotation and shift with target = scale * rotation @ source + shift (Umeyama 1991).

    Args:
        source: [N, D] or [T, N, D].
        target: [T, N, D].

    Returns:
        scale [T], rotation [T, D, D], shift [T, D].
    """
    source = np.broadcast_to(source, target.shape)
    mean_s, mean_t = source.mean(1, keepdims=True), target.mean(1, keepdims=True)
    s, t = source - mean_s, target - mean_t
    u, d, vt = np.linalg.svd(np.einsum("tni,tnj->tij", t, s))
    sign = np.ones_like(d)
    sign[:, -1] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * sign[:, None, :]) @ vt
    scale = (d * sign).sum(1) / np.maximum((s**2).sum((1, 2)), 1e-12)
    shift = mean_t[:, 0] - scale[:, None] * np.einsum("tij,tj->ti", rotation, mean_s[:, 0])
    return scale, rotation, shift


def head_angles(camera_from_head: Array) -> Array:
    """Return yaw, pitch, roll in degrees as in `conventions`; [T, 3]."""
    rotation = Rotation.from_matrix(camera_from_head[:, :3, :3])
    # Nose direction is head -z; intrinsic order yaw (about y), pitch (about x), roll (about z).
    yaw, pitch, roll = rotation.as_euler("YXZ", degrees=True).T
    return np.stack([-yaw, -pitch, roll], axis=1)


def unbroken_runs(flags: NDArray[np.bool_], shot: NDArray[np.int32] | None = None) -> list[tuple[int, int]]:
    """Return (start, stop) of every run of True in [T] flags, which a change of `shot` [T] ends too."""
    changes = np.diff(flags) if shot is None else np.diff(flags) | (np.diff(shot) != 0)
    bounds = [0, *(np.flatnonzero(changes) + 1).tolist(), len(flags)]
    return [(start, stop) for start, stop in pairwise(bounds) if stop > start and flags[start]]


def smooth_head_poses(camera_from_head: Array, seen: NDArray[np.bool_], *, sigma_frames: float) -> Array:
    """Smooth rotation and shift over each unbroken run of seen frames, without lag.

    Args:
        camera_from_head: [T, 4, 4]; seen: [T], True where a face was found.

    Returns:
        [T, 4, 4]; frames that are not seen stay as they are.
    """
    result = camera_from_head.copy()
    if sigma_frames <= 0 or not seen.any():
        return result
    middle = Rotation.from_matrix(camera_from_head[seen][:, :3, :3]).mean()
    turns = (Rotation.from_matrix(camera_from_head[:, :3, :3]) * middle.inv()).as_rotvec()
    motion = np.concatenate([turns, camera_from_head[:, :3, 3]], axis=1)
    for start, stop in unbroken_runs(seen):
        smooth = gaussian_filter1d(motion[start:stop], sigma_frames, axis=0, mode="nearest")
        result[start:stop, :3, :3] = (Rotation.from_rotvec(smooth[:, :3]) * middle).as_matrix()
        result[start:stop, :3, 3] = smooth[:, 3:]
    return result


def steady_head_poses(camera_from_head: Array, *, fps: float) -> Array:
    """Return head poses without quick movement: what the lip field is told of the head.

    A tracked head pose follows the jaw by a hair, enough for a network to tell an open mouth from a closed
    one: lips driven by other sound then leak the mouth that they cover. Slowed down it cannot.

    Args:
        camera_from_head: [T, 4, 4], NaN where unknown; fps: of the T frames.

    Returns:
        [T, 4, 4].
    """
    known = np.isfinite(camera_from_head).all(axis=(1, 2))
    return smooth_head_poses(camera_from_head, known, sigma_frames=STEADY_SECONDS * fps)
