"""What the presenter is built of: meshes with the ways in which each vertex can move."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from speech2lip.conventions import Array

SKIN, EYE, TEETH, MOUTH, HAIR, CLOTH = range(6)
"""Materials of the surfaces."""

MOVES = ("jaw", "upper_lip", "lower_lip", "wide", "protrude", "tuck", "tongue", "blink", "brows")
"""Ways in which vertices move; each mesh has one field of displacements for each that it takes part in."""


@dataclass
class Part:
    """A mesh in head space: vertices [N, 3], faces [M, 3], uv [N, 2] in atlas pixels, fields [N, 3]."""

    name: str
    material: int
    vertices: Array
    faces: NDArray[np.int32]
    uv: Array
    fields: dict[str, Array] = field(default_factory=dict)
    head_weight: Array | None = None
    """How much each vertex follows the head rather than the body, [N]; None follows the head."""
    shade: Array | None = None
    """Fixed share of light that reaches each vertex, [N]; None is worked out from the geometry."""


def grid_faces(index: NDArray[np.intp]) -> NDArray[np.int32]:
    """Triangles of a grid of vertex numbers [rows, columns], leaving out degenerate ones."""
    a, b = index[:-1, :-1].ravel(), index[:-1, 1:].ravel()
    c, d = index[1:, :-1].ravel(), index[1:, 1:].ravel()
    faces: NDArray[np.int32] = np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)]).astype(
        np.int32
    )
    whole = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 0] != faces[:, 2])
    kept: NDArray[np.int32] = faces[whole]
    return kept


def outward(vertices: Array, faces: NDArray[np.int32], *, centre: Array) -> NDArray[np.int32]:
    """Turn all triangles over if most of them face the centre."""
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = np.sum(normals * (corners.mean(1) - centre))
    flipped: NDArray[np.int32] = np.ascontiguousarray(faces[:, ::-1])
    return faces if facing > 0 else flipped


def ramp(x: Array | float, low: Array | float, high: Array | float) -> Array:
    """Rise smoothly from 0 at `low` to 1 at `high` (or fall, if high < low)."""
    t = np.clip((np.asarray(x, np.float64) - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))


def bump(x: Array, y: Array, *, at: tuple[float, float], size: tuple[float, float]) -> Array:
    """A Gaussian hill of height 1."""
    return np.asarray(np.exp(-(((x - at[0]) / size[0]) ** 2) - ((y - at[1]) / size[1]) ** 2))


def mirrored(x: Array, y: Array, *, at: tuple[float, float], size: tuple[float, float]) -> Array:
    """The same hill on both sides of the face."""
    return bump(np.abs(x), y, at=at, size=size)
