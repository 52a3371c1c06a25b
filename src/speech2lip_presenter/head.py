"""The presenter's head: one skin with openings for mouth and eyes, and the ways in which it moves.

Lengths here are those it is built in, about half its height; x to the right, y down, z away from the camera.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from speech2lip.arrays import Array
from speech2lip_presenter.shading import SKIN

MOVES = ("jaw", "upper_lip", "lower_lip", "wide", "protrude", "tuck", "tongue", "blink", "brows")
"""Ways in which vertices move; each part has one field of displacements for each that it takes part in."""

MOUTH_Y, MOUTH_HALF = 0.76, 0.285
EYE_X, EYE_Y, EYE_Z = 0.343, -0.012, -0.645
EYE_INNER, EYE_OUTER, EYE_RADIUS = 0.178, 0.5, 0.142
CROWN_Y, CHIN_Y = -1.30, 1.22
JAW_HINGE = np.array([0.0, 0.30, 0.0])
"""A point on the axis about which the jaw turns."""
UPPER_LID, LOWER_LID = 0.056, 0.044
"""How far the open lids stand from the line between the corners of the eye."""
SKIN_TEXELS = 768
"""Side of the skin's square in the atlas, in pixels."""

_INSIDE_UP = np.array([0, -0.005, 0.010, 0.05, 0.11, 0.16])
_INSIDE_BACK = np.array([0, 0.022, 0.055, 0.10, 0.16, 0.24])
_INSIDE_SHADE = np.array([1, 0.8, 0.5, 0.3, 0.2, 0.15])
"""Rows inside the lips: how far away from the opening, and how far behind the edge, they lie; their light."""

# Sections of the head, of usual human proportions: height at the front, half width, front depth, back depth.
_SECTIONS = np.array([
    (-1.30, 0.00, 0.00, 0.10),
    (-1.26, 0.26, -0.24, 0.38),
    (-1.15, 0.47, -0.53, 0.65),
    (-0.95, 0.66, -0.78, 0.86),
    (-0.70, 0.765, -0.925, 0.98),
    (-0.45, 0.795, -0.995, 1.04),
    (-0.20, 0.785, -1.025, 1.05),
    (0.00, 0.770, -0.985, 1.02),
    (0.25, 0.745, -0.975, 0.95),
    (0.50, 0.705, -0.985, 0.82),
    (0.75, 0.645, -0.985, 0.70),
    (0.95, 0.585, -0.950, 0.62),
    (1.10, 0.515, -0.930, 0.58),
    (1.22, 0.420, -0.870, 0.55),
    (1.28, 0.300, -0.740, 0.50),
    (1.27, 0.180, -0.450, 0.45),
    (1.22, 0.100, -0.200, 0.40),
])  # fmt: skip
_LENGTH = np.concatenate([_SECTIONS[:14, 0], 1.22 + np.array([0.08, 0.16, 0.24])])
_PROFILE = PchipInterpolator(_LENGTH, _SECTIONS)
ROW_END = float(_LENGTH[-1])

_HILLS = (
    # height towards the camera; x to both sides, y; half width, half height
    (0.050, 0.32, -0.19, 0.20, 0.075),   # brows
    (-0.090, 0.34, 0.01, 0.19, 0.13),    # sockets of the eyes
    (-0.060, 0.165, -0.01, 0.07, 0.10),
    (0.055, 0.47, 0.28, 0.20, 0.15),     # cheeks
    (-0.035, 0.50, 0.68, 0.14, 0.20),
    (0.045, 0.0, 0.75, 0.27, 0.19),      # around the mouth
    (-0.018, 0.0, 0.60, 0.028, 0.065),
    (0.008, 0.05, 0.61, 0.025, 0.06),
    (-0.042, 0.0, 0.915, 0.18, 0.050),
    (0.075, 0.0, 1.08, 0.19, 0.115),     # chin
    (-0.028, 0.33, 0.79, 0.045, 0.07),
)  # fmt: skip


@dataclass
class Part:
    """A mesh: vertices [N, 3], faces [M, 3], uv [N, 2] in atlas pixels, fields [N, 3]."""

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


