"""Head poses of all frames refined against the canonical picture, on places that speech does not move."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from speech2lip.config import PrepareSettings
from speech2lip.conventions import Array, Floats
from speech2lip.decomposition.footage import Take
from speech2lip.decomposition.head_pose import refine_shape
from speech2lip.decomposition.photometric.align import LOCAL, STEPS, Start, align_frames, detail
from speech2lip.decomposition.photometric.bundle import refocused, start_scene
from speech2lip.decomposition.photometric.kernels import settle
from speech2lip.decomposition.regions import eye_distance
from speech2lip.decomposition.sampled_frames import Sample, Space
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
    flat = (chosen + 0.5 - k[:2, 2]) / k[[0, 1], [0, 1]]
    at = np.concatenate([flat * away, away], axis=1)
    head = (at - camera_from_head[:3, 3]) @ camera_from_head[:3, :3]
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


def normal_equations(
    picture: Floats, points: Array, values: Array, pose: Array, k: Array, light: Array
) -> tuple[Array, Array, float, float]:
    """Set up the normal equations of a small motion (rotation about the head's origin, shift) and of light.

    Args:
        picture: [H, W] detail of a frame; points: [N, 3] in head space; values: [N] expected there.
        pose: [4, 4]; k: [3, 3] of the picture.
        light: [2]: values = light[0] * picture + light[1].

    Returns:
        [8, 8], [8], the sum of the weighted squared errors and the number of points inside.
    """
    head = points @ pose[:3, :3].T
    at = head + pose[:3, 3]
    pixels = at[:, :2] / at[:, 2:] * k[[0, 1], [0, 1]] + k[:2, 2]
    size = np.array([picture.shape[1], picture.shape[0]])
    inside = ((pixels > 2) & (pixels < size - 2)).all(1)
    head, at, pixels = head[inside], at[inside], pixels[inside]
    seen = _bilinear(picture, pixels)
    steps = [_bilinear(picture, pixels + d) - _bilinear(picture, pixels - d) for d in ([1, 0], [0, 1])]
    gradient = 0.5 * light[0] * np.stack(steps, axis=1)
    error = values[inside] - light[0] * seen - light[1]
    weight = 1 / (1 + (error / _NOISE) ** 2)
    by_point = gradient * k[[0, 1], [0, 1]] / at[:, 2:]
    by_point = np.concatenate([by_point, -(by_point * at[:, :2]).sum(1, keepdims=True) / at[:, 2:]], axis=1)
    rows = np.concatenate(
        [np.cross(head, by_point), by_point, seen[:, None], np.ones((len(seen), 1))], axis=1
    )
    weighted = rows * weight[:, None]
    return weighted.T @ rows, weighted.T @ error, float((weight * error**2).sum()), float(len(seen))


def _bilinear(picture: Floats, pixels: Array) -> Array:
    values: Array = map_coordinates(picture.astype(np.float64), (pixels - 0.5).T[::-1], order=1)
    return values


def refine_head_pose(picture: Floats, template: Template, pose: Array, k: Array) -> Array | None:
    """Refine one head pose; None where the picture does not agree with the canonical one.

    Args:
        picture: [H, W] detail of the frame; k: [3, 3] of it.
        pose: [4, 4] expected.

    Returns:
        [4, 4].
    """
    found = pose.copy()
    prior = _ALIKE * _NOISE**2 / _SPREAD**2
    first, last, gain, believed, count = settle(
        picture, template.points, template.values, found, k, prior, _NOISE, _ROUNDS
    )
    if count < 0.6 * len(template.points):
        return None
    away = difference(found, pose)
    alike = believed > _LEAST_ALIKE * count
    sane = alike and np.linalg.norm(away[:3]) < _FURTHEST[0] and np.linalg.norm(away[3:5]) < _FURTHEST[1]
    return found if sane and 0.3 < gain < 3 and last <= first else None


def plain_settle(  # noqa: PLR0913 - called as its compiled twin
    picture: Floats,
    points: Array,
    values: Array,
    pose: Array,
    k: Array,
    prior: Array,
    soft: float,
    rounds: int,
) -> tuple[float, float, float, float, float]:
    """Do what `settle` does, with whole matrices: its plain twin."""
    start, light = pose.copy(), np.array([1.0, 0.0])
    first = last = 0.0
    for step in range(rounds + 1):
        normal, right, error, count = normal_equations(picture, points, values, pose, k, light)
        if count < 0.6 * len(points):
            break
        last = error / count
        first = last if step == 0 else first
        if step == rounds:
            break
        normal[range(6), range(6)] += prior
        right[:6] -= prior * difference(pose, start)
        normal[[6, 7], [6, 7]] += 1e-6 * count
        change = np.linalg.solve(normal, right)
        pose[:3, :3] = Rotation.from_rotvec(change[:3]).as_matrix() @ pose[:3, :3]
        pose[:3, 3] += change[3:6]
        light += change[6:]
    return first, last, float(light[0]), float(normal[7, 7]), count


def difference(pose: Array, other: Array) -> Array:
    """Return the turn (radians) and shift from one head pose to another; [..., 6]."""
    turn = Rotation.from_matrix(pose[..., :3, :3] @ np.swapaxes(other[..., :3, :3], -1, -2)).as_rotvec()
    return np.concatenate([turn, pose[..., :3, 3] - other[..., :3, 3]], axis=-1)


def changed(poses: Array, changes: Array) -> Array:
    """Turn and shift head poses [T, 4, 4] by `difference`s [T, 6]."""
    result = poses.copy()
    result[:, :3, :3] = Rotation.from_rotvec(changes[:, :3]).as_matrix() @ poses[:, :3, :3]
    result[:, :3, 3] += changes[:, 3:]
    return result


def refine_take(
    take: Take, template: Template, *, report: Callable[[int], None] | None = None
) -> tuple[Take, NDArray[np.bool_]]:
    """Refine the head poses of a take; where a frame does not agree, its neighbours' change is its own.

    Args:
        report: called with the number of frames done.

    Returns:
        The take, and which frames agreed, [T].
    """
    changes = np.full((len(take.times), 6), np.nan)
    waiting: deque[tuple[int, Future[Array | None]]] = deque()
    with ThreadPoolExecutor(_WORKERS) as pool:  # most of the work is done without Python's lock
        for index, grey in _greys(take):
            waiting.append((index, pool.submit(_change, grey, take, index, template)))
            if len(waiting) > _CHUNK:
                _keep(waiting.popleft(), changes, report)
        while waiting:
            _keep(waiting.popleft(), changes, report)
    return dataclasses.replace(take, camera_from_head=_bridged(take, changes)), np.isfinite(changes[:, 0])


def _keep(
    done: tuple[int, Future[Array | None]], changes: Array, report: Callable[[int], None] | None
) -> None:
    index, found = done[0], done[1].result()
    if found is not None:
        changes[index] = found
    if report is not None:
        report(index + 1)


def _change(grey: NDArray[np.uint8], take: Take, index: int, template: Template) -> Array | None:
    """Return how a frame's head pose changes, [6]; None where the frame does not agree or is left out."""
    if take.left_out[index] != 0:
        return None
    pose = take.camera_from_head[index]
    cut = _cut(grey, take.k, pose, template)
    found = refine_head_pose(cut[0], template, pose, cut[1]) if cut is not None else None
    return None if found is None else difference(found, pose)


def _greys(take: Take) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield the frames' luma, [H, W]."""
    for start in range(0, len(take.times), _CHUNK):
        stop = min(start + _CHUNK, len(take.times))
        coded = read_coded(take.picture_path, start_frame=start, stop_frame=stop)
        for number, picture in enumerate(coded):
            yield start + number, picture[: picture.shape[0] * 2 // 3]


def _cut(grey: NDArray[np.uint8], k: Array, pose: Array, template: Template) -> tuple[Floats, Array] | None:
    """Cut the face out of a frame at the canonical picture's scale; its detail and its camera."""
    at = template.points @ pose[:3, :3].T + pose[:3, 3]
    pixels = at[:, :2] / at[:, 2:] * k[[0, 1], [0, 1]] + k[:2, 2]
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
    return changed(take.camera_from_head, filled)


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
    scene = start_scene(
        sample.poses(takes) @ np.linalg.inv(space.pose), space.pose[:3, 3], space.k, sample.ks(takes)
    )
    with Progress("Bringing frames into agreement", total=STEPS) as progress:
        found = align_frames(
            sample.frames,
            Start(scene, sample.home_picture(takes, space), initial, space.points_3d[:, :2]),
            focal_spread=settings.focal_spread,
            report=progress.set,
        )
    if found is None or not found.error < found.before:
        return None
    scene = refocused(scene, found.factor)
    pose = space.pose.copy()
    pose[2, 3] *= found.factor
    refocused_takes = refocus_takes(takes, found.factor)
    landmarks = sample.poses(refocused_takes)
    corrected = correct_takes(refocused_takes, landmarks, found.transforms @ pose, pose)
    for place, fitted in zip(sample.places, found.transforms @ pose, strict=True):
        corrected[place[0]].camera_from_head[place[1]] = fitted  # arrays of their own, made just now
    shape = _fitted_shape(corrected, space.shape, sample)
    return Alignment(corrected, Space(shape, pose, scene.k_canonical, space.size), found.depth, found.steady)


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
    refined, confirmed, kept = [], 0, 0
    frames = sum(len(take.times) for take in takes)
    with Progress("Refining head poses", total=frames) as progress:
        for take in takes:
            done = progress.done
            better, known = refine_take(take, template, report=partial(_show, progress, done))
            refined.append(better)
            confirmed += int(known.sum())
            kept += int((take.left_out == 0).sum())
    return refined, confirmed / max(kept, 1)


def _show(progress: Progress, before: float, frames: int) -> None:
    progress.set(before + frames)


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
    targets = difference(aligned, landmarks)
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
    return [
        dataclasses.replace(
            take,
            camera_from_head=changed(
                take.camera_from_head, _features(take.camera_from_head, canonical) @ slopes
            ),
        )
        for take in takes
    ]


def _features(poses: Array, canonical: Array) -> Array:
    """Return 1 and the difference from the canonical head pose; [T, 7]."""
    away = difference(poses, np.broadcast_to(canonical, poses.shape))
    return np.concatenate([np.ones((len(poses), 1)), away], axis=1)
