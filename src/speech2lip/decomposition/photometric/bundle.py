"""Head poses of sampled frames, the head's depth and the focal length, fitted together to tracked places."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from speech2lip.conventions import Array
from speech2lip.decomposition.photometric.kernels import gather_frames
from speech2lip.decomposition.photometric.tracks import Tracks

_CELL = 0.16
"""Distance of the knots of the depth's correction, in eye units."""
_STIFF = 0.04
"""Usual difference of the correction between neighbouring knots, in eye units."""
_HELD = 0.25
"""Usual size of the correction, in eye units."""
_WHOLE = 0.003
"""Usual size of its mean over the face, in eye units."""
_SOFT = 3.0
"""Errors count linearly, and soon less, from so many standard deviations on."""
_OFTEN = 0.3
"""Least share of the frames in which a place must be found."""
_APART = 0.03
"""Usual error of the depth of a place that was found by itself, in eye units."""
_REACH = np.linspace(-0.6, 0.6, 61)
"""Corrections of a single place's depth that are tried, in eye units."""
_POSE = np.array([0.05, 0.05, 0.05, 0.05, 0.05, 0.4])
"""How far head poses from landmarks are off at worst: radians, and eye units."""


@dataclass(frozen=True)
class Scene:
    """What is fitted: poses relative to the canonical frame, and the head's depth there."""

    transforms: Array
    """[F, 4, 4] observed_from_canonical."""
    centre: Array
    """[3] middle of the head in the canonical camera; turns are about it."""
    knots: Array
    """[J] correction of the depth at the knots, in eye units."""
    k_canonical: Array
    k_observed: Array
    """[3, 3] and [F, 3, 3]."""


@dataclass(frozen=True)
class Knots:
    """A grid of knots over the canonical picture, between which the correction is bilinear."""

    shape: tuple[int, int]
    cell: float
    """Canonical pixels between two knots."""

    @classmethod
    def over(cls, size: tuple[int, int], unit: float) -> Knots:
        """Lay knots over a canonical picture of (H, W), `unit` pixels between the eyes' outer corners."""
        cell = _CELL * unit
        return cls((int(size[0] / cell) + 2, int(size[1] / cell) + 2), cell)

    def around(self, points: Array) -> tuple[NDArray[np.intp], Array]:
        """Return the four knots around pixels [N, 2] and how much each of them says; [N, 4] twice."""
        rows, columns = self.shape
        x = np.clip(points[:, 0] / self.cell, 0, columns - 1 - 1e-9)
        y = np.clip(points[:, 1] / self.cell, 0, rows - 1 - 1e-9)
        left, above = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
        u, v = x - left, y - above
        first = above * columns + left
        knots = np.stack([first, first + 1, first + columns, first + columns + 1], axis=1)
        return knots, np.stack([(1 - v) * (1 - u), (1 - v) * u, v * (1 - u), v * u], axis=1)

    def weights(self, points: Array) -> Array:
        """Return how much each knot says at pixels [N, 2]; [N, J]."""
        knots, shares = self.around(points)
        every = np.zeros((len(points), self.shape[0] * self.shape[1]))
        np.put_along_axis(every, knots, shares, axis=1)
        return every

    def prior(self, still: Array) -> Array:
        """Return the information [J, J] that the correction is smooth, small, and zero on the whole.

        Args:
            still: [J] how much each knot says of the face: its mean depth stays, as a scene has no scale.
        """
        rows, columns = self.shape
        count = rows * columns
        number = np.arange(count).reshape(rows, columns)
        information = np.eye(count) / _HELD**2 / 10  # neighbours say the same: ten count as one
        pairs = np.concatenate([
            np.stack([number[:, 1:].ravel(), number[:, :-1].ravel()], 1),
            np.stack([number[1:].ravel(), number[:-1].ravel()], 1),
        ])  # fmt: skip
        for a, b in pairs:
            information[[a, b], [a, b]] += 1 / _STIFF**2
            information[a, b] -= 1 / _STIFF**2
            information[b, a] -= 1 / _STIFF**2
        return information + np.outer(still, still) / _WHOLE**2


def start_scene(transforms: Array, centre: Array, k_canonical: Array, k_observed: Array) -> Scene:
    """Return a scene without any correction of its depth yet; shapes as in `Scene`."""
    return Scene(transforms, centre, np.zeros(0), k_canonical, k_observed)


@dataclass(frozen=True)
class Sightings:
    """Where N canonical places were seen in F frames."""

    tracks: Tracks
    places: Array
    """[F, N, 2] in frame pixels."""
    depth: Array
    """[N] at the places, before any correction."""
    in_face: NDArray[np.bool_]
    """[N]."""

    def of(self, kept: NDArray[np.bool_]) -> Sightings:
        """Return the same with no information about places that are not kept, [N]."""
        information = self.tracks.information * kept[None, :, None, None]
        return dataclasses.replace(self, tracks=dataclasses.replace(self.tracks, information=information))

    def further(self, by: float) -> Sightings:
        """Return the same with the head further away, in eye units."""
        return dataclasses.replace(self, depth=self.depth + by)

    @property
    def found(self) -> NDArray[np.bool_]:
        """[F, N] whether a place was found in a frame at all."""
        return self.tracks.information[..., 0, 0] > 0


