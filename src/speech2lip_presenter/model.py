"""The whole presenter as one mesh that moves: built once, posed for every frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from speech2lip.conventions import Array
from speech2lip_presenter import skull
from speech2lip_presenter.face import build_face, build_sheet, off_eyeballs
from speech2lip_presenter.features import build_features
from speech2lip_presenter.parts import EYE, MOVES, SKIN, Part, ramp
from speech2lip_presenter.rasterise import rasterise, vertex_normals
from speech2lip_presenter.shading import KEY


@dataclass(frozen=True)
class Model:
    """Vertices [N, 3] in head space (eye units), faces [M, 3], and how they move, are painted and lit."""

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    face_material: NDArray[np.int32]
    uv: NDArray[np.float32]
    fields: NDArray[np.float32]
    """Displacements for one unit of each of `MOVES`, [K, N, 3]."""
    head_weight: NDArray[np.float32]
    light: NDArray[np.float32]
    """Share of ambient and key light that reaches each vertex, [N, 2]."""
    lids: NDArray[np.intp]
    """Vertices that slide over the eyeballs."""
    eyes: tuple[NDArray[np.intp], NDArray[np.intp]]
    """Vertices of the eyeballs at the left and the right of the picture."""
    mouth: NDArray[np.intp]
    """Vertices of teeth, tongue and cavity."""
    landmarks: dict[str, int]
    """Vertex of each named landmark."""
    unit: float
    origin: Array
    """The building's unit and origin: built = vertices * unit + origin."""


LANDMARKS = (
    "mouth_left", "mouth_right", "lip_upper_inner", "lip_lower_inner", "lip_upper_outer", "lip_lower_outer",
    "eye_left_outer", "eye_left_inner", "eye_right_inner", "eye_right_outer", "nose_tip", "chin",
)  # fmt: skip
"""Names of the landmarks; left and right are those of the picture."""


def find_landmarks(face: Part) -> dict[str, int]:
    """Choose the vertex of each landmark on the skin."""
    sheet = build_sheet()
    x, row = sheet.points[:, 0], sheet.row

    def nearest(at_x: float, at_row: float, *, band: int) -> int:
        wanted = (sheet.band == band) & (sheet.inside == 0) & (np.abs(sheet.theta) < 1.2)
        return int(np.argmin(np.hypot(x - at_x, row - at_row) + 1e3 * ~wanted))

    mouth, corner = skull.MOUTH_Y, skull.MOUTH_HALF
    upper, lower = (
        float(height(np.zeros(1))[0]) for height in (skull.upper_lip_height, skull.lower_lip_height)
    )
    front = (np.abs(x) < 0.02) & (np.abs(sheet.theta) < 1)
    chin = int(np.argmax(np.where(front & (sheet.row < 1.35), face.vertices[:, 1], -9)))
    tip = int(np.argmin(np.where(front & (np.abs(row - 0.42) < 0.03), face.vertices[:, 2], 9)))
    at = [
        nearest(-corner, mouth, band=1), nearest(corner, mouth, band=1), nearest(0, mouth, band=1),
        nearest(0, mouth, band=2), nearest(0, mouth - upper, band=1), nearest(0, mouth + lower, band=2),
        nearest(-skull.EYE_OUTER, 0, band=0), nearest(-skull.EYE_INNER, 0, band=0),
        nearest(skull.EYE_INNER, 0, band=0), nearest(skull.EYE_OUTER, 0, band=0), tip, chin,
    ]  # fmt: skip
    return dict(zip(LANDMARKS, at, strict=True))


@lru_cache(maxsize=1)
def build_model() -> Model:
    """Join all parts, measure them in eye units, and work out once how much light reaches each place."""
    face = build_face()
    parts = [face, *build_features()]
    sizes = np.array([len(part.vertices) for part in parts])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    vertices = np.concatenate([part.vertices for part in parts])
    fields = np.zeros((len(MOVES), len(vertices), 3))
    for part, start in zip(parts, starts, strict=True):
        for name, field in part.fields.items():
            fields[MOVES.index(name), start : start + len(field)] = field
    faces = np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=True)]).astype(
        np.int32
    )
    material = np.concatenate([np.full(len(part.faces), part.material) for part in parts]).astype(np.int32)
    weight = [
        np.ones(n) if p.head_weight is None else p.head_weight for p, n in zip(parts, sizes, strict=True)
    ]
    landmarks = find_landmarks(face)
    corners = vertices[[landmarks["eye_left_outer"], landmarks["eye_right_outer"]]]
    unit, origin = float(np.linalg.norm(corners[1] - corners[0])), corners.mean(0)
    spans = {
        part.name: np.arange(start, start + size)
        for part, start, size in zip(parts, starts, sizes, strict=True)
    }
    blink = np.abs(fields[MOVES.index("blink")]).sum(1) > 1e-4
    scaled = ((vertices - origin) / unit).astype(np.float32)
    return Model(
        vertices=scaled, faces=np.ascontiguousarray(faces), face_material=material,
        uv=np.concatenate([part.uv for part in parts]).astype(np.float32),
        fields=(fields / unit).astype(np.float32), head_weight=np.concatenate(weight).astype(np.float32),
        light=bake_light(parts, scaled, faces), lids=np.flatnonzero(blink),
        eyes=(spans["eye-1"], spans["eye+1"]),
        mouth=np.concatenate([spans[name] for name in ("teeth_upper", "teeth_lower", "tongue", "cavity")]),
        landmarks=landmarks, unit=unit, origin=origin,
    )  # fmt: skip


