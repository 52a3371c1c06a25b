"""Head poses of sampled frames, the head's depth and the focal length, fitted together to tracked places."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from speech2lip.arrays import Array
from speech2lip.geometry.rigid import (
    by_motion,
    changed_poses,
    pixel_by_point,
    pose_change,
    rays,
    to_pixels,
)

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
    k_canonical: Array
    k_observed: Array
    """[3, 3] and [F, 3, 3]."""
    knots: Array = field(default_factory=lambda: np.zeros(0))
    """[J] correction of the depth at the knots, in eye units."""


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

    def weights(self, points: Array) -> Array:
        """Return how much each knot says at pixels [N, 2]: bilinear shares of the four around; [N, J]."""
        across, down = (self._shares(points[:, axis], self.shape[1 - axis]) for axis in (0, 1))
        return (down[:, :, None] * across[:, None]).reshape(len(points), -1)

    def surface(self, values: Array, size: tuple[int, int]) -> Array:
        """Return at every pixel of a picture (H, W) what knots [J] say; [H, W]."""
        down, across = (self._shares(np.arange(n) + 0.5, m) for n, m in zip(size, self.shape, strict=True))
        filled: Array = down @ values.reshape(self.shape) @ across.T
        return filled

    def _shares(self, at: Array, count: int) -> Array:
        return np.maximum(1 - np.abs(np.clip(at / self.cell, 0, count - 1)[:, None] - np.arange(count)), 0)

    def prior(self, still: Array) -> Array:
        """Return the information [J, J] that the correction is smooth, small, and zero on the whole.

        Args:
            still: [J] how much each knot says of the face: its mean depth stays, as a scene has no scale.
        """
        each = np.eye(self.shape[0] * self.shape[1])
        grid = each.reshape(*self.shape, -1)
        steps = np.concatenate([np.diff(grid, axis=axis).reshape(-1, len(each)) for axis in (0, 1)])
        # Neighbours say the same: ten count as one.
        return each / _HELD**2 / 10 + steps.T @ steps / _STIFF**2 + np.outer(still, still) / _WHOLE**2


@dataclass(frozen=True)
class Sightings:
    """Where N canonical places were seen in F frames."""

    points: Array
    """[N, 2] canonical pixels."""
    places: Array
    """[F, N, 2] in frame pixels."""
    information: Array
    """[F, N, 2, 2] inverse covariance of a place; 0 where it was not found."""
    depth: Array
    """[N] at the places, before any correction."""
    in_face: NDArray[np.bool_]
    """[N]."""

    def further(self, by: float) -> Sightings:
        """Return the same with the head further away, in eye units."""
        return dataclasses.replace(self, depth=self.depth + by)

    @property
    def found(self) -> NDArray[np.bool_]:
        """[F, N] whether a place was found in a frame at all."""
        return self.information[..., 0, 0] > 0


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
    weights = knots.weights(seen.points)
    prior = knots.prior(weights[seen.in_face].mean(0))
    start, count = scene, len(scene.knots)
    own = count + np.arange(6 * len(scene.transforms))
    for step in range(rounds + 1):
        normal, right, cost, away = gather_equations(scene, seen, weights, kept=kept)
        off = pose_change(_about(scene.transforms, scene.centre), _about(start.transforms, scene.centre))
        cost += float(scene.knots @ prior @ scene.knots) + float(((off / _POSE) ** 2).sum())
        if step == rounds:
            break
        normal[:count, :count] += prior
        right[:count] -= prior @ scene.knots
        normal[own, own] += np.tile(1 / _POSE**2, len(off))
        right[own] -= (off / _POSE**2).reshape(-1)
        scene = _moved(scene, np.linalg.solve(normal + 1e-6 * np.diag(np.diag(normal)), right))
    return scene, cost, _usual(away, seen.found)


def gather_equations(
    scene: Scene, seen: Sightings, weights: Array, *, kept: NDArray[np.bool_] | None = None
) -> tuple[Array, Array, float, Array]:
    """Set up the normal equations of all knots and then six numbers a frame.

    Args:
        weights: [N, J] how much each knot says at each place.
        kept: [N] places that count.

    Returns:
        [J + 6 F, J + 6 F], [J + 6 F], the sum of the robust errors and the distances in pixels, [F, N].
    """
    information = seen.information if kept is None else seen.information * kept[:, None, None]
    turn, depth = scene.transforms[:, :3, :3], seen.depth + weights @ scene.knots
    turned = rays(scene.k_canonical, seen.points) @ turn.transpose(0, 2, 1)
    there = turned * depth[:, None] + scene.transforms[:, None, :3, 3]
    error = seen.places - to_pixels(scene.k_observed, there)
    squared = np.einsum("fni,fnij,fnj->fn", error, information, error)
    information = information / (1 + squared / _SOFT**2)[..., None, None]
    by_point = pixel_by_point(scene.k_observed, there)
    arms = there - _about(scene.transforms, scene.centre)[:, None, :3, 3]
    jacobian = np.concatenate([by_motion(by_point, arms[:, :, None]), by_point @ turned[..., None]], axis=-1)
    weighted = (information @ jacobian).swapaxes(-1, -2)
    blocks, pulls = weighted @ jacobian, (weighted @ error[..., None])[..., 0]
    count, frames, shares = weights.shape[1], len(turn), csr_array(weights)  # a place lies between four knots
    normal = np.zeros((count + 6 * frames, count + 6 * frames))
    normal[:count, :count] = (shares.T @ diags_array(blocks[..., 6, 6].sum(0)) @ shares).toarray()
    own = normal[count:, count:].reshape(frames, 6, frames, 6)
    own[np.arange(frames), :, np.arange(frames)] = blocks[..., :6, :6].sum(1)
    mixed = shares.T @ blocks[..., :6, 6].transpose(1, 0, 2).reshape(-1, 6 * frames)
    normal[:count, count:], normal[count:, :count] = mixed, mixed.T
    right = np.concatenate([pulls[..., 6].sum(0) @ weights, pulls[..., :6].sum(1).reshape(-1)])
    cost = float(_SOFT**2 * np.log1p(squared / _SOFT**2).sum())
    return normal, right, cost, np.linalg.norm(error, axis=-1)


def place_alone(scene: Scene, seen: Sightings) -> tuple[Array, Array, Array]:
    """Find each place's depth by itself, head poses given.

    Returns:
        [N] correction of the depth; the median error with it, in frame pixels; and the median error of a
        place that does not move at all, as the background behind the head.
    """
    still = rays(scene.k_canonical, seen.points)
    turned = still @ scene.transforms[:, :3, :3].transpose(0, 2, 1)

    def away(correction: float | Array) -> Array:
        there = turned * (seen.depth + correction)[:, None] + scene.transforms[:, None, :3, 3]
        return np.linalg.norm(seen.places - to_pixels(scene.k_observed, there), axis=-1)

    costs = [(seen.found * np.log1p(away(step) ** 2)).sum(0) for step in _REACH]
    best = _REACH[np.argmin(costs, axis=0)]
    resting = np.linalg.norm(seen.places - to_pixels(scene.k_observed, still), axis=-1)
    return best, _usual(away(best), seen.found), _usual(resting, seen.found)


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


def refocused(scene: Scene, factor: float) -> Scene:
    """Change the focal length and move the head away as much, so that it looks nearly the same."""
    stretch, zoom = np.array([1.0, 1.0, factor]), np.diag([factor, factor, 1.0])
    middles = _about(scene.transforms, scene.centre)
    middles[:, :3, 3] *= stretch
    centre = scene.centre * stretch
    return Scene(
        _about(middles, -centre), centre, scene.k_canonical @ zoom, scene.k_observed @ zoom, scene.knots
    )


def _moved(scene: Scene, change: Array) -> Scene:
    count = len(scene.knots)
    middles = changed_poses(_about(scene.transforms, scene.centre), change[count:].reshape(-1, 6))
    return dataclasses.replace(
        scene, transforms=_about(middles, -scene.centre), knots=scene.knots + change[:count]
    )


def _about(transforms: Array, point: Array) -> Array:
    """Return transforms [F, 4, 4] with the same turn that put the origin where these put a point."""
    result = transforms.copy()
    result[:, :3, 3] += transforms[:, :3, :3] @ point
    return result
