"""Sampled frames brought into agreement: their head poses, the head's depth, the camera's focal length."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from speech2lip.arrays import Array, Floats
from speech2lip.config import PrepareSettings
from speech2lip.decomposition.canonical import Space, eye_distance, fill_polygon, jaw_outline
from speech2lip.decomposition.footage import Take
from speech2lip.decomposition.head_pose import refine_shape
from speech2lip.decomposition.photometric.bundle import (
    Knots,
    Scene,
    Sightings,
    bent_to,
    fit_scene,
    place_alone,
    refocused,
)
from speech2lip.decomposition.sampled_frames import Sample
from speech2lip.faces.landmarks import FACE_OVAL
from speech2lip.geometry.mapping import pixel_centres, sample_array
from speech2lip.geometry.rigid import changed_poses, pose_change, rays, to_pixels, transformed
from speech2lip.progress import Progress

LOCAL = 0.1
"""What changes over more than this, in eye units, is light and not the head."""
EYES = ((33, 133), (362, 263))
"""Corners of the eyes."""
_FINEST = 6.0
"""Standard deviation, in pixels, that a Gaussian keeps at least where it is computed on a smaller picture."""
_ROUNDS = 2
"""Times that places are looked for."""
_STEADY = 1.5
"""Places outside the face whose median error is larger, in pixels, are no part of the head."""
_MOVES = 0.7
"""Places beyond the face belong to the head where this, times the error of a place at rest, is still more."""
_ALIKE = 40.0
"""Neighbouring places and frames err alike: so many count as one when focal lengths are compared."""
_WORKERS = 2
"""Threads that work on a frame each."""
_FACTORS = (0.65, 0.8, 1.0, 1.25, 1.55, 1.9, 2.4)
"""Focal lengths tried, times the usual one."""
_NEAREST = 4.5
"""Focal lengths are not tried that put the head nearer to the camera than this, in eye units: 0.4 m."""
_LEAST_PLACES = 60
"""With fewer places in the face nothing is fitted."""
_PLACE_CELL = 0.085
"""Side of the cells that give one place each, in eye units."""
_WINDOW = 0.07
"""Half the side of what is compared around a place, in eye units."""
_STEPS = 4
"""Lucas-Kanade steps."""
_FURTHEST = 0.12
"""Places that seem to have moved further than this, in eye units, were mistaken."""
_LEAST_ALIKE = 0.7
"""Least correlation of what lies around a place with what lay there in the canonical picture."""
_NOISE = 3.0
"""Grey levels by which a place differs between frames for other reasons than that it has moved; half of what
is seen, as only every fourth pixel is counted.
"""
_FLOOR = 0.15
"""Standard deviation of the best track, in pixels."""
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
    """[H, W] where the head was seen to move as one: not on brows, at outlines, beside the head."""


def detail(grey: NDArray[Any], unit: float) -> Floats:
    """Take out what changes slowly, light; blur a little, so that small steps see further than a pixel."""
    plain = grey.astype(np.float32)
    smooth: Floats = cv2.GaussianBlur(plain, (0, 0), 0.8) - wide_blur(plain, unit * LOCAL)
    return smooth


def wide_blur(picture: Floats, sigma: float) -> NDArray[Any]:
    """Blur [H, W] with a Gaussian of `sigma` pixels; a wide one on a smaller picture, which shows as much."""
    factor = int(sigma / _FINEST)
    if factor < 2 or min(picture.shape) < 4 * factor:
        return cv2.GaussianBlur(picture, (0, 0), sigma)
    height, width = picture.shape
    size = (-(-width // factor), -(-height // factor))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma * size[0] / width, sigmaY=sigma * size[1] / height)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def still_face(points: Array, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Tell which pixels lie on the face and move neither with speech nor with the lids; [H, W]."""
    unit = eye_distance(points)
    where = pixel_centres(*size).numpy()
    still = fill_polygon(points[list(FACE_OVAL)], where) & ~fill_polygon(jaw_outline(points), where)
    for corners in EYES:
        away = (where - points[list(corners)].mean(0)) / (unit * np.array([0.24, 0.13]))
        still &= (away**2).sum(-1) > 1
    return still