@dataclass
class SkinGrid:
    """The skin before any opening, closed lips and lids: what the fields are computed from."""

    theta: Array
    row: Array
    band: NDArray[np.intp]
    """0 above the eyes, 1 between eyes and mouth, 2 below the mouth."""
    inside: Array
    """0 on the skin, 1 to 5 on the rows inside the lips, -1 on the row inside a lid."""
    uv: Array
    points: Array
    faces: NDArray[np.int32]


def ramp(x: Array | float, low: Array | float, high: Array | float) -> Array:
    """Rise smoothly from 0 at `low` to 1 at `high` (or fall, if high < low)."""
    t = np.clip((np.asarray(x, np.float64) - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))


def hills(x: Array, y: Array, *, at: tuple[float, float], size: tuple[float, float]) -> Array:
    """A Gaussian hill of height 1, the same on both sides of the face."""
    return np.asarray(np.exp(-(((np.abs(x) - at[0]) / size[0]) ** 2) - ((y - at[1]) / size[1]) ** 2))


def grid_faces(index: NDArray[np.intp]) -> NDArray[np.int32]:
    """Triangles of a grid of vertex numbers [rows, columns], leaving out degenerate ones."""
    a, b = index[:-1, :-1].ravel(), index[:-1, 1:].ravel()
    c, d = index[1:, :-1].ravel(), index[1:, 1:].ravel()
    faces = np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)]).astype(np.int32)
    whole = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 0] != faces[:, 2])
    return np.asarray(faces[whole])


def outward(vertices: Array, faces: NDArray[np.int32], *, centre: Array) -> NDArray[np.int32]:
    """Turn all triangles over if most of them face the centre."""
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = np.sum(normals * (corners.mean(1) - centre))
    return faces if facing > 0 else np.ascontiguousarray(faces[:, ::-1])


def base_surface(theta: Array, row: Array) -> Array:
    """Return points [..., 3] at angle theta (0 in front) and row (height in front, then under the chin)."""
    y, half, front, back = np.moveaxis(_PROFILE(row), -1, 0)
    centre = 0.05 + 0.1 * ramp(row, 0.5, 1.2)
    cosine, sine = np.cos(theta), np.sin(theta)
    depth = np.where(cosine > 0, (centre - front), (back - centre))
    forward = ((1 + cosine) / 2) ** 1.5
    rise = 0.42 * ramp(row, 0.35, 1.3)
    # the section narrows a little towards the front of the face, so that cheeks turn away
    x = half * sine * (1.0 - 0.05 * ramp(row, 0.3, 0.9) * np.maximum(cosine, 0))
    return np.stack([x, y - rise * (1 - forward) * 0.9, centre - depth * cosine], axis=-1)


def face_surface(theta: Array, row: Array) -> Array:
    """The head's surface with its features, closed lips and closed lids, [..., 3]."""
    points = base_surface(theta, row)
    x, y = points[..., 0], points[..., 1]
    front = ramp(np.abs(theta), 1.45, 0.85) * ramp(row, ROW_END - 0.1, CHIN_Y)
    points[..., 2] -= front * (_feature_depth(x, y) + _lip_depth(x, y))
    return points


def _feature_depth(x: Array, y: Array) -> Array:
    """How far nose, brows, cheeks, mouth and chin stand out towards the camera at a place of the face."""
    out = _nose_depth(x, y)
    for height, at_x, at_y, width, tall in _HILLS:
        out += height * hills(x, y, at=(at_x, at_y), size=(width, tall))
    # folds from the nose to the corners of the mouth
    fold = np.abs(x) - (0.19 + 0.34 * np.maximum(y - 0.45, 0))
    out -= 0.014 * np.exp(-((fold / 0.03) ** 2)) * ramp(y, 0.42, 0.52) * ramp(y, 0.80, 0.66)
    return out


