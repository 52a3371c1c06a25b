"""The presenter's surface as the camera sees it: depth, and where it moves as one with the head."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from speech2lip_presenter import model
from speech2lip_presenter.render import State, camera_matrix, posed_vertices
from speech2lip_presenter.shading import project, rasterise

_STIFF = 0.01
"""Vertices that speech, lids or brows move by less than this, in eye units, count as rigid."""


@lru_cache(maxsize=1)
def rigid_vertices() -> NDArray[np.bool_]:
    """Tell which vertices follow the head and nothing else; [N]."""
    built = model.build_model()
    still = np.linalg.norm(built.fields, axis=2).max(0) < _STIFF
    rigid: NDArray[np.bool_] = still & (built.head_weight > 0.999)
    rigid[np.concatenate([*built.eyes, built.mouth])] = False
    return rigid


def head_height() -> float:
    """Return the height of the head from its crown to its chin, in eye units."""
    built = model.build_model()
    height = built.vertices[built.head_weight > 0.999, 1]
    return float(np.ptp(height))


def render_surface(state: State, *, size: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Find what the camera sees at every pixel's centre.

    Returns:
        Depth along the camera's z, [size, size] in eye units, infinite at the background; and where the
        surface is a rigid part of the head, [size, size].
    """
    built = model.build_model()
    points = project(posed_vertices(state)[1], k=camera_matrix(size))
    nearness = np.zeros((size, size), np.float32)
    ids = np.full((size, size), -1, np.int32)
    rasterise(points, built.faces, nearness, ids)
    rigid_faces = rigid_vertices()[built.faces].all(1)
    with np.errstate(divide="ignore"):
        depth: NDArray[np.float32] = (1 / nearness).astype(np.float32)
    return depth, np.where(ids >= 0, rigid_faces[ids], False)