def align_takes(
    takes: Sequence[Take], space: Space, sample: Sample, depth: Floats, settings: PrepareSettings
) -> Alignment | None:
    """Fit depth, focal length and head poses to places that are found by looking at sampled frames.

    Args:
        takes: with head poses and cameras to begin with.
        space: of the canonical frame; depth: [H, W] there, to begin with.

    Returns:
        None where that is no better than landmarks, or too few places are found.
    """
    points, size = space.points, space.size
    unit = eye_distance(points)
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    grey: Floats = sample.frames.mul(255).permute(0, 2, 3, 1).numpy() @ weights
    template = detail(cv2.cvtColor(sample.home_picture(takes, space), cv2.COLOR_RGB2GRAY), unit)
    face, where = still_face(points, size), pixel_centres(*size).numpy()
    beyond = ~fill_polygon(points[list(FACE_OVAL)], where) & ~fill_polygon(jaw_outline(points), where)
    places = choose_places(template, face | beyond, unit=unit)
    in_face: NDArray[np.bool_] = face[_pixels(places)]
    if in_face.sum() < _LEAST_PLACES:
        return None
    home, knots = space.camera_from_head, Knots.over(size, unit)
    distance = float(home[2, 3])
    scene = Scene(
        sample.poses(takes) @ np.linalg.inv(home), home[:3, 3], space.k, sample.ks(takes),
        np.zeros(knots.shape[0] * knots.shape[1]),
    )  # fmt: skip
    fit = _Fit(grey, template, places, in_face, depth.astype(np.float64), distance, knots, unit)
    errors, before = np.full(len(places), np.inf), []
    with Progress("Bringing frames into agreement", total=_ROUNDS) as progress:
        for _ in range(_ROUNDS):
            scene, errors, error = fit.round(scene, settings.focal_spread)
            before.append(error)
            progress.advance()
    error = float(np.median(errors[in_face]))
    if not error < before[0]:
        return None
    steady = _around(places[errors < error], size, unit) & (face | beyond)
    pose, factor = home.copy(), scene.centre[2] / distance
    pose[2, 3] *= factor
    takes, fitted = refocus_takes(takes, factor), scene.transforms @ pose
    corrected = correct_takes(takes, sample.poses(takes), fitted, pose)
    for (take, index), found in zip(sample.places, fitted, strict=True):
        corrected[take].camera_from_head[index] = found  # arrays of their own, made just now
    aligned = Space(scene.k_canonical, pose, size, _fitted_shape(corrected, space.shape, sample))
    return Alignment(corrected, aligned, fit.depth_of(scene).astype(np.float32), steady)


def _fitted_shape(takes: Sequence[Take], shape: Array, sample: Sample) -> Array:
    """Move the points of the rigid face to where the sampled frames' landmarks see them."""
    focal = float(np.median([takes[n].k[0, 0] for n, _ in sample.places]))
    usual = [(n, i) for n, i in sample.places if takes[n].k[0, 0] == focal] or sample.places[:1]
    points = np.stack([takes[n].landmarks[i : i + 1][0] for n, i in usual]).astype(np.float64)
    poses = np.stack([takes[n].camera_from_head[i] for n, i in usual])
    for _ in range(2):
        shape = refine_shape(poses, shape, points[..., :2], takes[usual[0][0]].k)
    return shape


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


def _pixels(places: Array) -> tuple[NDArray[np.intp], ...]:
    """Return the rows and columns of places [N, 2]."""
    return tuple(np.floor(places).astype(np.intp).T[::-1])


def _around(places: Array, size: tuple[int, int], unit: float) -> NDArray[np.bool_]:
    """Tell which pixels lie near places [N, 2]; [H, W]."""
    marked = np.zeros(size, np.uint8)
    marked[_pixels(places)] = 1
    side = 2 * round(0.06 * unit) + 1
    return cv2.dilate(marked, np.ones((side, side), np.uint8)) > 0


