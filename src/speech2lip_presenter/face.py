"""The presenter's skin: one mesh with openings for mouth and eyes, and the ways in which it moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech2lip.conventions import Array
from speech2lip_presenter import skull
from speech2lip_presenter.parts import SKIN, Part, grid_faces, mirrored, outward, ramp
from speech2lip_presenter.skull import (
    EYE_INNER,
    EYE_OUTER,
    EYE_RADIUS,
    EYE_X,
    EYE_Y,
    EYE_Z,
    MOUTH_HALF,
    MOUTH_Y,
)

TEXTURE = 768
"""Side of the skin's square in the atlas, in pixels."""

HINGE = np.array([0.0, 0.30, 0.0])
"""A point on the axis about which the jaw turns."""

UPPER_LID, LOWER_LID = 0.056, 0.044
"""How far the open lids stand from the line between the corners of the eye."""

_INSIDE_UP = np.array([0, -0.005, 0.010, 0.05, 0.11, 0.16])
_INSIDE_BACK = np.array([0, 0.022, 0.055, 0.10, 0.16, 0.24])
"""Rows inside the lips: how far away from the opening, and how far behind the edge, they lie."""


@dataclass
class Sheet:
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


def columns() -> Array:
    """Angles of the columns, densest in front, once round from the back of the head."""
    front = np.arcsin(np.linspace(0, 0.62, 51) / 0.76)
    side = np.linspace(front[-1], 1.9, 18)[1:]
    back = np.linspace(1.9, np.pi, 9)[1:]
    half = np.concatenate([front, side, back])
    return np.concatenate([-half[:0:-1], half])


def bands() -> list[tuple[Array, Array]]:
    """Rows above the eyes, between eyes and mouth, and below; each with how far inside an opening it is."""
    above = np.concatenate([np.linspace(skull.CROWN_Y, -0.36, 17)[:-1], np.linspace(-0.36, -0.12, 9)[:-1],
                            np.linspace(-0.12, 0, 13)])  # fmt: skip
    middle = np.concatenate([np.linspace(0, 0.1, 10)[:-1], np.linspace(0.1, 0.38, 11)[:-1],
                             np.linspace(0.38, 0.56, 17)[:-1], np.linspace(0.56, 0.66, 6)[:-1],
                             np.linspace(0.66, MOUTH_Y, 12)])  # fmt: skip
    below = np.concatenate([np.linspace(MOUTH_Y, 0.89, 13)[:-1], np.linspace(0.89, 1.22, 14)[:-1],
                            np.linspace(1.22, skull.ROW_END, 9)])  # fmt: skip
    lips = np.arange(1.0, 6.0)
    return [
        (np.append(above, 0.0), np.append(0 * above, -1.0)),
        (np.concatenate([[0.0], middle, 0 * lips + MOUTH_Y]), np.concatenate([[-1.0], 0 * middle, lips])),
        (np.concatenate([0 * lips + MOUTH_Y, below]), np.concatenate([lips[::-1], 0 * below])),
    ]


def build_sheet() -> Sheet:
    """Lay the three bands out as grids and join them everywhere but along the openings."""
    theta = columns()
    x_eye = np.abs(skull.face_surface(theta, 0 * theta)[:, 0])
    x_mouth = np.abs(skull.face_surface(theta, 0 * theta + MOUTH_Y)[:, 0])
    front = np.abs(theta) < 1.2
    open_at = {0: front & (x_eye > EYE_INNER) & (x_eye < EYE_OUTER), 1: front & (x_mouth < MOUTH_HALF)}
    u = np.arange(len(theta)) * (TEXTURE - 1) / (len(theta) - 1)
    lines = sum(int((inside == 0).sum()) for _, inside in bands())
    line = first = 0
    parts: list[tuple[Array, ...]] = []
    faces: list[NDArray[np.int32]] = []
    seam = np.zeros(0, np.intp)
    for b, (rows, inside) in enumerate(bands()):
        index = first + np.arange(len(rows) * len(theta), dtype=np.intp).reshape(len(rows), len(theta))
        first += index.size
        true = np.flatnonzero(inside == 0)
        v = np.interp(np.arange(len(rows)), true, line + np.arange(len(true))) * (TEXTURE - 1) / (lines - 1)
        line += len(true)
        parts.append(tuple(np.broadcast_to(a, index.shape).ravel() for a in
                           (theta, rows[:, None], b, inside[:, None], u, v[:, None])))  # fmt: skip
        if b > 0:
            index[true[0]] = np.where(open_at[b - 1], index[true[0]], seam)
        seam = index[true[-1]]
        faces.append(grid_faces(index[true]))
        if b < 2:
            faces += _opening_faces(index[true[-1] :], open_at[b])
        if b > 0:
            faces += _opening_faces(index[: true[0] + 1], open_at[b - 1])
    all_theta, row, band, level, all_u, all_v = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    joined = np.concatenate(faces)
    used, renumbered = np.unique(joined, return_inverse=True)
    points = skull.face_surface(all_theta[used], row[used])
    uv = np.stack([all_u[used], all_v[used]], 1)
    return Sheet(
        all_theta[used],
        row[used],
        band[used],
        level[used],
        uv,
        points,
        renumbered.reshape(-1, 3).astype(np.int32),
    )


