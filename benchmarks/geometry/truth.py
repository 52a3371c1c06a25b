"""Geometry of presenter footage against its ground truth: head poses, mapping, depth."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from benchmarks.geometry.presenter_surface import head_height, render_surface
from benchmarks.geometry.visibility import view_canonical
from speech2lip.arrays import Array
from speech2lip.decomposition.canonical import Canonical, fill_polygon, head_depth
from speech2lip.decomposition.footage import Take
from speech2lip.faces.landmarks import FACE_OVAL
from speech2lip.geometry.mapping import observed_from_canonical_points, pixel_centres
from speech2lip_presenter import Truth

LIMITS = np.array([20.0, 12.0, 12.0])
"""Yaw, pitch and roll, in degrees, within which mappings are compared."""


@dataclass(frozen=True)
class Gauge:
    """What head poses may differ by without being wrong: head space's axes, origin and unit; focal length."""

    turn: Array
    """[3, 3]: R_found = R_true @ turn."""
    scale: Array
    """[3]: true shift = scale * found shift + R_true @ origin."""
    origin: Array
    """[3]."""


def fit_gauge(found: Array, true: Array) -> Gauge:
    """Fit the gauge to head poses [T, 4, 4] that should be the same."""
    turn = Rotation.from_matrix(true[:, :3, :3].transpose(0, 2, 1) @ found[:, :3, :3]).mean().as_matrix()
    rows, right = [], []
    for pose, truth in zip(found, true, strict=True):
        across = np.array([[pose[0, 3], 0], [pose[1, 3], 0], [0, pose[2, 3]]])
        rows.append(np.concatenate([across, truth[:3, :3]], axis=1))
        right.append(truth[:3, 3])
    solved = np.linalg.lstsq(np.concatenate(rows), np.concatenate(right), rcond=None)[0]
    return Gauge(turn, np.array([solved[0], solved[0], solved[1]]), solved[2:])


def pose_errors(found: Array, true: Array) -> dict[str, float]:
    """Compare head poses [T, 4, 4] of all takes with the true ones, up to one gauge."""
    gauge = fit_gauge(found, true)
    rest = (true[:, :3, :3] @ gauge.turn).transpose(0, 2, 1) @ found[:, :3, :3]
    turned = np.degrees(Rotation.from_matrix(rest).magnitude())
    shift = found[:, :3, 3] * gauge.scale + true[:, :3, :3] @ gauge.origin - true[:, :3, 3]
    height = head_height()
    shaking = np.diff(Rotation.from_matrix(rest).as_rotvec(degrees=True), 2, axis=0)
    return {
        "rotation_degrees": float(np.median(turned)),
        "rotation_degrees_p95": float(np.percentile(turned, 95)),
        "shift_percent": float(np.median(np.linalg.norm(shift, axis=1)) / height * 100),
        "shift_across_percent": float(np.median(np.linalg.norm(shift[:, :2], axis=1)) / height * 100),
        "jitter_degrees": float(np.sqrt((shaking**2).sum(1).mean())),
    }


def mapping_errors(
    canonical: Canonical,
    takes: Mapping[str, Take],
    truths: Mapping[str, Truth],
    *,
    initial: NDArray[np.float32],
    frames: int = 40,
) -> dict[str, float]:
    """Carry canonical pixels into frames and measure how far from the truth they come out, in frame pixels.

    Only what is rigid and seen in both counts, in frames within `LIMITS`; `rest` is the head outside the
    face's outline. `initial` is the same with the initial depth, before any is learned.
    Of what is truly hidden and truly seen in the frames, `said_hidden` and `said_seen` are the shares that
    `view_canonical` says.
    """
    size = round(2 * next(iter(truths.values())).k[0, 2])
    points, depth_true, rigid = _canonical_truth(canonical, takes[canonical.take], truths, size)
    oval = fill_polygon(canonical.points[list(FACE_OVAL)], points)
    plain = dataclasses.replace(canonical, depth=initial)
    errors: dict[str, list[Array]] = {"face": [], "rest": [], "initial_face": [], "initial_rest": []}
    said: tuple[list[NDArray[np.bool_]], list[NDArray[np.bool_]]] = ([], [])
    for name, index in _chosen(takes, truths, frames):
        seen, wanted, hidden = _true_places(
            canonical, truths, points, depth_true, (name, index), takes[name].k
        )
        view = _view(canonical, takes[name], index)
        said[0].append(view[seen & rigid])
        said[1].append(~view[hidden & rigid])
        seen &= rigid
        for prefix, space in (("", canonical), ("initial_", plain)):
            found = _found_places(space, takes[name], index, points)
            error = np.linalg.norm(found - wanted, axis=-1)
            errors[f"{prefix}face"].append(error[seen & oval])
            errors[f"{prefix}rest"].append(error[seen & ~oval])
    figures = {f"{key}_px": float(np.concatenate(one).mean()) for key, one in errors.items()}
    figures |= {f"{key}_px_p95": float(np.percentile(np.concatenate(one), 95)) for key, one in errors.items()}
    for key, flags in zip(("said_seen", "said_hidden"), said, strict=True):
        every = np.concatenate(flags)
        figures[key] = float(every.mean()) if len(every) else float("nan")
    figures["hidden"] = float(sum(map(len, said[1])) / sum(map(len, said[0])))
    return figures