def _nose_depth(x: Array, y: Array) -> Array:
    """Bridge, tip and wings of the nose."""
    heights = (-0.14, 0.00, 0.10, 0.20, 0.30, 0.38, 0.43, 0.47, 0.51, 0.55, 0.60)
    bridge = (0, 0.035, 0.095, 0.155, 0.215, 0.26, 0.265, 0.225, 0.11, 0.03, 0)
    breadth = (0.14, 0.115, 0.105, 0.110, 0.12, 0.135, 0.145, 0.14, 0.115, 0.09, 0.09)
    inside = np.clip(y, heights[0], heights[-1])
    across = np.abs(x / PchipInterpolator(heights, breadth)(inside))
    out = PchipInterpolator(heights, bridge)(inside) * np.exp(-(across**2))
    out += 0.090 * hills(x, y, at=(0.130, 0.455), size=(0.046, 0.056))
    out -= 0.050 * hills(x, y, at=(0.064, 0.510), size=(0.036, 0.024))
    return np.asarray(out)


def _mouth_arc(x: Array, *, half: float = MOUTH_HALF) -> Array:
    """1 in the middle of the mouth, 0 at `half` to either side and beyond."""
    return np.clip(1 - (x / half) ** 2, 0, None)


def upper_lip_height(x: Array) -> Array:
    """Height of the red of the upper lip above the line between the lips, with its bow."""
    arc = _mouth_arc(x, half=MOUTH_HALF * 1.02)
    bow = 0.014 * np.exp(-(((np.abs(x) - 0.062) / 0.04) ** 2)) - 0.012 * np.exp(-((x / 0.03) ** 2))
    return np.asarray(0.080 * arc**0.85 + bow * (arc > 0))


def lower_lip_height(x: Array) -> Array:
    """Height of the red of the lower lip below the line between the lips."""
    return np.asarray(0.108 * _mouth_arc(x, half=MOUTH_HALF * 0.97) ** 0.8)


def _lip_depth(x: Array, y: Array) -> Array:
    """How far the red of the lips stands out."""
    above = (MOUTH_Y - y) / np.maximum(upper_lip_height(x), 1e-3)
    below = (y - MOUTH_Y) / np.maximum(lower_lip_height(x), 1e-3)
    t = np.where(y <= MOUTH_Y, above, below)
    roll = np.clip(1 - ((t - 0.62) / 0.72) ** 2, 0, None)
    return np.asarray(np.where(y <= MOUTH_Y, 0.050, 0.062) * roll * _mouth_arc(x) ** 0.6)


def columns() -> Array:
    """Angles of the columns, densest in front, once round from the back of the head."""
    front = np.arcsin(np.linspace(0, 0.62, 51) / 0.76)
    side = np.linspace(front[-1], 1.9, 18)[1:]
    back = np.linspace(1.9, np.pi, 9)[1:]
    half = np.concatenate([front, side, back])
    return np.concatenate([-half[:0:-1], half])


def bands() -> list[tuple[Array, Array]]:
    """Rows above the eyes, between eyes and mouth, and below; each with how far inside an opening it is."""
    above = np.concatenate([np.linspace(CROWN_Y, -0.36, 17)[:-1], np.linspace(-0.36, -0.12, 9)[:-1],
                            np.linspace(-0.12, 0, 13)])  # fmt: skip
    middle = np.concatenate([np.linspace(0, 0.1, 10)[:-1], np.linspace(0.1, 0.38, 11)[:-1],
                             np.linspace(0.38, 0.56, 17)[:-1], np.linspace(0.56, 0.66, 6)[:-1],
                             np.linspace(0.66, MOUTH_Y, 12)])  # fmt: skip
    below = np.concatenate([np.linspace(MOUTH_Y, 0.89, 13)[:-1], np.linspace(0.89, 1.22, 14)[:-1],
                            np.linspace(1.22, ROW_END, 9)])  # fmt: skip
    lips = np.arange(1.0, 6.0)
    return [
        (np.append(above, 0.0), np.append(0 * above, -1.0)),
        (np.concatenate([[0.0], middle, 0 * lips + MOUTH_Y]), np.concatenate([[-1.0], 0 * middle, lips])),
        (np.concatenate([0 * lips + MOUTH_Y, below]), np.concatenate([lips[::-1], 0 * below])),
    ]