def _opening_faces(index: NDArray[np.intp], is_open: NDArray[np.bool_]) -> list[NDArray[np.int32]]:
    wide = is_open.copy()
    wide[1:] |= is_open[:-1]
    wide[:-1] |= is_open[1:]
    runs = np.split(np.flatnonzero(wide), np.flatnonzero(np.diff(np.flatnonzero(wide)) > 1) + 1)
    return [grid_faces(index[:, run]) for run in runs]


def eye_shape(x: Array) -> tuple[Array, Array]:
    """How far upper and lower lid stand open at each x, 0 outside the eye, in [0, 1]."""
    t = np.clip((np.abs(x) - EYE_INNER) / (EYE_OUTER - EYE_INNER), 0, 1)
    return np.sin(np.pi * t**0.85) ** 0.75, np.sin(np.pi * t**1.15) ** 0.85


def build_face() -> Part:
    """Build the skin with open lids and closed lips, and all its fields."""
    sheet = build_sheet()
    theta, row = sheet.theta, sheet.row
    points = sheet.points.copy()
    x = points[:, 0]
    front = ramp(np.abs(theta), 1.5, 1.1)
    fields = {**mouth_fields(sheet, front), **eye_fields(sheet, front)}
    level = np.clip(sheet.inside, 0, 5).astype(int)
    side = np.where(sheet.band == 2, 1.0, -1.0)
    arc = np.clip(1 - (x / MOUTH_HALF) ** 2, 0.05, 1) ** 0.5
    points[:, 1] += side * _INSIDE_UP[level] * arc
    points[:, 2] += _INSIDE_BACK[level]
    points -= fields["blink"]
    points[:, 2] += np.where(sheet.inside < 0, 0.05, 0)
    # the line between the lips is a little lower in the middle
    points[:, 1] += 0.008 * np.exp(-((x / 0.06) ** 2)) * np.exp(-(((row - MOUTH_Y) / 0.06) ** 2)) * front
    points = off_eyeballs(points)
    shade = np.ones(len(points))
    shade[level > 0] = np.array([1, 0.8, 0.5, 0.3, 0.2, 0.15])[level[level > 0]]
    faces = outward(points, sheet.faces, centre=np.array([0.0, 0.2, 0.0]))
    return Part("face", SKIN, points, faces, sheet.uv, fields, shade=shade)


def mouth_fields(sheet: Sheet, front: Array) -> dict[str, Array]:
    """Displacements for jaw, lips, width, protrusion and tuck; jaw and lips move the lip's middle by 1."""
    x, y, z = sheet.points.T
    dy = sheet.row - MOUTH_Y
    lower = sheet.band == 2
    arc = np.clip(1 - (x / MOUTH_HALF) ** 2, 0, None) ** 0.7 * front
    general = ramp(dy, -0.26, 0.30) * ramp(np.abs(sheet.theta), 1.75, 0.75)
    near_below, near_above = ramp(dy, 0.34, 0.0), ramp(dy, -0.20, 0.0)
    share = np.where(lower, general + (1 - general) * arc * near_below, general * (1 - arc * near_above))
    turn = np.stack([0 * x, -(z - HINGE[2]), y - HINGE[1]], 1) / 1.05
    radius = np.hypot(x, 1.15 * dy)
    around = np.exp(-((radius / 0.40) ** 3)) * front
    lips = np.exp(-((radius / 0.31) ** 4)) * front
    middle = np.exp(-((x / 0.20) ** 2)) * front
    red = np.where(lower, ramp(dy, 0.17, 0.02), 0.0)
    zero = 0 * x
    forward = -(0.10 * lips + 0.03 * around) * (0.45 + 0.55 * middle)
    return {
        "jaw": share[:, None] * turn,
        "upper_lip": np.stack([zero, -arc * ramp(dy, -0.19, -0.02), zero], 1) * ~lower[:, None],
        "lower_lip": (arc * ramp(dy, 0.26, 0.02) * lower)[:, None] * np.array([0, 1.0, 0.25]),
        "wide": np.stack([x * around, zero, 0.35 * np.abs(x) * around], 1),
        "protrude": np.stack([zero, 0.25 * dy * lips, forward], 1),
        "tuck": np.stack([zero, -0.035 * arc * red, 0.075 * arc * red], 1),
    }


def eye_fields(sheet: Sheet, front: Array) -> dict[str, Array]:
    """Displacements that close the lids (they stand open at rest) and that raise the brows."""
    x, row = sheet.points[:, 0], sheet.row
    upper, lower = eye_shape(x)
    zero = 0 * x
    above = np.where(sheet.band == 0, np.clip(1 + row / 0.19, 0, 1) ** 1.6, 0)
    below = np.where(sheet.band == 1, np.clip(1 - row / 0.16, 0, 1) ** 1.6, 0)
    closed = 0.022 * np.minimum(upper, lower)
    closing = front * ((UPPER_LID * upper + closed) * above - (LOWER_LID * lower - closed) * below)
    brows = -front * mirrored(x, row, at=(0.33, -0.22), size=(0.30, 0.13)) * ramp(row, -0.02, -0.14)
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
