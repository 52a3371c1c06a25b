"""One state of the presenter in, one picture with its exact truth out."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from speech2lip.conventions import Array
from speech2lip_presenter import model, textures
from speech2lip_presenter.parts import SKIN
from speech2lip_presenter.rasterise import project, rasterise, vertex_normals
from speech2lip_presenter.shading import MATERIALS, develop, film_curve, shade_picture

DISTANCE = 9.5
"""From the camera to the resting head, in eye units (about 0.85 m)."""

VIEW = 3.7
"""Height of what the camera sees at that distance, in eye units."""

NECK = np.array([0.0, 1.05, 0.95])
"""The point about which the head turns, in head space."""


@dataclass(frozen=True)
class State:
    """All that can change from frame to frame; angles in degrees, lengths in eye units."""

    moves: dict[str, float] = field(default_factory=dict)
    """Amounts of `parts.MOVES`."""
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    sway: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Shift of the whole body."""
    gaze: tuple[float, float] = (0.0, 0.0)
    """Yaw and pitch of the eyes in the head."""
    phone: str = "pau"


def camera_matrix(size: int) -> Array:
    """K of the presenter's camera for a square picture."""
    focal = size * DISTANCE / VIEW
    return np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1.0]])


def body_pose(state: State) -> Array:
    """Where the body stands before the camera: camera_from_body [4, 4]."""
    pose = np.eye(4)
    pose[:3, 3] = np.array([0.0, -0.22, DISTANCE]) + np.array(state.sway)
    return pose


def head_pose(state: State) -> Array:
    """The head pose camera_from_head [4, 4]: the head turns about the neck, and the body carries it."""
    turn = model.rotation(*np.radians([state.yaw, state.pitch, state.roll]))
    pose = body_pose(state)
    pose[:3, 3] += NECK - turn @ NECK
    pose[:3, :3] = turn
    return pose


def place(state: State) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the vertices in head space and in camera space, both [N, 3]."""
    built = model.build_model()
    vertices = model.pose_model(
        built, state.moves, gaze=(np.radians(state.gaze[0]), np.radians(state.gaze[1]))
    )
    head, body = head_pose(state), body_pose(state)
    with_head = vertices @ head[:3, :3].T + head[:3, 3]
    with_body = vertices + body[:3, 3]
    weight = built.head_weight[:, None]
    return vertices, np.asarray(weight * with_head + (1 - weight) * with_body, np.float32)


def landmarks_of(state: State, *, size: int) -> tuple[Array, Array]:
    """Project the named landmarks; return them in pixels [12, 2] and in head space [12, 3]."""
    chosen = list(model.build_model().landmarks.values())
    vertices, camera = place(state)
    return project(camera[chosen], k=camera_matrix(size))[:, :2].astype(np.float64), vertices[chosen].astype(
        np.float64
    )


def lip_measures(points_head: Array) -> tuple[float, float]:
    """Return the opening between the inner lips (along the head's y) and the width between the corners.

    Both in eye units and free of pose. The opening is 0 where the lips touch.
    """
    left, right, upper, lower = points_head[:4]
    return max(0.0, float(lower[1] - upper[1])), float(np.linalg.norm(right - left))


@lru_cache(maxsize=1)
def _curve() -> NDArray[np.uint8]:
    return film_curve()


def render_frame(state: State, *, size: int = 384) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Render one frame.

    Returns:
        The picture, uint8 RGB [size, size, 3], and its depth, float32 [size, size] along the camera's z in
        eye units, infinite at the background.
    """
    rgb, depth, _ = render_layers(state, size=size)
    return rgb, depth


def render_layers(
    state: State, *, size: int = 384
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int32]]:
    """Render one frame as `render_frame` does; third is the material at each pixel, -1 at the background."""
    built = model.build_model()
    _, camera = place(state)
    normals = vertex_normals(camera, built.faces)
    points = project(camera, k=camera_matrix(size))
    points[:, :2] *= 2.0
    nearness, ids = np.zeros((2 * size, 2 * size), np.float32), np.full((2 * size, 2 * size), -1, np.int32)
    rasterise(points, built.faces, nearness, ids)
    colour, depth = np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32)
    light = built.light.copy()
    light[built.mouth] *= mouth_light(state)
    shade_picture(
        ids, points, built.faces, built.face_material, normals, built.uv, light, textures.atlas(), MATERIALS,
        textures.background(size), float(camera_matrix(size)[0, 0]), colour, depth,
    )  # fmt: skip
    rgb = np.empty((size, size, 3), np.uint8)
    develop(colour, rgb, _curve())
    seen = ids[1::2, 1::2]
    return rgb, depth, np.where(seen >= 0, built.face_material[seen], -1).astype(np.int32)


def mouth_light(state: State) -> float:
    """How much light enters the mouth: more the wider it stands open."""
    opening = (
        state.moves.get("upper_lip", 0.0) + state.moves.get("lower_lip", 0.0) + state.moves.get("jaw", 0.0)
    )
    return float(np.clip(0.42 + 2.2 * opening, 0.3, 1.0))


__all__ = [
    "SKIN",
    "State",
    "camera_matrix",
    "head_pose",
    "landmarks_of",
    "lip_measures",
    "render_frame",
    "render_layers",
]