@dataclass(frozen=True)
class _Fit:
    grey: Floats
    template: Floats
    places: Array
    in_face: NDArray[np.bool_]
    depth: Array
    """Before any correction, at the focal length first assumed."""
    distance: float
    """Of the head at that focal length."""
    knots: Knots
    unit: float

    def depth_of(self, scene: Scene) -> Array:
        """Return the depth with its correction; [H, W]."""
        size = (self.depth.shape[0], self.depth.shape[1])
        return self.depth + scene.centre[2] - self.distance + self.knots.surface(scene.knots, size)

    def round(self, scene: Scene, spread: float) -> tuple[Scene, Array, float]:
        """Look for the places and fit; the scene, errors [N] after, the median error before."""
        moved, seen = self._seen(scene)
        found = seen.found & self.in_face
        before = float(np.median(np.linalg.norm(moved, axis=-1)[found]))
        scene, _, errors = fit_scene(scene, seen, self.knots, kept=self.in_face, rounds=4)
        scene, kept = self._with_head(scene, seen)
        telling = self.in_face | (kept & (errors < _STEADY))  # of the focal length: nothing that was bent far
        scene, _, errors = fit_scene(scene, seen, self.knots, kept=kept, rounds=4)
        kept = self.in_face | (kept & (errors < _STEADY))
        held = spread * self.distance / scene.centre[2]
        chosen = self._focal(scene, seen, telling, held) if spread > 0 else 1.0
        seen = seen.further((chosen - 1) * scene.centre[2])
        scene, _, errors = fit_scene(refocused(scene, chosen), seen, self.knots, kept=kept, rounds=4)
        return scene, errors, before

    def _seen(self, scene: Scene) -> tuple[Array, Sightings]:
        """Look for the places in all frames, as the scene brings them into canonical space.

        Returns:
            [F, N, 2] canonical pixels by which they lie beside where the scene puts them, and where they are.
        """
        depth, centres = self.depth_of(scene), pixel_centres(*self.depth.shape).double().numpy()

        def warped(f: int) -> Floats:
            return detail(sample_array(self.grey[f], _observed(scene, depth, f, centres)), self.unit)

        with ThreadPoolExecutor(_WORKERS) as pool:
            canonical = np.stack(list(pool.map(warped, range(len(self.grey)))))
        moved, information = track_places(self.template, canonical, self.places, unit=self.unit)
        seen = [_observed(scene, depth, f, self.places + moved[f]) for f in range(len(moved))]
        plain = self.depth[_pixels(self.places)] + scene.centre[2] - self.distance
        return moved, Sightings(self.places, np.stack(seen), information, plain, self.in_face)

    def _with_head(self, scene: Scene, seen: Sightings) -> tuple[Scene, NDArray[np.bool_]]:
        """Bend the depth to places beyond the face that turn with the head; the scene and which do, [N]."""
        now = self.knots.weights(self.places) @ scene.knots
        own, error, resting = place_alone(scene, dataclasses.replace(seen, depth=seen.depth + now))
        kept = self.in_face | ((error < _STEADY) & (error < _MOVES * resting))
        goal = np.where(self.in_face, now, now + own)
        return bent_to(scene, self.knots, self.places[kept], goal[kept], self.in_face[kept]), kept

    def _focal(self, scene: Scene, seen: Sightings, kept: NDArray[np.bool_], spread: float) -> float:
        """Find the focal length, times the present one, that agrees best with what is seen."""
        factors = believable_factors(float(scene.centre[2]))
        costs = []
        for factor in factors:
            further = seen.further((factor - 1) * scene.centre[2])
            _, cost, _ = fit_scene(refocused(scene, factor), further, self.knots, kept=kept, rounds=3)
            costs.append(cost / _ALIKE + (np.log(factor) / spread) ** 2)
        best = int(np.clip(np.argmin(costs), 1, len(costs) - 2))
        at = np.log(factors[best - 1 : best + 2])
        curve = np.polyfit(at, costs[best - 1 : best + 2], 2)
        if curve[0] <= 0:
            return factors[int(np.argmin(costs))]
        return float(np.exp(np.clip(-curve[1] / (2 * curve[0]), at[0], at[2])))


def believable_factors(distance: float) -> list[float]:
    """Return the focal lengths to try, times the present one, where the head is so many eye units away."""
    nearest = min(_NEAREST / distance, 1.0)
    return [factor for factor in _FACTORS if factor >= nearest]


def _observed(scene: Scene, depth: Array, f: int, points: Array) -> Array:
    """Return the pixels of a frame at which canonical pixels [..., 2] lie."""
    at = rays(scene.k_canonical, points) * sample_array(depth, points)[..., None]
    return to_pixels(scene.k_observed[f], transformed(scene.transforms[f], at))