def build_grid() -> SkinGrid:
    """Lay the three bands out as grids and join them everywhere but along the openings."""
    theta = columns()
    x_eye = np.abs(face_surface(theta, 0 * theta)[:, 0])
    x_mouth = np.abs(face_surface(theta, 0 * theta + MOUTH_Y)[:, 0])
    front = np.abs(theta) < 1.2
    open_at = [front & (x_eye > EYE_INNER) & (x_eye < EYE_OUTER), front & (x_mouth < MOUTH_HALF)]
    u = np.arange(len(theta)) * (SKIN_TEXELS - 1) / (len(theta) - 1)
    lines = sum(int((inside == 0).sum()) for _, inside in bands())
    line = first = 0
    vertices: list[tuple[Array, ...]] = []
    faces: list[NDArray[np.int32]] = []
    seam = np.zeros(0, np.intp)
    for b, (rows, inside) in enumerate(bands()):
        index = first + np.arange(len(rows) * len(theta), dtype=np.intp).reshape(len(rows), len(theta))
        first += index.size
        true = np.flatnonzero(inside == 0)
        v = np.interp(np.arange(len(rows)), true, line + np.arange(len(true)))
        v = v * (SKIN_TEXELS - 1) / (lines - 1)
        line += len(true)
        vertices.append(tuple(np.broadcast_to(a, index.shape).ravel() for a in
                              (theta, rows[:, None], b, inside[:, None], u, v[:, None])))  # fmt: skip
        if b > 0:
            index[true[0]] = np.where(open_at[b - 1], index[true[0]], seam)
        seam = index[true[-1]]
        faces.append(grid_faces(index[true]))
        if b < 2:
            faces += _opening_faces(index[true[-1] :], open_at[b])
        if b > 0:
            faces += _opening_faces(index[: true[0] + 1], open_at[b - 1])
    used, renumbered = np.unique(np.concatenate(faces), return_inverse=True)
    angle, row, band, level, across, down = (
        np.concatenate(column)[used] for column in zip(*vertices, strict=True)
    )
    triangles = renumbered.reshape(-1, 3).astype(np.int32)
    return SkinGrid(angle, row, band, level, np.stack([across, down], 1), face_surface(angle, row), triangles)


def _opening_faces(index: NDArray[np.intp], is_open: NDArray[np.bool_]) -> list[NDArray[np.int32]]:
    """Triangles of the rows inside an opening, as far as it is open and one column further."""
    wide = is_open.copy()
    wide[1:] |= is_open[:-1]
    wide[:-1] |= is_open[1:]
    at = np.flatnonzero(wide)
    return [grid_faces(index[:, run]) for run in np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)]


def eye_shape(x: Array) -> tuple[Array, Array]:
    """How far upper and lower lid stand open at each x, 0 outside the eye, in [0, 1]."""
    t = np.clip((np.abs(x) - EYE_INNER) / (EYE_OUTER - EYE_INNER), 0, 1)
    return np.sin(np.pi * t**0.85) ** 0.75, np.sin(np.pi * t**1.15) ** 0.85


def build_face(grid: SkinGrid) -> Part:
    """Build the skin with open lids and closed lips, and all its fields."""
    points, row = grid.points.copy(), grid.row
    x = points[:, 0]
    front = ramp(np.abs(grid.theta), 1.5, 1.1)
    fields = _mouth_fields(grid, front) | _eye_fields(grid, front)
    level = np.clip(grid.inside, 0, 5).astype(int)
    side = np.where(grid.band == 2, 1.0, -1.0)
    arc = np.clip(1 - (x / MOUTH_HALF) ** 2, 0.05, 1) ** 0.5
    points[:, 1] += side * _INSIDE_UP[level] * arc
    points[:, 2] += _INSIDE_BACK[level]
    points -= fields["blink"]
    points[:, 2] += np.where(grid.inside < 0, 0.05, 0)
    # the line between the lips is a little lower in the middle
    points[:, 1] += 0.008 * np.exp(-((x / 0.06) ** 2)) * np.exp(-(((row - MOUTH_Y) / 0.06) ** 2)) * front
    points = off_eyeballs(points)
    faces = outward(points, grid.faces, centre=np.array([0.0, 0.2, 0.0]))
    return Part("face", SKIN, points, faces, grid.uv, fields, shade=_INSIDE_SHADE[level])


