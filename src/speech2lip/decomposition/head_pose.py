"""A face's rigid shape and the head pose of every frame, from landmarks that speech does not move."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from speech2lip.config import PrepareSettings
from speech2lip.conventions import Array
from speech2lip.decomposition.tracking.landmarks import chosen_points
from speech2lip.faces.landmarks import OUTER_EYE_CORNERS, RIGID


def camera_matrix(width: int, height: int, focal: float) -> Array:
    """Return K for a picture; the focal length is in units of the longer side, the centre in the middle."""
    pixels = focal * max(width, height)
    return np.array([[pixels, 0.0, width / 2], [0.0, pixels, height / 2], [0.0, 0.0, 1.0]])


def align_similarity(source: Array, target: Array) -> tuple[Array, Array, Array]:
    """Find scale, rotation and shift with target = scale * rotation @ source + shift (Umeyama 1991).

    Args:
        source: [N, 3] or [T, N, 3].
        target: [T, N, 3].

    Returns:
        scale [T], rotation [T, 3, 3], shift [T, 3].
    """
    source = np.broadcast_to(source, target.shape)
    mean_s, mean_t = source.mean(1, keepdims=True), target.mean(1, keepdims=True)
    s, t = source - mean_s, target - mean_t
    u, d, vt = np.linalg.svd(np.einsum("tni,tnj->tij", t, s))
    sign = np.ones_like(d)
    sign[:, 2] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * sign[:, None, :]) @ vt
    scale = (d * sign).sum(1) / np.maximum((s**2).sum((1, 2)), 1e-12)
    shift = mean_t[:, 0] - scale[:, None] * np.einsum("tij,tj->ti", rotation, mean_s[:, 0])
    return scale, rotation, shift


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


def project(camera_from_head: Array, k: Array, points_head: Array) -> Array:
    """Project head points: [T, 4, 4], [3, 3] or [T, 3, 3], [N, 3] -> [T, N, 2] in pixels."""
    p = np.einsum("tij,nj->tni", camera_from_head[:, :3, :3], points_head) + camera_from_head[:, None, :3, 3]
    q = np.einsum("...ij,tnj->tni", k, p) if k.ndim == 2 else np.einsum("tij,tnj->tni", k, p)
    projected: Array = q[..., :2] / q[..., 2:]
    return projected


def initial_head_poses(shape: Array, points: Array, k: Array) -> Array:
    """Return head poses by `aligned_head_poses` of landmarks [T, 478, 3]; [T, 4, 4]."""
    rigid = list(RIGID)
    return aligned_head_poses(shape[rigid], points[:, rigid], k)


def aligned_head_poses(shape: Array, points: Array, k: Array) -> Array:
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
    pose[:, 0, 3] = (shift[:, 0] - k[0, 2]) / k[0, 0] * depth
    pose[:, 1, 3] = (shift[:, 1] - k[1, 2]) / k[1, 1] * depth
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
    pose = camera_from_head.copy()
    for _ in range(rounds):
        head = np.einsum("tij,nj->tni", pose[:, :3, :3], shape)
        p = head + pose[:, None, :3, 3]
        residual = points - project(pose, k, shape)
        weight = 1.0 / np.sqrt(1.0 + (residual**2).sum(-1) / soft_pixels**2)
        jacobian = _projection_jacobian(head, p, k).reshape(len(pose), -1, 6)
        weighted = (jacobian * np.repeat(weight, 2, axis=1)[..., None]).transpose(0, 2, 1)
        right = weighted @ residual.reshape(len(pose), -1, 1)
        step = np.linalg.solve(weighted @ jacobian + 1e-9 * np.eye(6), right)[..., 0]
        pose[:, :3, :3] = Rotation.from_rotvec(step[:, :3]).as_matrix() @ pose[:, :3, :3]
        pose[:, :3, 3] += step[:, 3:]
    return pose


def _projection_jacobian(head: Array, p: Array, k: Array) -> Array:
    """Return d(pixel)/d(rotation about the head's origin, shift) as [T, N, 2, 6]."""
    x, y, z = p[..., 0], p[..., 1], p[..., 2]
    by_point = np.zeros((*p.shape[:2], 2, 3))
    by_point[..., 0, 0] = k[0, 0] / z
    by_point[..., 0, 2] = -k[0, 0] * x / z**2
    by_point[..., 1, 1] = k[1, 1] / z
    by_point[..., 1, 2] = -k[1, 1] * y / z**2
    cross = np.zeros((*p.shape[:2], 3, 3))
    cross[..., 0, 1], cross[..., 0, 2] = head[..., 2], -head[..., 1]
    cross[..., 1, 0], cross[..., 1, 2] = -head[..., 2], head[..., 0]
    cross[..., 2, 0], cross[..., 2, 1] = head[..., 1], -head[..., 0]
    return np.concatenate([by_point @ cross, by_point], axis=-1)


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
    p = np.einsum("tij,nj->tni", camera_from_head[:, :3, :3], shape) + camera_from_head[:, None, :3, 3]
    z = p[..., 2]
    by_point = np.zeros((*p.shape[:2], 2, 3))
    by_point[..., 0, 0] = by_point[..., 1, 1] = k[0, 0] / z
    by_point[..., 0, 2] = -k[0, 0] * p[..., 0] / z**2
    by_point[..., 1, 2] = -k[1, 1] * p[..., 1] / z**2
    jacobian = by_point @ camera_from_head[:, None, :3, :3]
    residual = points - project(camera_from_head, k, shape)
    rows = jacobian.transpose(1, 0, 2, 3).reshape(len(shape), -1, 3)  # of each point, in all frames
    normal = rows.transpose(0, 2, 1) @ rows
    right = rows.transpose(0, 2, 1) @ residual.transpose(1, 0, 2).reshape(len(shape), -1, 1)
    stay = prior * np.trace(normal, axis1=1, axis2=2)[:, None, None] / 3 * np.eye(3)
    refined: Array = shape + np.linalg.solve(normal + stay, right)[..., 0]
    return refined


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
    vectors = (Rotation.from_matrix(camera_from_head[:, :3, :3]) * middle.inv()).as_rotvec()
    for start, stop in unbroken_runs(seen):
        turned = gaussian_filter1d(vectors[start:stop], sigma_frames, axis=0, mode="nearest")
        result[start:stop, :3, :3] = (Rotation.from_rotvec(turned) * middle).as_matrix()
        result[start:stop, :3, 3] = gaussian_filter1d(
            camera_from_head[start:stop, :3, 3], sigma_frames, axis=0, mode="nearest"
        )
    return result


STEADY_SECONDS = 0.5
"""Standard deviation of the smoothing that makes a head pose steady, in seconds."""


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


def unbroken_runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return (start, stop) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def head_angles(camera_from_head: Array) -> Array:
    """Return yaw, pitch, roll in degrees as in `conventions`; [T, 3]."""
    rotation = Rotation.from_matrix(camera_from_head[:, :3, :3])
    # Nose direction is head -z; intrinsic order yaw (about y), pitch (about x), roll (about z).
    yaw, pitch, roll = rotation.as_euler("YXZ", degrees=True).T
    return np.stack([-yaw, -pitch, roll], axis=1)


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