def _view(canonical: Canonical, take: Take, index: int) -> NDArray[np.bool_]:
    """Return which of the points of `_canonical_truth` the mapping says are seen in a frame; [N]."""
    moved = take.camera_from_head[index] @ np.linalg.inv(canonical.camera_from_head)
    size = (take.height, take.width)
    seen = view_canonical(canonical.depth, moved, canonical.k, take.k, size=size).seen
    return seen[::2, ::2].reshape(-1)


def initial_depth(canonical: Canonical, plain: Canonical) -> NDArray[np.float32]:
    """Return the depth that the face's landmarks alone give, before any is learned; [H, W].

    Args:
        canonical: the canonical space that it is for.
        plain: the same frame's, with landmarks' head poses and another focal length perhaps.
    """
    at = plain.shape @ plain.camera_from_head[:3, :3].T + plain.camera_from_head[:3, 3]
    depth = head_depth(np.concatenate([plain.points, at[:, 2:]], axis=1), plain.size)
    further = canonical.camera_from_head[2, 3] - plain.camera_from_head[2, 3]
    return depth + np.float32(further)


def _chosen(takes: Mapping[str, Take], truths: Mapping[str, Truth], frames: int) -> list[tuple[str, int]]:
    places = [
        (name, int(i))
        for name, take in takes.items()
        for i in np.flatnonzero(take.kept)
        if (np.abs(truths[name].angles_degrees[i]) <= LIMITS).all()
    ]
    return [places[int(j)] for j in np.linspace(0, len(places) - 1, frames)]


def _canonical_truth(
    canonical: Canonical, take: Take, truths: Mapping[str, Truth], size: int
) -> tuple[NDArray[np.float32], Array, NDArray[np.bool_]]:
    """Return canonical pixels [N, 2], their true depth [N] and whether they show a rigid part of the head."""
    points = pixel_centres(*canonical.size).numpy()[::2, ::2].reshape(-1, 2)
    frame = _frame_pixels(points, canonical.k, take.k)
    depth, rigid = render_surface(truths[take.name].state(canonical.frame_index), size=size)
    column, row = np.floor(frame).astype(int).T
    inside = (column >= 0) & (row >= 0) & (column < size) & (row < size)
    column, row = column.clip(0, size - 1), row.clip(0, size - 1)
    return points, depth[row, column].astype(np.float64), inside & rigid[row, column]


def _frame_pixels(points: NDArray[np.float32], k_canonical: Array, k_frame: Array) -> Array:
    """The canonical picture is a crop of its frame: both cameras share their centre."""
    flat = (points - k_canonical[:2, 2]) / k_canonical[[0, 1], [0, 1]]
    pixels: Array = flat * k_frame[[0, 1], [0, 1]] + k_frame[:2, 2]
    return pixels


def _true_places(
    canonical: Canonical,
    truths: Mapping[str, Truth],
    points: NDArray[np.float32],
    depth: Array,
    frame: tuple[str, int],
    believed: Array,
) -> tuple[NDArray[np.bool_], Array, NDArray[np.bool_]]:
    """Return which points are seen in a frame, where, and which the head hides; [N], [N, 2], [N]."""
    name, index = frame
    size = round(2 * believed[0, 2])
    home = truths[canonical.take]
    k = home.k
    # The pixel of the frame that a canonical pixel shows, through the camera that we believe in: exact.
    pixels = _frame_pixels(points, canonical.k, believed)
    flat = np.concatenate([(pixels - k[:2, 2]) / k[[0, 1], [0, 1]], np.ones((len(pixels), 1))], axis=1)
    known = np.isfinite(depth)
    at = flat * np.where(known, depth, 1.0)[:, None]
    moved = truths[name].camera_from_head[index] @ np.linalg.inv(home.camera_from_head[canonical.frame_index])
    there = at @ moved[:3, :3].T + moved[:3, 3]
    places = there[:, :2] / there[:, 2:] * k[[0, 1], [0, 1]] + k[:2, 2]
    seen_depth, _ = render_surface(truths[name].state(index), size=size)
    column, row = np.floor(places).astype(int).T
    inside = known & (column >= 0) & (row >= 0) & (column < size) & (row < size)
    nearest = seen_depth[row.clip(0, size - 1), column.clip(0, size - 1)]
    behind = there[:, 2] - nearest
    return inside & (np.abs(behind) < 0.03), places, inside & (behind > 0.1)


def _found_places(canonical: Canonical, take: Take, index: int, points: NDArray[np.float32]) -> Array:
    moved = take.camera_from_head[index] @ np.linalg.inv(canonical.camera_from_head)
    found = observed_from_canonical_points(
        torch.from_numpy(points).double()[None],
        torch.from_numpy(canonical.depth).double(),
        torch.from_numpy(moved)[None],
        torch.from_numpy(canonical.k),
        torch.from_numpy(take.k),
    )
    return found[0].numpy()
