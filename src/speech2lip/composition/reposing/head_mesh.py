"""The head's surface as a lattice in canonical space: its depth, its outline, and what moves with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from speech2lip.arrays import Array, Floats
from speech2lip.decomposition.canonical import Canonical, eye_distance, fill_polygon, mesh_depth
from speech2lip.faces.landmarks import FACE_OVAL
from speech2lip.geometry.mapping import sample, sample_array
from speech2lip.geometry.rigid import rays, to_pixels, transformed
from speech2lip.head_track import HeadTrack

STEP = 4
"""Canonical pixels between the nodes that are splatted."""
_AROUND = 0.55
"""What the lattice adds to the canonical picture on each side, in eye units."""
_HAIR = 0.6
"""How far the crown lies above the highest landmark, in eye units."""
_EARS = 0.14
"""How far ears and hair stand out beyond the landmarks, in eye units."""
_FADE = 0.65
"""Eye units over which the movement fades out beside and above the head."""
_NECK_FADE = 0.6
"""Eye units over which it fades out below the jaw."""
_ROUND = 0.3
"""How far the head curves back from the outline of the face to its own, in eye units."""
_LEARNED = 0.06
"""Eye units over which the learned depth departs smoothly from the face mesh."""


@dataclass(frozen=True)
class HeadMesh:
    """The head's surface as a lattice of nodes over the canonical picture and some of what is around it."""

    points: Array
    """[R, C, 3] in head space, in eye units."""
    canonical: Floats
    """[R, C, 2] in canonical pixels."""
    follows: Floats
    """[R, C] in [0, 1]: how much a node follows the head."""
    beyond: Floats
    """[R, C] distance outside the outline of the head in eye units; 0 inside."""
    below: Floats
    """[R, C] in [0, 1]: 1 at the neck, 0 at the face and above."""
    core: Floats
    """[R, C]: 1 inside the outline of the face, else 0."""
    step_units: float
    """Distance between nodes in the picture plane of canonical space, in eye units."""

    def project(self, head: HeadTrack, offset: Array | None = None) -> Floats:
        """Return x, y in pixels and depth of the nodes [R, C, 3], moved by an offset as they follow it."""
        points = transformed(head.camera_from_head[0], self.points)
        if offset is not None:
            points = points + (transformed(offset, points) - points) * self.follows[..., None]
        return np.concatenate([to_pixels(head.k, points), points[..., 2:]], axis=-1).astype(np.float32)


def head_mesh(canonical: Canonical) -> HeadMesh:
    """Lay the lattice over a canonical space."""
    unit = eye_distance(canonical.points)
    around = -(-round(_AROUND * unit) // STEP) * STEP
    height, width = canonical.size
    y = np.arange(-around, height + around + 1, STEP, dtype=np.float64)
    x = np.arange(-around, width + around + 1, STEP, dtype=np.float64)
    pixels = np.stack(np.meshgrid(x, y), axis=-1)
    depth = sample_array(_smooth_depth(canonical, sigma=_LEARNED * unit), pixels)
    beyond, below, core, rim = _beyond(canonical.points, pixels.astype(np.float32), unit)
    depth = depth + _ROUND * (1 - np.sqrt(1 - rim**2)) * (1 - below)
    depth = _carried_on(depth, beyond, sigma=_AROUND / 4 * unit / STEP)
    points = transformed(
        np.linalg.inv(canonical.camera_from_head), rays(canonical.k, pixels) * depth[..., None]
    )
    fade = _FADE + (_NECK_FADE - _FADE) * below
    follows = _smooth(np.asarray(1 - beyond / fade, np.float64))
    return HeadMesh(
        points=points,
        canonical=pixels.astype(np.float32),
        follows=follows.astype(np.float32),
        beyond=beyond.astype(np.float32),
        below=below.astype(np.float32),
        core=core.astype(np.float32),
        step_units=STEP / unit,
    )


def read_nodes(values: Floats, at: Floats, *, elsewhere: float = 0.0) -> Floats:
    """Read values [R, C, D] of nodes at places [h, w, 2] of their lattice; [h, w, D].

    `elsewhere` stands where a place is NaN: where `splat` drew nothing.
    """
    drawn = np.isfinite(at[..., :1])
    table = torch.from_numpy(np.ascontiguousarray(values, np.float32)).permute(2, 0, 1)[None]
    where = np.where(drawn, at, 0).astype(np.float32) + np.float32(0.5)
    found = sample(table, torch.from_numpy(where)[None])[0].permute(1, 2, 0).numpy()
    return np.where(drawn, found, np.float32(elsewhere))


def _beyond(points: Array, pixels: Floats, unit: float) -> tuple[Array, Array, NDArray[np.bool_], Array]:
    """Measure how far nodes lie outside the head's outline, how much below the jaw, and which are face."""
    oval = points[list(FACE_OVAL)]
    centre = oval.mean(0)
    outward = oval - centre
    length = np.linalg.norm(outward, axis=1, keepdims=True)
    up = np.clip(-outward[:, 1:] / length, 0, 1)
    side = 1 - np.abs(outward[:, 1:]) / length
    level = np.clip(0.5 - outward[:, 1:] / unit, 0, 1)  # no ears at the chin
    outline = oval + outward / length * unit * (_HAIR * up + _EARS * side * level + 0.03)
    inside = fill_polygon(outline, pixels)
    distance = distance_transform_edt(~inside) * STEP / unit
    jaw = points[152, 1]
    ears = points[[132, 361], 1].mean()
    below = _smooth(np.asarray((pixels[..., 1] - ears) / max(jaw - ears, 1.0), np.float64))
    core = fill_polygon(oval, pixels)
    outside, within = distance_transform_edt(~core), distance_transform_edt(inside)
    rim = np.where(inside, outside / np.maximum(outside + within, 1e-6), 0)
    return distance, below, core, rim


def _smooth_depth(canonical: Canonical, *, sigma: float) -> Array:
    """Return the learned depth, what it adds to the face mesh without its fine ripple; [H, W].

    A ripple that no colour shows from the front stands out at a cheek that is turned away.
    """
    mesh = mesh_depth(canonical.points_3d, canonical.size)
    added: Array = gaussian_filter(canonical.depth.astype(np.float64) - mesh, sigma, mode="nearest")
    return mesh + added


def _carried_on(depth: Array, beyond: Array, *, sigma: float) -> Array:
    """Carry the depth of the head on beyond its outline: what was learned of the background is no surface."""
    nearest = distance_transform_edt(beyond > 0, return_distances=False, return_indices=True)
    smooth = gaussian_filter(depth[tuple(nearest)], sigma)
    part = _smooth(beyond / 0.2)
    carried: Array = depth + (smooth - depth) * part
    return carried


def _smooth(value: Array) -> Array:
    """Go from 0 to 1 with level ends."""
    clipped = np.clip(value, 0, 1)
    stepped: Array = clipped * clipped * (3 - 2 * clipped)
    return stepped