def choose_places(detail: Floats, allowed: NDArray[np.bool_], *, unit: float) -> Array:
    """Choose pixel centres with the most detail around them, shared out evenly.

    Args:
        detail: [H, W] grey levels; allowed: [H, W]; unit: eye distance in pixels.

    Returns:
        [N, 2] in pixels.
    """
    side = max(3, round(_PLACE_CELL * unit))
    margin = round(_WINDOW * unit) + 2
    steep = cv2.boxFilter(
        cv2.Sobel(detail, cv2.CV_32F, 1, 0, scale=1 / 8) ** 2
        + cv2.Sobel(detail, cv2.CV_32F, 0, 1, scale=1 / 8) ** 2,
        -1,
        (side, side),
    )
    inner = np.zeros(allowed.shape, bool)
    inner[margin:-margin, margin:-margin] = True
    steep = np.where(allowed & inner, steep, 0.0)
    found = []
    for row in range(0, steep.shape[0], side):
        for column in range(0, steep.shape[1], side):
            cell = steep[row : row + side, column : column + side]
            y, x = np.unravel_index(int(cell.argmax()), cell.shape)
            if cell[y, x] > 0.5:
                found.append((column + x + 0.5, row + y + 0.5))
    return np.array(found, np.float64).reshape(-1, 2)


def track_places(template: Floats, canonical: Floats, points: Array, *, unit: float) -> tuple[Array, Array]:
    """Find canonical places again in frames that were brought into canonical space (Lucas-Kanade).

    Args:
        template: [H, W] detail of the canonical picture, grey levels.
        canonical: [F, H, W] the same of frames in canonical space.
        points: [N, 2] canonical pixels.
        unit: eye distance in canonical pixels.

    Returns:
        [F, N, 2] canonical pixels by which a place lies beside where the mapping puts it, and the inverse
        covariance of that, [F, N, 2, 2]; 0 where the place was not found.
    """
    half = max(3, round(_WINDOW * unit))
    steps = np.arange(-half, half + 1, 2)
    window = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2).astype(np.float64)
    weight = np.exp(-(window**2).sum(1) / (2 * (0.6 * half) ** 2))
    at = points[:, None] + window
    home = sample_array(template, at)
    home = home - (home * weight).sum(1, keepdims=True) / weight.sum()
    slopes = [sample_array(template, at + step) - sample_array(template, at - step) for step in np.eye(2)]
    slope = 0.5 * np.stack(slopes, axis=-1)
    normal = np.einsum("nsi,s,nsj->nij", slope, weight, slope) + 1e-3 * np.eye(2)
    moved = np.zeros((len(canonical), len(points), 2))
    information = np.zeros((len(canonical), len(points), 2, 2))
    covariance = np.linalg.inv(normal) * _NOISE**2 + _FLOOR**2 * np.eye(2)
    certain = np.linalg.inv(covariance)
    with ThreadPoolExecutor(_WORKERS) as pool:
        followed = pool.map(lambda picture: _follow(picture, at, home, slope, weight, normal), canonical)
        for n, (shift, alike) in enumerate(followed):
            kept = (alike > _LEAST_ALIKE) & (np.linalg.norm(shift, axis=1) < _FURTHEST * unit)
            moved[n], information[n] = shift, certain * kept[:, None, None]
    return moved, information


def _follow(
    picture: Floats, at: Array, home: Array, slope: Array, weight: Array, normal: Array
) -> tuple[Array, Array]:
    """Move every window until it looks like home; shifts [N, 2] and correlations [N]."""
    shift = np.zeros((len(at), 2))
    alike = np.zeros(len(at))
    for step in range(_STEPS + 1):
        seen = sample_array(picture, at + shift[:, None])
        seen = seen - (seen * weight).sum(1, keepdims=True) / weight.sum()
        power = ((seen**2 * weight).sum(1), (home**2 * weight).sum(1))
        both = (seen * home * weight).sum(1)
        alike = both / np.sqrt(np.maximum(power[0] * power[1], 1e-9))
        if step == _STEPS:
            break
        gain = np.clip(np.sqrt(power[1] / np.maximum(power[0], 1e-9)), 0.5, 2.0)
        error = home - gain[:, None] * seen
        change = np.linalg.solve(normal, np.einsum("nsi,s,ns->ni", slope, weight, error)[..., None])[..., 0]
        shift += np.clip(change, -2.0, 2.0)
    return shift, alike