def jaw_field(points: Array, *, share: float | Array = 1.0) -> Array:
    """How points that follow the jaw by a share move, for one unit of opening."""
    x, y, z = points.T
    around_hinge = np.stack([0 * x, -(z - JAW_HINGE[2]), y - JAW_HINGE[1]], 1) / 1.05
    return np.asarray(around_hinge * np.reshape(share, (-1, 1)))


def _mouth_fields(grid: SkinGrid, front: Array) -> dict[str, Array]:
    """Displacements for jaw, lips, width, protrusion and tuck; jaw and lips move the lip's middle by 1."""
    x = grid.points[:, 0]
    dy = grid.row - MOUTH_Y
    lower = grid.band == 2
    arc = _mouth_arc(x) ** 0.7 * front
    general = ramp(dy, -0.26, 0.30) * ramp(np.abs(grid.theta), 1.75, 0.75)
    near_below, near_above = ramp(dy, 0.34, 0.0), ramp(dy, -0.20, 0.0)
    share = np.where(lower, general + (1 - general) * arc * near_below, general * (1 - arc * near_above))
    radius = np.hypot(x, 1.15 * dy)
    around = np.exp(-((radius / 0.40) ** 3)) * front
    lips = np.exp(-((radius / 0.31) ** 4)) * front
    middle = np.exp(-((x / 0.20) ** 2)) * front
    red = np.where(lower, ramp(dy, 0.17, 0.02), 0.0)
    zero = 0 * x
    forward = -(0.10 * lips + 0.03 * around) * (0.45 + 0.55 * middle)
    return {
        "jaw": jaw_field(grid.points, share=share),
        "upper_lip": np.stack([zero, -arc * ramp(dy, -0.19, -0.02), zero], 1) * ~lower[:, None],
        "lower_lip": (arc * ramp(dy, 0.26, 0.02) * lower)[:, None] * np.array([0, 1.0, 0.25]),
        "wide": np.stack([x * around, zero, 0.35 * np.abs(x) * around], 1),
        "protrude": np.stack([zero, 0.25 * dy * lips, forward], 1),
        "tuck": np.stack([zero, -0.035 * arc * red, 0.075 * arc * red], 1),
    }


def _eye_fields(grid: SkinGrid, front: Array) -> dict[str, Array]:
    """Displacements that close the lids (they stand open at rest) and that raise the brows."""
    x, row = grid.points[:, 0], grid.row
    upper, lower = eye_shape(x)
    zero = 0 * x
    above = np.where(grid.band == 0, np.clip(1 + row / 0.19, 0, 1) ** 1.6, 0)
    below = np.where(grid.band == 1, np.clip(1 - row / 0.16, 0, 1) ** 1.6, 0)
    closed = 0.022 * np.minimum(upper, lower)
    closing = front * ((UPPER_LID * upper + closed) * above - (LOWER_LID * lower - closed) * below)
    brows = -front * hills(x, row, at=(0.33, -0.22), size=(0.30, 0.13)) * ramp(row, -0.02, -0.14)
    return {"blink": np.stack([zero, closing, zero], 1), "brows": np.stack([zero, brows, zero], 1)}


def off_eyeballs(points: Array) -> Array:
    """Bring skin that would lie inside an eyeball forward to just before it."""
    result = points.copy()
    for side in (-1.0, 1.0):
        away = points - np.array([side * EYE_X, EYE_Y, EYE_Z])
        room = np.clip((1.05 * EYE_RADIUS) ** 2 - away[:, 0] ** 2 - away[:, 1] ** 2, 0, None)
        inside = (room > 0) & (away[:, 2] < 0)
        result[inside, 2] = np.minimum(points[inside, 2], EYE_Z - np.sqrt(room[inside]))
    return result