def fit_scene(
    scene: Scene, seen: Sightings, knots: Knots, *, kept: NDArray[np.bool_] | None = None, rounds: int = 8
) -> tuple[Scene, float, Array]:
    """Fit poses and depth to where places were seen (Gauss-Newton, errors weighted down softly).

    Args:
        scene: to start from.
        seen: what it is fitted to.
        knots: where the depth is corrected.
        kept: [N] places that are believed; errors are told of the others too.
        rounds: Gauss-Newton steps.

    Returns:
        The scene fitted, the cost, and each place's median error in frame pixels, [N].
    """
    believed = seen if kept is None else seen.of(kept)
    around = knots.around(seen.tracks.points)
    prior = knots.prior(knots.weights(seen.tracks.points)[seen.in_face].mean(0))
    start = scene
    cost, away = 0.0, np.zeros(seen.places.shape[:2])
    for step in range(rounds + 1):
        normal, right, cost, away = _equations(scene, start, believed, around, prior)
        if step == rounds:
            break
        change = np.linalg.solve(normal + 1e-6 * np.diag(np.diag(normal)), right)
        scene = _moved(scene, change)
    return scene, cost, _usual(away, seen.found)


def _equations(
    scene: Scene, start: Scene, seen: Sightings, around: tuple[NDArray[np.intp], Array], prior: Array
) -> tuple[Array, Array, float, Array]:
    """Set up the normal equations of all knots and then six numbers a frame."""
    count, frames = len(scene.knots), len(scene.transforms)
    normal = np.zeros((count + 6 * frames, count + 6 * frames))
    right = np.zeros(len(normal))
    away = np.zeros((frames, len(seen.depth)))
    rays = rays_of(scene, seen.tracks.points)
    total = seen.depth + (around[1] * scene.knots[around[0]]).sum(1)
    cost = gather_frames(
        rays, total, *around, scene.transforms, scene.k_observed, scene.centre, seen.places,
        seen.tracks.information, _SOFT, normal, right, away,
    )  # fmt: skip
    normal[:count, :count] += prior
    right[:count] -= prior @ scene.knots
    off = _difference(scene, start)
    own = count + np.arange(6 * frames)
    normal[own, own] += np.tile(1 / _POSE**2, frames)
    right[own] -= (off / _POSE**2).reshape(-1)
    cost += float(scene.knots @ prior @ scene.knots) + float(((off / _POSE) ** 2).sum())
    return normal, right, cost, away


def place_alone(scene: Scene, seen: Sightings) -> tuple[Array, Array, Array]:
    """Find each place's depth by itself, head poses given.

    Returns:
        [N] correction of the depth; the median error with it, in frame pixels; and the median error of a
        place that does not move at all, as the background behind the head.
    """
    rays, places, depth, found = rays_of(scene, seen.tracks.points), seen.places, seen.depth, seen.found
    turned = np.einsum("fij,nj->fni", scene.transforms[:, :3, :3], rays)
    shift = scene.transforms[:, None, :3, 3]
    scale, middle = scene.k_observed[:, None, [0, 1], [0, 1]], scene.k_observed[:, None, :2, 2]

    def away(correction: Array) -> Array:
        there = turned * (depth + correction)[:, None] + shift
        return np.linalg.norm(places - there[..., :2] / there[..., 2:] * scale - middle, axis=-1)

    costs = [(found * np.log1p(away(np.full(len(depth), step)) ** 2)).sum(0) for step in _REACH]
    best = _REACH[np.argmin(costs, axis=0)]
    resting = np.linalg.norm(places - (rays[:, :2] * scale + middle), axis=-1)
    return best, _usual(away(best), found), _usual(resting, found)


def _usual(errors: Array, found: NDArray[np.bool_]) -> Array:
    """Return each place's median error [N] over the frames in which it was found: often, or infinite."""
    result = np.full(errors.shape[1], np.inf)
    often = found.mean(0) > _OFTEN
    result[often] = np.nanmedian(np.where(found, errors, np.nan)[:, often], axis=0)
    return result


def bent_to(
    scene: Scene, knots: Knots, points: Array, corrections: Array, in_face: NDArray[np.bool_]
) -> Scene:
    """Bend the depth to corrections [N] that places were given; those that contradict the others count less.

    Args:
        points: [N, 2] canonical pixels; in_face: [N].
    """
    every = knots.weights(points)
    prior = knots.prior(every[in_face].mean(0))
    bent, weight = scene.knots, np.ones(len(points))
    for _ in range(5):
        weighted = every * (weight / _APART**2)[:, None]
        bent = np.linalg.solve(prior + weighted.T @ every, weighted.T @ corrections)
        weight = 1 / (1 + ((corrections - every @ bent) / (3 * _APART)) ** 2)
    return dataclasses.replace(scene, knots=bent)


