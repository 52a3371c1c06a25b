"""The normal equations of poses and depth, plainly."""

from __future__ import annotations

import numpy as np

from speech2lip.arrays import Array
from speech2lip.decomposition.photometric.bundle import Scene, Sightings
from speech2lip.geometry.rigid import rays as rays_of


def gather_equations(
    scene: Scene, seen: Sightings, weights: Array, *, soft: float = 3.0
) -> tuple[Array, Array, float, Array]:
    """Do what `bundle.gather_equations` does, frame by frame with whole matrices."""
    count, frames = weights.shape[1], len(scene.transforms)
    normal = np.zeros((count + 6 * frames, count + 6 * frames))
    places, rays = seen.places, rays_of(scene.k_canonical, seen.points)
    depth = seen.depth + weights @ scene.knots
    right, away, cost = np.zeros(len(normal)), np.zeros((frames, len(depth))), 0.0
    for f in range(frames):
        turn, shift, k = scene.transforms[f, :3, :3], scene.transforms[f, :3, 3], scene.k_observed[f]
        there = (rays * depth[:, None]) @ turn.T + shift
        pixels = there[:, :2] / there[:, 2:] * k[[0, 1], [0, 1]] + k[:2, 2]
        by_point = np.zeros((len(rays), 2, 3))
        by_point[:, 0, 0], by_point[:, 1, 1] = k[0, 0] / there[:, 2], k[1, 1] / there[:, 2]
        by_point[:, :, 2] = -(there[:, :2] / there[:, 2:]) * by_point[:, [0, 1], [0, 1]]
        error = places[f] - pixels
        squared = np.einsum("ni,nij,nj->n", error, seen.information[f], error)
        information = seen.information[f] / (1 + squared / soft**2)[:, None, None]
        arm = there - (turn @ scene.centre + shift)
        by_pose = np.concatenate([np.einsum("nij,njk->nik", by_point, -_cross(arm)), by_point], axis=2)
        by_knots = np.einsum("nij,nj,nl->nil", by_point, rays @ turn.T, weights)
        rows = np.zeros((len(rays), 2, len(right)))
        rows[:, :, :count] = by_knots
        rows[:, :, count + 6 * f : count + 6 * f + 6] = by_pose
        weighted = np.einsum("nij,njk->nik", information, rows)
        normal += np.einsum("nik,nil->kl", weighted, rows, optimize=True)
        right += np.einsum("nik,ni->k", weighted, error)
        cost += float(soft**2 * np.log1p(squared / soft**2).sum())
        away[f] = np.linalg.norm(error, axis=1)
    return normal, right, cost, away


def _cross(vectors: Array) -> Array:
    """Return the matrices [N, 3, 3] with m @ w = v x w."""
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
