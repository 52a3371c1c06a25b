"""Head poses of all frames refined against the canonical picture, on places that speech does not move."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from speech2lip.config import PrepareSettings
from speech2lip.conventions import Array, Floats
from speech2lip.decomposition.canonical import eye_distance
from speech2lip.decomposition.footage import Take
from speech2lip.decomposition.head_pose import refine_shape
from speech2lip.decomposition.photometric.align import LOCAL, ROUNDS, align_frames, detail
from speech2lip.decomposition.sampled_frames import Sample, Space
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
from speech2lip.parallel import ordered_map
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


def make_template(
    picture: NDArray[np.uint8],
    depth: Floats,
    steady: NDArray[np.bool_],
    *,
    unit: float,
    camera_from_head: Array,
    k: Array,
) -> Template | None:
    """Choose places with detail where the head moves as one; None where there are too few.

    Args:
        picture: [H, W, 3] mean of the footage in canonical space; depth, steady: [H, W] there.
        unit: distance of the outer eye corners in its pixels.
        camera_from_head, k: the canonical head pose and camera.
    """
    smooth = detail(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), unit)
    chosen = _places(smooth, steady)
    if len(chosen) < 200:
        return None
    column, row = chosen.T
    away = depth[row, column].astype(np.float64)[:, None]
    head = transformed(np.linalg.inv(camera_from_head), rays(k, chosen + 0.5) * away)
    return Template(head, smooth[row, column].astype(np.float64), float(k[0, 0]), unit)


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

    def change(job: tuple[int, NDArray[np.uint8]]) -> Array | None:
        index, grey = job
        if take.left_out[index] != 0:
            return None
        pose = take.camera_from_head[index]
        cut = _cut(grey, take.k, pose, template)
        found = refine_head_pose(cut[0], template, pose, cut[1]) if cut is not None else None
        return None if found is None else pose_change(found, pose)

    for index, found in enumerate(ordered_map(change, _greys(take), workers=_WORKERS)):
        changes[index] = np.nan if found is None else found
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


_LANDMARK_NOISE = 0.01
"""Usual error of a head pose from landmarks that does not follow the pose: radians, eye units."""
_SLOPE = 0.15
"""Usual error of it as a share of how far the head is from the canonical pose."""


@dataclass(frozen=True)
class Alignment:
    """Takes and canonical space in which sampled frames agree."""

    takes: list[Take]
    space: Space
    depth: Floats
    """[H, W] in eye units."""
    steady: NDArray[np.bool_]
    """[H, W] where the head moves as one."""


def agree(
    takes: Sequence[Take], space: Space, sample: Sample, initial: Floats, settings: PrepareSettings
) -> Alignment | None:
    """Fit depth, focal length and head poses to what is seen; None where that is no better than landmarks.

    Args:
        initial: [H, W] depth to start from.
    """
    with Progress("Bringing frames into agreement", total=ROUNDS) as progress:
        found = align_frames(
            sample, takes, space, initial, focal_spread=settings.focal_spread, report=progress.advance
        )
    if found is None or not found.error < found.before:
        return None
    pose = space.pose.copy()
    pose[2, 3] *= found.factor
    takes, fitted = refocus_takes(takes, found.factor), found.transforms @ pose
    corrected = correct_takes(takes, sample.poses(takes), fitted, pose)
    for place, pose_there in zip(sample.places, fitted, strict=True):
        corrected[place[0]].camera_from_head[place[1]] = pose_there  # arrays of their own, made just now
    shape = _fitted_shape(corrected, space.shape, sample)
    return Alignment(corrected, Space(shape, pose, found.k, space.size), found.depth, found.steady)


def _fitted_shape(takes: Sequence[Take], shape: Array, sample: Sample) -> Array:
    """Move the points of the rigid face to where the sampled frames' landmarks see them."""
    focal = float(np.median([takes[n].k[0, 0] for n, _ in sample.places]))
    usual = [(n, i) for n, i in sample.places if takes[n].k[0, 0] == focal] or sample.places[:1]
    points = np.stack([takes[n].landmarks[i : i + 1][0] for n, i in usual]).astype(np.float64)
    poses = np.stack([takes[n].camera_from_head[i] for n, i in usual])
    for _ in range(2):
        shape = refine_shape(poses, shape, points[..., :2], takes[usual[0][0]].k)
    return shape


def refine_takes(agreed: Alignment, picture: NDArray[np.uint8]) -> tuple[list[Take], float]:
    """Refine the head poses of all frames; the takes and the share of frames to train on that could be.

    Args:
        picture: [H, W, 3] mean of the footage in canonical space.
    """
    space, takes = agreed.space, agreed.takes
    unit = eye_distance(space.points_3d[:, :2])
    template = make_template(
        picture, agreed.depth, agreed.steady, unit=unit, camera_from_head=space.pose, k=space.k
    )
    if template is None:
        return takes, 0.0
    with Progress("Refining head poses", total=sum(len(take.times) for take in takes)) as progress:
        refined = [refine_take(take, template, report=progress.advance) for take in takes]
    kept = sum(int((take.left_out == 0).sum()) for take in takes)
    return [take for take, _ in refined], sum(int(known.sum()) for _, known in refined) / max(kept, 1)


def refocus_takes(takes: Sequence[Take], factor: float) -> list[Take]:
    """Give takes another focal length, heads as much further away: they look nearly the same."""
    result = []
    for take in takes:
        poses = take.camera_from_head.copy()
        poses[:, 2, 3] *= factor
        result.append(dataclasses.replace(take, focal=take.focal * factor, camera_from_head=poses))
    return result


def correct_takes(takes: Sequence[Take], landmarks: Array, aligned: Array, canonical: Array) -> list[Take]:
    """Take out of all head poses what landmarks get wrong in step with the head pose.

    Landmarks take a turned face for one that is turned a little more or less, in the same way in every frame:
    a linear function of the head pose, learned where both are known.

    Args:
        takes: with head poses from landmarks.
        landmarks, aligned: [F, 4, 4] head poses of sampled frames, from landmarks and as fitted.
        canonical: [4, 4] the canonical head pose.
    """
    targets = pose_change(aligned, landmarks)
    features = _features(landmarks, canonical)
    hold = np.eye(features.shape[1]) * (_LANDMARK_NOISE / _SLOPE) ** 2
    hold[0, 0] = 1e-6
    weight = np.ones(len(features))
    slopes = np.zeros((features.shape[1], 6))
    for _ in range(5):
        weighted = features * weight[:, None]
        slopes = np.linalg.solve(weighted.T @ features + hold, weighted.T @ targets)
        away = np.abs(targets - features @ slopes)[:, :5].max(1)  # how far away it is says little
        weight = 1 / (1 + (away / _LANDMARK_NOISE) ** 2)

    def corrected(poses: Array) -> Array:
        return changed_poses(poses, _features(poses, canonical) @ slopes)

    return [dataclasses.replace(take, camera_from_head=corrected(take.camera_from_head)) for take in takes]


def _features(poses: Array, canonical: Array) -> Array:
    """Return 1 and the difference from the canonical head pose; [T, 7]."""
    return np.column_stack([np.ones(len(poses)), pose_change(poses, np.broadcast_to(canonical, poses.shape))])