def rays_of(scene: Scene, points: Array) -> Array:
    """Return what times its depth is the place that a canonical pixel shows; [N, 3]."""
    flat = (points - scene.k_canonical[:2, 2]) / scene.k_canonical[[0, 1], [0, 1]]
    return np.concatenate([flat, np.ones((len(flat), 1))], axis=1)


def plain_gather(
    scene: Scene, tracks: Tracks, places: Array, depth: Array, weights: Array
) -> tuple[Array, Array, float, Array]:
    """Do what `gather_frames` does, frame by frame with whole matrices: its plain twin.

    Args:
        depth: [N] with the correction; weights: [N, J] as `Knots.weights` gives them.

    Returns:
        The normal equations, the sum of the robust errors and the distances [F, N].
    """
    count, frames = weights.shape[1], len(scene.transforms)
    normal = np.zeros((count + 6 * frames, count + 6 * frames))
    right, away, cost = np.zeros(len(normal)), np.zeros((frames, len(depth))), 0.0
    rays = rays_of(scene, tracks.points)
    for f in range(frames):
        turn, shift, k = scene.transforms[f, :3, :3], scene.transforms[f, :3, 3], scene.k_observed[f]
        there = (rays * depth[:, None]) @ turn.T + shift
        pixels = there[:, :2] / there[:, 2:] * k[[0, 1], [0, 1]] + k[:2, 2]
        by_point = np.zeros((len(rays), 2, 3))
        by_point[:, 0, 0], by_point[:, 1, 1] = k[0, 0] / there[:, 2], k[1, 1] / there[:, 2]
        by_point[:, :, 2] = -(there[:, :2] / there[:, 2:]) * by_point[:, [0, 1], [0, 1]]
        error = places[f] - pixels
        squared = np.einsum("ni,nij,nj->n", error, tracks.information[f], error)
        information = tracks.information[f] / (1 + squared / _SOFT**2)[:, None, None]
        arm = there - (turn @ scene.centre + shift)
        by_pose = np.concatenate([np.einsum("nij,njk->nik", by_point, -_cross(arm)), by_point], axis=2)
        by_knots = np.einsum("nij,nj,nl->nil", by_point, rays @ turn.T, weights)
        rows = np.zeros((len(rays), 2, len(right)))
        rows[:, :, :count] = by_knots
        rows[:, :, count + 6 * f : count + 6 * f + 6] = by_pose
        weighted = np.einsum("nij,njk->nik", information, rows)
        normal += np.einsum("nik,nil->kl", weighted, rows, optimize=True)
        right += np.einsum("nik,ni->k", weighted, error)
        cost += float(_SOFT**2 * np.log1p(squared / _SOFT**2).sum())
        away[f] = np.linalg.norm(error, axis=1)
    return normal, right, cost, away


def _cross(vectors: Array) -> Array:
    """Return the matrices [N, 3, 3] with m @ w = v x w."""
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)


def _moved(scene: Scene, change: Array) -> Scene:
    count = len(scene.knots)
    steps = change[count:].reshape(-1, 6)
    transforms = scene.transforms.copy()
    middle = transforms[:, :3, :3] @ scene.centre + transforms[:, :3, 3] + steps[:, 3:]
    transforms[:, :3, :3] = Rotation.from_rotvec(steps[:, :3]).as_matrix() @ transforms[:, :3, :3]
    transforms[:, :3, 3] = middle - transforms[:, :3, :3] @ scene.centre
    return dataclasses.replace(scene, transforms=transforms, knots=scene.knots + change[:count])


def _difference(scene: Scene, start: Scene) -> Array:
    """Return the turn about the middle of the head and its shift since the start; [F, 6]."""
    now, then = scene.transforms, start.transforms
    turn = Rotation.from_matrix(now[:, :3, :3] @ then[:, :3, :3].transpose(0, 2, 1)).as_rotvec()
    shift = (now[:, :3, :3] - then[:, :3, :3]) @ scene.centre + now[:, :3, 3] - then[:, :3, 3]
    return np.concatenate([turn, shift], axis=1)


def refocused(scene: Scene, factor: float) -> Scene:
    """Change the focal length and move the head away as much, so that it looks nearly the same."""
    stretch = np.array([1.0, 1.0, factor])
    centre = scene.centre * stretch
    transforms = scene.transforms.copy()
    middle = (transforms[:, :3, :3] @ scene.centre + transforms[:, :3, 3]) * stretch
    transforms[:, :3, 3] = middle - transforms[:, :3, :3] @ centre
    zoom = np.diag([factor, factor, 1.0])
    centred = [_zoomed(k, zoom) for k in (scene.k_canonical, *scene.k_observed)]
    return dataclasses.replace(
        scene, transforms=transforms, centre=centre, k_canonical=centred[0], k_observed=np.stack(centred[1:])
    )


def _zoomed(k: Array, zoom: Array) -> Array:
    result = k.copy()
    result[:2, :2] = k[:2, :2] * zoom[0, 0]
    return result
