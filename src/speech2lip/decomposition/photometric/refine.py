"""Head poses of all frames refined against the canonical picture, on places that speech does not move."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from speech2lip.arrays import Array, Floats
from speech2lip.compute import ordered_map
from speech2lip.decomposition.canonical import eye_distance
from speech2lip.decomposition.footage import Take
from speech2lip.decomposition.photometric.align import LOCAL, Alignment, detail
from speech2lip.geometry.mapping import sample_array
from speech2lip.geometry.rigid import (
    by_motion,
    changed_poses,
    pixel_by_point,
    pose_change,
    project,
    rays,
    to_pixels,
    transformed,
)
from speech2lip.media.video import read_coded
from speech2lip.progress import Progress

_POINTS = 1500
"""Places, at most, that a frame is compared at."""
_CELLS = 14
"""Cells across the picture among which the places are shared out."""
_ROUNDS = 5
"""Gauss-Newton steps."""
_SPREAD = np.array([0.015, 0.015, 0.015, 0.015, 0.015, 0.08])
"""How far expected head poses are usually off: radians, and eye units."""
_NOISE = 7.0
"""Grey levels by which places on the face differ between frames for other reasons than the head pose."""
_ALIKE = 25.0
"""Neighbouring places err alike: so many count as one."""
_PRIOR = _ALIKE * _NOISE**2 / _SPREAD**2
"""How strongly turn and shift are held to what is expected."""
_FURTHEST = np.array([0.06, 0.05])
"""Changes beyond this (radians; eye units across) are not believed."""
_LEAST_ALIKE = 0.35
"""Least mean weight of the places of a frame that shows the same face."""
_CHUNK = 50
"""Frames decoded at once."""
_WORKERS = 2
"""Threads that refine head poses while the next frames are decoded."""


@dataclass(frozen=True)
class Template:
    """The canonical picture at places that speech does not move."""

    points: Array
    """[N, 3] in head space."""
    values: Array
    """[N] grey levels without what changes slowly over the face."""
    focal: float
    """Focal length of the canonical picture, in its pixels."""
    unit: float
    """Distance between the outer eye corners in its pixels."""


def make_template(aligned: Alignment, picture: NDArray[np.uint8]) -> Template | None:
    """Choose places with detail where the head moves as one; None where there are too few.

    Args:
        picture: [H, W, 3] mean of the footage in canonical space.
    """
    space = aligned.space
    unit = eye_distance(space.points)
    smooth = detail(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), unit)
    chosen = _places(smooth, aligned.steady)
    if len(chosen) < 200:
        return None
    column, row = chosen.T
    away = aligned.depth[row, column].astype(np.float64)[:, None]
    head = transformed(np.linalg.inv(space.camera_from_head), rays(space.k, chosen + 0.5) * away)
    return Template(head, smooth[row, column].astype(np.float64), float(space.k[0, 0]), unit)


def _places(smooth: Floats, allowed: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Choose pixels (x, y) with the steepest detail, shared out over the face; [N, 2]."""
    steep = np.hypot(*np.gradient(smooth))
    steep[[0, 1, -1, -2]] = 0
    steep[:, [0, 1, -1, -2]] = 0
    row, column = np.nonzero(allowed & (steep > 0.4))
    if not len(row):
        return np.zeros((0, 2), np.intp)
    cell = (row * _CELLS // smooth.shape[0]) * _CELLS + column * _CELLS // smooth.shape[1]
    order = np.lexsort((-steep[row, column], cell))
    starts = np.searchsorted(cell[order], np.arange(_CELLS * _CELLS))
    rank = np.arange(len(order)) - starts[cell[order]]
    chosen = order[rank < max(4, 2 * _POINTS // len(np.unique(cell)))]
    chosen = chosen[np.argsort(-steep[row[chosen], column[chosen]])[:_POINTS]]
    return np.stack([column[chosen], row[chosen]], axis=1)


def refine_head_pose(picture: Floats, template: Template, pose: Array, k: Array) -> Array | None:
    """Refine one head pose until the picture has the template's values, by Gauss-Newton steps.

    A gain and an offset of light are fitted with it; the pose is held to what is expected.

    Args:
        picture: [H, W] detail of the frame; k: [3, 3] of it.
        pose: [4, 4] expected.

    Returns:
        [4, 4]; None where the picture does not agree with the canonical one.
    """
    steps = [0.5 * cv2.Sobel(picture, cv2.CV_32F, 1 - axis, axis, ksize=1) for axis in (0, 1)]
    slopes, size = np.dstack([picture, *steps]), np.array(picture.shape[::-1])
    found, light, first = pose, np.array([1.0, 0.0]), np.inf
    for step in range(_ROUNDS + 1):
        at = transformed(found, template.points)
        pixels = to_pixels(k, at)
        inside = ((pixels > 2) & (pixels < size - 2)).all(1)
        at, count = at[inside], int(inside.sum())
        if count < 0.6 * len(inside):
            return None
        seen = sample_array(slopes, pixels[inside])
        error = template.values[inside] - light[0] * seen[:, 0] - light[1]
        weight = 1 / (1 + (error / _NOISE) ** 2)
        last = float((weight * error**2).mean())
        first = last if step == 0 else first
        if step == _ROUNDS:
            break
        by_point = light[0] * (seen[:, None, 1:] @ pixel_by_point(k, at))[:, 0]
        rows = np.column_stack([by_motion(by_point, at - found[:3, 3]), seen[:, 0], np.ones(count)])
        weighted = (rows * weight[:, None]).T
        normal, right = weighted @ rows, weighted @ error
        normal[range(8), range(8)] += np.append(_PRIOR, [1e-6 * count] * 2)
        right[:6] -= _PRIOR * pose_change(found, pose)
        change = np.linalg.solve(normal, right)
        found, light = changed_poses(found, change[:6]), light + change[6:]
    away = pose_change(found, pose)
    sane = np.linalg.norm(away[:3]) < _FURTHEST[0] and np.linalg.norm(away[3:5]) < _FURTHEST[1]
    alike = weight.sum() > _LEAST_ALIKE * count and 0.3 < light[0] < 3 and last <= first
    return found if sane and alike else None


def refine_take(
    take: Take, template: Template, *, report: Callable[[], None] = lambda: None
) -> tuple[Take, NDArray[np.bool_]]:
    """Refine the head poses of a take; where a frame does not agree, its neighbours' change is its own.

    Args:
        report: called after each frame.

    Returns:
        The take, and which frames agreed, [T].
    """
    changes = np.full((len(take.times), 6), np.nan)

    def change(job: tuple[int, NDArray[np.uint8]]) -> Array:
        index, grey = job
        pose = take.camera_from_head[index]
        cut = None if take.rejection[index] else _cut(grey, take.k, pose, template)
        found = None if cut is None else refine_head_pose(cut[0], template, pose, cut[1])
        return np.full(6, np.nan) if found is None else pose_change(found, pose)

    for index, found in enumerate(ordered_map(change, _greys(take), workers=_WORKERS)):
        changes[index] = found
        report()
    return dataclasses.replace(take, camera_from_head=_bridged(take, changes)), np.isfinite(changes[:, 0])


def _greys(take: Take) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield the frames' luma, [H, W]."""
    for start in range(0, len(take.times), _CHUNK):
        stop = min(start + _CHUNK, len(take.times))
        coded = read_coded(take.picture_path, start_frame=start, stop_frame=stop)
        for number, picture in enumerate(coded):
            yield start + number, picture[: picture.shape[0] * 2 // 3]


def _cut(grey: NDArray[np.uint8], k: Array, pose: Array, template: Template) -> tuple[Floats, Array] | None:
    """Cut the face out of a frame at the canonical picture's scale; its detail and its camera."""
    pixels = project(pose, k, template.points)
    scale = min(1.0, template.focal / k[0, 0])
    margin = 1.5 * template.unit * LOCAL / scale
    x0, y0 = np.maximum(np.floor(pixels.min(0) - margin), 0).astype(int)
    x1, y1 = np.maximum(np.ceil(pixels.max(0) + margin), 0).astype(int)
    cut = grey[y0:y1, x0:x1].astype(np.float32)
    if min(cut.shape) < 16:
        return None
    size = (max(8, round(cut.shape[1] * scale)), max(8, round(cut.shape[0] * scale)))
    small = cut if scale == 1.0 else cv2.resize(cut, size, interpolation=cv2.INTER_AREA)
    moved = k.copy()
    moved[:2, 2] -= [x0, y0]
    shrunk: Array = np.diag([small.shape[1] / cut.shape[1], small.shape[0] / cut.shape[0], 1.0]) @ moved
    return detail(small, template.unit), shrunk


def _bridged(take: Take, changes: Array) -> Array:
    """Apply changes [T, 6] to a take's head poses; within a shot, gaps are bridged."""
    filled = np.zeros_like(changes)
    for number in np.unique(take.shot):
        frames = np.flatnonzero(take.shot == number)
        at = frames[np.isfinite(changes[frames, 0])]
        if len(at) >= 0.5 * len(frames):
            filled[frames] = np.stack([np.interp(frames, at, changes[at, i]) for i in range(6)], axis=1)
    return changed_poses(take.camera_from_head, filled)


def refine_takes(aligned: Alignment, picture: NDArray[np.uint8]) -> tuple[list[Take], float]:
    """Refine the head poses of all frames; the takes and the share of frames to train on that could be.

    Args:
        picture: [H, W, 3] mean of the footage in canonical space.
    """
    takes = aligned.takes
    template = make_template(aligned, picture)
    if template is None:
        return takes, 0.0
    with Progress("Refining head poses", total=sum(len(take.times) for take in takes)) as progress:
        refined = [refine_take(take, template, report=progress.advance) for take in takes]
    kept = sum(int(take.kept.sum()) for take in takes)
    return [take for take, _ in refined], sum(int(known.sum()) for _, known in refined) / max(kept, 1)