def bake_light(
    parts: list[Part], vertices: NDArray[np.float32], faces: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Share of the sky and of the soft key light that each vertex sees at rest, [N, 2] in [0, 1]."""
    outside = np.concatenate([np.full(len(p.faces), p.shade is None or p.name == "face") for p in parts])
    normals = vertex_normals(vertices, faces)
    ambient = visible_share(vertices, normals, faces[outside], directions=sphere(72), power=1.0)
    rng = np.random.default_rng(1)
    cone = KEY / np.linalg.norm(KEY) + 0.22 * rng.standard_normal((24, 3))
    keyed = visible_share(vertices, normals, faces[outside], directions=cone, power=0.0)
    light = np.stack([0.10 + 0.90 * ambient**1.25, 0.06 + 0.94 * keyed], 1)
    start = 0
    for part in parts:
        span = slice(start, start + len(part.vertices))
        if part.shade is not None:
            closed = part.shade < 1 if part.name == "face" else np.ones(len(part.shade), np.bool_)
            light[span][closed] = part.shade[closed, None]
        if part.name == "neck":
            # the chin's shadow lies softer and wider than at rest, because the head moves
            light[span] *= 0.45 + 0.55 * ramp(part.vertices[:, 1:2], 1.05, 1.60)
        if "blink" in part.fields:
            # lids and sockets glow with light from the cheeks, which is not traced
            near = np.abs(part.fields["blink"]).sum(1, keepdims=True) > 1e-3
            light[span] = np.where(near, 0.40 + 0.60 * light[span], light[span])
        if part.material == EYE:
            light[span] = 0.25 + 0.75 * np.clip((part.vertices[:, 1:2] + 0.085) / 0.07, 0, 1)
        start += len(part.vertices)
    baked: NDArray[np.float32] = light.astype(np.float32)
    return baked


def sphere(count: int) -> Array:
    """Directions spread evenly over the sphere, [count, 3]."""
    i = np.arange(count) + 0.5
    y, turn = 1 - 2 * i / count, i * np.pi * (3 - np.sqrt(5))
    side = np.sqrt(1 - y * y)
    return np.stack([side * np.cos(turn), y, side * np.sin(turn)], 1)


def visible_share(
    vertices: NDArray[np.float32], normals: NDArray[np.float32], faces: NDArray[np.int32], *,
    directions: Array, power: float,
) -> Array:  # fmt: skip
    """Share of directions that each vertex sees out of, weighted by (normal . direction)^power, [N]."""
    side, far = 320, 100.0
    seen, weights = np.full(len(vertices), 1e-6), np.full(len(vertices), 1e-6)
    for direction in directions / np.linalg.norm(directions, axis=1, keepdims=True):
        helper = np.array([0.0, 0.0, 1.0]) if abs(direction[2]) < 0.8 else np.array([1.0, 0.0, 0.0])
        right = np.cross(helper, direction)
        right /= np.linalg.norm(right)
        axes = np.stack([right, np.cross(direction, right), -direction])
        # from far away along the direction: nearly parallel rays, nearer surfaces first
        local = (vertices + normals * 0.012) @ axes.T
        scale = side / 5.2
        flat = np.stack(
            [local[:, 0] * scale + side / 2, local[:, 1] * scale + side / 2.6, local[:, 2] + far], 1
        )
        flat = flat.astype(np.float32)
        nearness, ids = np.zeros((side, side), np.float32), np.full((side, side), -1, np.int32)
        rasterise(flat, faces, nearness, ids)
        rasterise(flat, np.ascontiguousarray(faces[:, ::-1]), nearness, ids)
        at = np.clip(flat[:, :2].astype(np.intp), 0, side - 1)
        nearest = 1.0 / np.maximum(nearness[at[:, 1], at[:, 0]], 1e-6)
        cosine = normals @ direction
        weight = np.where(cosine > 0, np.maximum(cosine, 1e-3) ** power, 0.0)
        seen += weight * np.clip(1 - (flat[:, 2] - nearest - 0.02) / 0.05, 0, 1)
        weights += weight
    return np.asarray(seen / weights)


def pose_model(
    model: Model, moves: dict[str, float], *, gaze: tuple[float, float] = (0.0, 0.0)
) -> NDArray[np.float32]:
    """Return the vertices [N, 3] in head space for amounts of `MOVES` and a gaze (yaw, pitch in radians)."""
    amounts = np.array([moves.get(name, 0.0) for name in MOVES], np.float32)
    vertices = model.vertices + np.tensordot(amounts, model.fields, axes=1)
    built = vertices[model.lids] * model.unit + model.origin
    vertices[model.lids] = (off_eyeballs(built) - model.origin) / model.unit
    turn = rotation(gaze[0], gaze[1], 0.0).astype(np.float32)
    for side, ball in zip((-1, 1), model.eyes, strict=True):
        centre = (np.array([side * skull.EYE_X, skull.EYE_Y, skull.EYE_Z]) - model.origin) / model.unit
        vertices[ball] = (vertices[ball] - centre.astype(np.float32)) @ turn.T + centre.astype(np.float32)
    return vertices


def rotation(yaw: float, pitch: float, roll: float) -> Array:
    """Rotation [3, 3] by yaw (nose to the picture's right), pitch (up), roll (clockwise), in radians."""
    cy, sy, cp, sp, cr, sr = (
        np.cos(yaw),
        np.sin(yaw),
        np.cos(pitch),
        np.sin(pitch),
        np.cos(roll),
        np.sin(roll),
    )
    about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


__all__ = ["LANDMARKS", "SKIN", "Model", "build_model", "pose_model", "rotation"]
