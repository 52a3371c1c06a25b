"""Head poses refined against the canonical picture, on places of the face that speech does not move."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from speech2lip.composition.pose_mapping import pixel_centres
from speech2lip.decomposition.canonical import Canonical
from speech2lip.decomposition.footage import Take
from speech2lip.decomposition.landmarks import FACE_OVAL
from speech2lip.decomposition.masks import eye_distance, fill_polygon, jaw_outline
from speech2lip.decomposition.photometric_kernels import accumulate
from speech2lip.media.coded import read_coded

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

_POINTS = 2400
"""Places, at most, that a frame is compared at."""
_CELLS = 14
"""Cells across the face among which the places are shared out."""
_ROUNDS = ((0.5, 4), (1.0, 4))
"""Scale of the pictures and Gauss-Newton steps at it."""
_LOCAL = 0.18
"""What changes over more than this, in eye units, is light and not face."""
_SPREAD = np.array([0.010, 0.010, 0.010, 0.010, 0.010, 0.06])
"""How far head poses from landmarks are usually off: radians, and eye units."""
_NOISE = 7.0
"""Grey levels by which places on the face differ between frames for other reasons than the head pose."""
_ALIKE = 25.0
"""Neighbouring places err alike: so many count as one."""
_FURTHEST = np.array([0.10, 0.06])
"""Changes beyond this (radians; eye units across) are not believed: the landmarks were never so far off."""
_CHUNK = 50
"""Frames decoded at once."""
_EYES = ((33, 133), (362, 263))


@dataclass(frozen=True)
class Level:
    """What frames are compared with at one scale."""

    scale: float
    points: Array
    """[N, 3] in head space."""
    values: Array
    """[N] grey levels without what changes slowly over the face."""


@dataclass(frozen=True)
class Template:
    """The canonical picture at places that speech does not move."""

    levels: tuple[Level, ...]
    focal: float
    """Focal length of the canonical picture, in its pixels."""
    local: float
    """`_LOCAL` in its pixels."""


def make_template(canonical: Canonical) -> Template:
    """Choose places with detail on forehead, nose, temples and cheekbones of the canonical picture."""
    unit = eye_distance(canonical.points)
    grey = cv2.cvtColor(canonical.picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    trusted = _trusted(canonical)
    levels = []
    for scale, _ in _ROUNDS:
        size = (round(grey.shape[1] * scale), round(grey.shape[0] * scale))
        small = _detail(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), unit * _LOCAL * scale)
        pixels = _places(small, cv2.resize(trusted.astype(np.uint8), size) > 0, round(_POINTS * scale))
        centre = (pixels + 0.5) * [grey.shape[1] / size[0], grey.shape[0] / size[1]]
        levels.append(
            Level(scale, _on_head(canonical, centre), small[pixels[:, 1], pixels[:, 0]].astype(np.float64))
        )
    return Template(tuple(levels), float(canonical.k[0, 0]), unit * _LOCAL)


def _detail(grey: Floats, sigma: float) -> Floats:
    """Take out what changes slowly, light; blur a little, so that Gauss-Newton sees further than a pixel."""
    smooth: Floats = cv2.GaussianBlur(grey, (0, 0), 0.8) - cv2.GaussianBlur(grey, (0, 0), sigma)
    return smooth


def _trusted(canonical: Canonical) -> NDArray[np.bool_]:
    """Tell which canonical pixels lie on the face and move neither with speech nor with the lids."""
    points = canonical.points
    unit = eye_distance(points)
    where = pixel_centres(*canonical.size).numpy()
    trusted = fill_polygon(points[list(FACE_OVAL)], where) & ~fill_polygon(jaw_outline(points), where)
    for corners in _EYES:
        away = (where - points[list(corners)].mean(0)) / (unit * np.array([0.24, 0.13]))
        trusted &= (away**2).sum(-1) > 1
    moving = gaussian_filter(canonical.motion, 2.0)
    trusted &= moving < 3 * np.median(moving[trusted])
    return trusted


def _places(detail: Floats, trusted: NDArray[np.bool_], count: int) -> NDArray[np.intp]:
    """Choose pixels (x, y) with the steepest detail, shared out over the face; [N, 2]."""
    steep = np.hypot(*np.gradient(detail))
    steep[[0, 1, -1, -2]] = 0
    steep[:, [0, 1, -1, -2]] = 0
    row, column = np.nonzero(trusted & (steep > 0.4))
    if not len(row):
        return np.zeros((0, 2), np.intp)
    cell = (row * _CELLS // detail.shape[0]) * _CELLS + column * _CELLS // detail.shape[1]
    order = np.lexsort((-steep[row, column], cell))
    starts = np.searchsorted(cell[order], np.arange(_CELLS * _CELLS))
    rank = np.arange(len(order)) - starts[cell[order]]
    fair = max(4, 2 * count // max(len(np.unique(cell)), 1))
    chosen = order[rank < fair]
    chosen = chosen[np.argsort(-steep[row[chosen], column[chosen]])[:count]]
    return np.stack([column[chosen], row[chosen]], axis=1)


def _on_head(canonical: Canonical, pixels: Array) -> Array:
    """Put canonical pixels [N, 2] on the head by its depth; [N, 3] in head space."""
    column = np.clip(pixels[:, 0].astype(int), 0, canonical.size[1] - 1)
    row = np.clip(pixels[:, 1].astype(int), 0, canonical.size[0] - 1)
    depth = canonical.depth[row, column].astype(np.float64)[:, None]
    flat = (pixels - canonical.k[:2, 2]) / canonical.k[[0, 1], [0, 1]]
    at = np.concatenate([flat * depth, depth], axis=1)
    head: Array = (at - canonical.camera_from_head[:3, 3]) @ canonical.camera_from_head[:3, :3]
    return head


def normal_equations(
    picture: Floats, level: Level, pose: Array, k: Array, light: Array
) -> tuple[Array, Array, float, float]:
    """Set up the normal equations of a small motion (rotation about the head's origin, shift) and of light.

    Args:
        picture: [H, W] detail of a frame; pose: [4, 4]; k: [3, 3] of the picture.
        light: [2]: values = light[0] * picture + light[1].

    Returns:
        [8, 8], [8], the sum of the weighted squared errors and the number of points inside.
    """
    head = level.points @ pose[:3, :3].T
    at = head + pose[:3, 3]
    pixels = at[:, :2] / at[:, 2:] * k[[0, 1], [0, 1]] + k[:2, 2]
    size = np.array([picture.shape[1], picture.shape[0]])
    inside = ((pixels > 2) & (pixels < size - 2)).all(1)
    head, at, pixels = head[inside], at[inside], pixels[inside]
    seen = _bilinear(picture, pixels)
    steps = [_bilinear(picture, pixels + d) - _bilinear(picture, pixels - d) for d in ([1, 0], [0, 1])]
    gradient = 0.5 * light[0] * np.stack(steps, axis=1)
    error = level.values[inside] - light[0] * seen - light[1]
    weight = 1 / (1 + (error / _NOISE) ** 2)
    by_point = gradient * k[[0, 1], [0, 1]] / at[:, 2:]
    by_point = np.concatenate([by_point, -(by_point * at[:, :2]).sum(1, keepdims=True) / at[:, 2:]], axis=1)
    rows = np.concatenate(
        [np.cross(head, by_point), by_point, seen[:, None], np.ones((len(seen), 1))], axis=1
    )
    weighted = rows * weight[:, None]
    return weighted.T @ rows, weighted.T @ error, float((weight * error**2).sum()), float(len(seen))


def _bilinear(picture: Floats, pixels: Array) -> Array:
    from scipy.ndimage import map_coordinates

    values: Array = map_coordinates(picture.astype(np.float64), (pixels - 0.5).T[::-1], order=1)
    return values


def refine_head_pose(
    pictures: Sequence[Floats], template: Template, pose: Array, ks: Sequence[Array]
) -> Array | None:
    """Refine one head pose; None where the picture does not agree with the canonical one.

    Args:
        pictures: detail of the frame at each level's scale; ks: [3, 3] each.
        pose: [4, 4] from landmarks, which also says where the result is expected.

    Returns:
        [4, 4].
    """
    found, light = pose.copy(), np.array([1.0, 0.0])
    prior = np.diag(_ALIKE * _NOISE**2 / _SPREAD**2)
    normal, right = np.empty((8, 8)), np.empty(8)
    first = last = 0.0
    for level, picture, k, (_, rounds) in zip(template.levels, pictures, ks, _ROUNDS, strict=True):
        for step in range(rounds + 1):
            error, count = accumulate(
                picture, level.points, level.values, found, k, light, _NOISE, normal, right
            )
            if count < 0.6 * len(level.points) or count < 60:
                return None
            last = error / count
            first = last if step == 0 else first
            if step == rounds:
                break
            away = _difference(found, pose)
            normal[:6, :6] += prior
            right[:6] -= prior @ away
            normal[[6, 7], [6, 7]] += 1e-6 * count
            change = np.linalg.solve(normal, right)
            found[:3, :3] = Rotation.from_rotvec(change[:3]).as_matrix() @ found[:3, :3]
            found[:3, 3] += change[3:6]
            light += change[6:]
    away = _difference(found, pose)
    sane = np.linalg.norm(away[:3]) < _FURTHEST[0] and np.linalg.norm(away[3:5]) < _FURTHEST[1]
    return found if sane and 0.3 < light[0] < 3 and last <= first else None


def _difference(pose: Array, other: Array) -> Array:
    turn = Rotation.from_matrix(pose[:3, :3] @ other[:3, :3].T).as_rotvec()
    return np.concatenate([turn, pose[:3, 3] - other[:3, 3]])


def refine_take(take: Take, template: Template, *, report: Callable[[int], None] | None = None) -> Take:
    """Refine the head poses of a take; where a frame does not agree, its neighbours' change is its own.

    Args:
        report: called with the number of frames done.
    """
    changes = np.full((len(take.times), 6), np.nan)
    for index, grey in _greys(take):
        if take.left_out[index] == 0 and np.isfinite(take.landmarks[index, 0, 0]):
            pose = take.camera_from_head[index]
            pictures, ks = _levels(grey, take.k, pose, template)
            found = refine_head_pose(pictures, template, pose, ks)
            if found is not None:
                changes[index] = _difference(found, pose)
        if report is not None:
            report(index + 1)
    return dataclasses.replace(take, camera_from_head=_changed(take, changes))


def _greys(take: Take) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield the frames' luma, [H, W]."""
    for start in range(0, len(take.times), _CHUNK):
        stop = min(start + _CHUNK, len(take.times))
        coded = read_coded(take.picture_path, start_frame=start, stop_frame=stop)
        for number, picture in enumerate(coded):
            yield start + number, picture[: picture.shape[0] * 2 // 3]


def _levels(
    grey: NDArray[np.uint8], k: Array, pose: Array, template: Template
) -> tuple[list[Floats], list[Array]]:
    """Cut the face out of a frame and bring it to each level's scale; pictures and their cameras."""
    at = template.levels[-1].points @ pose[:3, :3].T + pose[:3, 3]
    pixels = at[:, :2] / at[:, 2:] * k[[0, 1], [0, 1]] + k[:2, 2]
    scale = min(1.0, template.focal / k[0, 0])
    margin = 1.5 * template.local / scale
    x0, y0 = np.maximum(np.floor(pixels.min(0) - margin), 0).astype(int)
    x1, y1 = np.ceil(pixels.max(0) + margin).astype(int)
    cut = grey[y0:y1, x0:x1].astype(np.float32)
    if min(cut.shape) < 16:
        return [np.zeros((8, 8), np.float32)] * len(template.levels), [k] * len(template.levels)
    pictures, ks = [], []
    for level in template.levels:
        factor = scale * level.scale
        size = (max(4, round(cut.shape[1] * factor)), max(4, round(cut.shape[0] * factor)))
        small = cv2.resize(cut, size, interpolation=cv2.INTER_AREA)
        pictures.append(_detail(small, template.local * level.scale))
        moved = k.copy()
        moved[:2, 2] -= [x0, y0]
        ks.append(np.diag([size[0] / cut.shape[1], size[1] / cut.shape[0], 1.0]) @ moved)
    return pictures, ks


def _changed(take: Take, changes: Array) -> Array:
    """Apply changes [T, 6] to a take's head poses; within a shot, gaps are bridged."""
    poses = take.camera_from_head.copy()
    for number in np.unique(take.shot):
        frames = np.flatnonzero(take.shot == number)
        known = np.isfinite(changes[frames, 0])
        if known.mean() < 0.5:
            continue
        at = frames[known]
        bridged = np.stack([np.interp(frames, at, changes[at, i]) for i in range(6)], axis=1)
        poses[frames, :3, :3] = (
            Rotation.from_rotvec(bridged[:, :3]) * Rotation.from_matrix(poses[frames, :3, :3])
        ).as_matrix()
        poses[frames, :3, 3] += bridged[:, 3:]
    return poses
