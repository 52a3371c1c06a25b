"""The whole presenter as one mesh that moves: built once, posed for every frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

import speech2lip_presenter.head as head
import speech2lip_presenter.shading as shading
from speech2lip.arrays import Array, Floats
from speech2lip_presenter.head import MOVES, Part, SkinGrid, jaw_field, ramp
from speech2lip_presenter.shading import CLOTH, EYE, HAIR, MOUTH, SKIN, TEETH

# Places in the atlas, in pixels: x, y of the corner, width, height.
HAIR_PATCH = (768, 0, 384, 384)
EYE_PATCH = (768, 384, 192, 192)
TEETH_PATCH = (960, 384, 192, 192)
CLOTH_PATCH = (768, 576, 192, 192)
TONGUE_PATCH = (960, 576, 96, 192)
CAVITY_PATCH = (1056, 576, 96, 192)
ATLAS = (768, 1152)

UPPER_TEETH = np.cumsum([0, 0.20, 0.16, 0.17, 0.16, 0.16, 0.2])
LOWER_TEETH = np.cumsum([0, 0.13, 0.14, 0.16, 0.17, 0.18, 0.25])
"""Edges of the teeth along the arch, from the middle outwards."""

HAIRLINE = PchipInterpolator(
    np.radians([-180, -128, -112, -100, -84, -76, -68, -62, -56, -48, -38, -28, -14, 0,
                14, 28, 38, 48, 56, 62, 68, 76, 84, 100, 112, 128, 180]),
    [0.86, 0.72, 0.25, -0.02, -0.06, 0.10, 0.14, -0.08, -0.36, -0.62, -0.79, -0.80, -0.75, -0.72,
     -0.75, -0.80, -0.79, -0.62, -0.36, -0.08, 0.14, 0.10, -0.06, -0.02, 0.25, 0.72, 0.86],
)  # fmt: skip
"""Row at which the hair ends, by angle."""

_BUST = np.array([
    # height; half width, depth, middle of the depth
    (0.55, 0.20, 0.15, 0.30),
    (0.90, 0.43, 0.42, 0.18),
    (1.20, 0.45, 0.44, 0.20),
    (1.45, 0.49, 0.46, 0.25),
    (1.62, 0.60, 0.50, 0.29),
    (1.78, 0.88, 0.56, 0.32),
    (1.95, 1.32, 0.62, 0.33),
    (2.15, 1.68, 0.68, 0.33),
    (2.45, 1.88, 0.74, 0.33),
    (3.00, 1.92, 0.80, 0.33),
])  # fmt: skip
_BUST_SHAPE = PchipInterpolator(_BUST[:, 0], _BUST[:, 1:])

LANDMARKS = (
    "mouth_left", "mouth_right", "lip_upper_inner", "lip_lower_inner", "lip_upper_outer", "lip_lower_outer",
    "eye_left_outer", "eye_left_inner", "eye_right_inner", "eye_right_outer", "nose_tip", "chin",
)  # fmt: skip
"""Names of the landmarks; left and right are those of the picture."""


@dataclass(frozen=True)
class Model:
    """Vertices [N, 3] in head space (eye units), faces [M, 3], and how they move, are painted and lit."""

    vertices: Floats
    faces: NDArray[np.int32]
    face_material: NDArray[np.int32]
    uv: Floats
    fields: Floats
    """Displacements for one unit of each of `MOVES`, [K, N, 3]."""
    head_weight: Floats
    light: Floats
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


@lru_cache(maxsize=1)
def build_model() -> Model:
    """Join all parts, measure them in eye units, and work out once how much light reaches each place."""
    grid = head.build_grid()
    face = head.build_face(grid)
    parts = [
        face, _eyeball(-1), _eyeball(1), _lining(-1), _lining(1), _teeth(upper=True), _teeth(upper=False),
        _tongue(), _cavity(), _ear(-1), _ear(1), _hair(), _neck(), _jumper(),
    ]  # fmt: skip
    vertices = np.concatenate([part.vertices for part in parts])
    numbers = np.split(np.arange(len(vertices)), np.cumsum([len(part.vertices) for part in parts[:-1]]))
    spans = {part.name: span for part, span in zip(parts, numbers, strict=True)}
    faces = np.concatenate([part.faces + spans[part.name][0] for part in parts]).astype(np.int32)
    fields, weight = np.zeros((len(MOVES), len(vertices), 3)), np.ones(len(vertices))
    for part in parts:
        for name, field in part.fields.items():
            fields[MOVES.index(name), spans[part.name]] = field
        if part.head_weight is not None:
            weight[spans[part.name]] = part.head_weight
    landmarks = _find_landmarks(face, grid)
    corners = vertices[[landmarks["eye_left_outer"], landmarks["eye_right_outer"]]]
    unit, origin = float(np.linalg.norm(corners[1] - corners[0])), corners.mean(0)
    scaled = ((vertices - origin) / unit).astype(np.float32)
    return Model(
        vertices=scaled, faces=faces,
        face_material=np.repeat([p.material for p in parts], [len(p.faces) for p in parts]).astype(np.int32),
        uv=np.concatenate([part.uv for part in parts]).astype(np.float32),
        fields=(fields / unit).astype(np.float32), head_weight=weight.astype(np.float32),
        light=_bake_light(parts, spans, scaled, faces),
        lids=np.flatnonzero(np.abs(fields[MOVES.index("blink")]).sum(1) > 1e-4),
        eyes=(spans["eye-1"], spans["eye+1"]),
        mouth=np.concatenate([spans[name] for name in ("teeth_upper", "teeth_lower", "tongue", "cavity")]),
        landmarks=landmarks, unit=unit, origin=origin,
    )  # fmt: skip


def pose_model(model: Model, moves: dict[str, float], *, gaze: tuple[float, float] = (0.0, 0.0)) -> Floats:
    """Return the vertices [N, 3] in head space for amounts of `MOVES` and a gaze (yaw, pitch in radians)."""
    amounts = np.array([moves.get(name, 0.0) for name in MOVES], np.float32)
    vertices = model.vertices + np.tensordot(amounts, model.fields, axes=1)
    built = vertices[model.lids] * model.unit + model.origin
    vertices[model.lids] = (head.off_eyeballs(built) - model.origin) / model.unit
    turn = rotation(gaze[0], gaze[1], 0.0).astype(np.float32)
    for side, ball in zip((-1, 1), model.eyes, strict=True):
        centre = (np.array([side * head.EYE_X, head.EYE_Y, head.EYE_Z]) - model.origin) / model.unit
        vertices[ball] = (vertices[ball] - centre.astype(np.float32)) @ turn.T + centre.astype(np.float32)
    return vertices


def rotation(yaw: float, pitch: float, roll: float) -> Array:
    """Rotation [3, 3] by yaw (nose to the picture's right), pitch (up), roll (clockwise), in radians."""
    (cy, cp, cr), (sy, sp, sr) = np.cos([yaw, pitch, roll]), np.sin([yaw, pitch, roll])
    about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def _find_landmarks(face: Part, grid: SkinGrid) -> dict[str, int]:
    """Choose the vertex of each landmark on the skin."""
    x, row = grid.points[:, 0], grid.row

    def nearest(at_x: float, at_row: float, *, band: int) -> int:
        wanted = (grid.band == band) & (grid.inside == 0) & (np.abs(grid.theta) < 1.2)
        return int(np.argmin(np.hypot(x - at_x, row - at_row) + 1e3 * ~wanted))

    mouth, corner, middle = head.MOUTH_Y, head.MOUTH_HALF, np.zeros(1)
    upper, lower = float(head.upper_lip_height(middle)[0]), float(head.lower_lip_height(middle)[0])
    front = (np.abs(x) < 0.02) & (np.abs(grid.theta) < 1)
    chin = int(np.argmax(np.where(front & (row < 1.35), face.vertices[:, 1], -9)))
    tip = int(np.argmin(np.where(front & (np.abs(row - 0.42) < 0.03), face.vertices[:, 2], 9)))
    at = [
        nearest(-corner, mouth, band=1), nearest(corner, mouth, band=1), nearest(0, mouth, band=1),
        nearest(0, mouth, band=2), nearest(0, mouth - upper, band=1), nearest(0, mouth + lower, band=2),
        nearest(-head.EYE_OUTER, 0, band=0), nearest(-head.EYE_INNER, 0, band=0),
        nearest(head.EYE_INNER, 0, band=0), nearest(head.EYE_OUTER, 0, band=0), tip, chin,
    ]  # fmt: skip
    return dict(zip(LANDMARKS, at, strict=True))


def _bake_light(
    parts: list[Part], spans: dict[str, NDArray[np.intp]], vertices: Floats, faces: NDArray[np.int32]
) -> Floats:
    """Share of the sky and of the soft key light that each vertex sees at rest, [N, 2] in [0, 1]."""
    outside = np.concatenate([np.full(len(p.faces), p.shade is None or p.name == "face") for p in parts])
    normals = shading.vertex_normals(vertices, faces)
    i = np.arange(72) + 0.5  # directions spread evenly over the sphere
    y, turn = 1 - 2 * i / 72, i * np.pi * (3 - np.sqrt(5))
    side = np.sqrt(1 - y * y)
    sky = np.stack([side * np.cos(turn), y, side * np.sin(turn)], 1)
    ambient = shading.visible_share(vertices, normals, faces[outside], directions=sky, power=1.0)
    key = np.array(shading.KEY, np.float32)
    cone = key / np.linalg.norm(key) + 0.22 * np.random.default_rng(1).standard_normal((24, 3))
    keyed = shading.visible_share(vertices, normals, faces[outside], directions=cone, power=0.0)
    light = np.stack([0.10 + 0.90 * ambient**1.25, 0.06 + 0.94 * keyed], 1)
    for part in parts:
        here, height = spans[part.name], part.vertices[:, 1:2]
        if part.shade is not None:
            closed = part.shade < 1 if part.name == "face" else np.ones(len(part.shade), np.bool_)
            light[here[closed]] = part.shade[closed, None]
        if part.name == "neck":
            # the chin's shadow lies softer and wider than at rest, because the head moves
            light[here] *= 0.45 + 0.55 * ramp(height, 1.05, 1.60)
        if "blink" in part.fields:
            # lids and sockets glow with light from the cheeks, which is not traced
            near = np.abs(part.fields["blink"]).sum(1) > 1e-3
            light[here[near]] = 0.40 + 0.60 * light[here[near]]
        if part.material == EYE:
            light[here] = 0.25 + 0.75 * np.clip((height + 0.085) / 0.07, 0, 1)
    return light.astype(np.float32)


def _grid(rows: int, columns: int) -> tuple[Array, Array]:
    """Return u (across) and v (down) in [0, 1] of a grid, each [rows, columns]."""
    v, u = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
    return u, v


def _patch_uv(u: Array, v: Array, *, patch: tuple[int, int, int, int]) -> Array:
    """Turn u, v in [0, 1] into atlas pixels, keeping off the border of the patch."""
    x, y, width, height = patch
    return np.stack([x + 1.5 + u * (width - 4), y + 1.5 + v * (height - 4)], -1)


def _part(name: str, material: int, points: Array, uv: Array, *, centre: Array, inward: bool = False) -> Part:
    """Make a part of a grid of points and uv, [rows, columns, ...], that faces away from its centre."""
    index = np.arange(points[..., 0].size, dtype=np.intp).reshape(points.shape[:2])
    flat = points.reshape(-1, 3)
    faces = head.outward(flat, head.grid_faces(index), centre=centre)
    faces = np.ascontiguousarray(faces[:, ::-1]) if inward else faces
    return Part(name, material, flat, faces, uv.reshape(-1, 2))


def _eyeball(side: int) -> Part:
    """One eyeball, looking straight ahead; the pole of its grid is the middle of the pupil."""
    u, v = _grid(24, 40)
    polar, around = v**1.1 * 1.75, u * 2 * np.pi
    centre = np.array([side * head.EYE_X, head.EYE_Y, head.EYE_Z])
    radius = head.EYE_RADIUS * (1 + 0.035 * np.exp(-((polar / 0.42) ** 4)))
    shape = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), -np.cos(polar)], -1)
    uv = _patch_uv(0.5 + polar / 3.6 * np.cos(around), 0.5 + polar / 3.6 * np.sin(around), patch=EYE_PATCH)
    return _part(f"eye{side:+d}", EYE, centre + radius[..., None] * shape, uv, centre=centre)


def _lining(side: int) -> Part:
    """The pink behind the corners of an eye, so that one cannot look past the eyeball."""
    u, v = _grid(3, 9)
    points = np.stack([side * (0.150 + 0.375 * u), (v - 0.5) * 0.20, -0.70 + 0.04 * u], -1)
    uv = _patch_uv(0.04 + 0.1 * u, 0.04 + 0.1 * v, patch=EYE_PATCH)
    part = _part(f"lining{side:+d}", EYE, points, uv, centre=np.array([side * 0.3, 0.0, 0.0]))
    part.shade = np.full(len(part.vertices), 0.55)
    return part


def _teeth(*, upper: bool) -> Part:
    """One row of teeth with its gum, along an arch; the lower one is fixed to the jaw."""
    u, v = _grid(9, 121)
    arch = 2 * u - 1
    x = (0.235 if upper else 0.215) * np.sin(arch * 1.45) / np.sin(1.45)
    z = (-0.975 if upper else -0.915) + 0.42 * (1 - np.cos(arch * 1.45))
    edges = UPPER_TEETH if upper else LOWER_TEETH
    which = np.clip(np.searchsorted(edges, np.abs(arch), side="right") - 1, 0, 5)
    within = (np.abs(arch) - edges[which]) / (edges[which + 1] - edges[which]) * 2 - 1
    dome = np.clip(1 - within**2, 0, 1) ** 0.5
    z = z - 0.022 * dome * ramp(v, 0.15, 0.5)
    z = z + 0.05 * ramp(v, 0.92, 1.0) + (0.0 if upper else 0.07) * ramp(v, 0.5, 0.0)
    down = np.minimum(v / 0.9, 1.0)
    if upper:
        length = 0.011 * dome - 0.007 * (which == 1) + 0.002 * (which == 2)
        y = 0.60 + (0.176 + length - 0.6 * ramp(np.abs(arch), 0.5, 1.2) * 0.06) * down
    else:
        y = 0.965 - (0.155 + 0.007 * dome - 0.03 * ramp(np.abs(arch), 0.4, 1.0)) * down
    uv = _patch_uv(u, v * 0.48 + (0.0 if upper else 0.51), patch=TEETH_PATCH)
    name = "teeth_upper" if upper else "teeth_lower"
    part = _part(name, TEETH, np.stack([x, y, z], -1), uv, centre=np.array([0, 0.77, -0.55]))
    part.shade = (ramp(np.abs(arch), 1.25, 0.25) * (0.55 + 0.45 * ramp(v, 0.0, 0.6))).ravel()
    part.fields = {} if upper else {"jaw": jaw_field(part.vertices)}
    return part


def _tongue() -> Part:
    """The tongue, which rides on the jaw and lifts its tip."""
    u, v = _grid(20, 24)
    around, polar = u * 2 * np.pi, v * np.pi
    centre = np.array([0.0, 0.90, -0.68])
    x = 0.175 * np.sin(polar) * np.cos(around)
    y = 0.075 * np.sin(polar) * np.sin(around)
    y = y + 0.02 * np.exp(-((x / 0.03) ** 2)) * (np.sin(around) < 0) * np.sin(polar)
    points = centre + np.stack([x, y, -0.23 * np.cos(polar)], -1)
    part = _part("tongue", MOUTH, points, _patch_uv(u, v, patch=TONGUE_PATCH), centre=centre)
    tip = ramp(part.vertices[:, 2], -0.60, -0.86)
    part.fields = {
        "jaw": jaw_field(part.vertices, share=0.85),
        "tongue": np.stack([0 * tip, -0.02 - 0.10 * tip, -0.07 - 0.03 * tip], 1),
    }
    part.shade = 0.25 + 0.65 * ramp(part.vertices[:, 2], -0.55, -0.92)
    return part


def _cavity() -> Part:
    """The dark inside of the mouth, seen from within."""
    u, v = _grid(16, 32)
    around = u * 2 * np.pi
    round_off = np.sqrt(np.clip(1 - v**3, 0, 1)) * (1 + 0.25 * np.sin(np.pi * v))
    x = 0.36 * round_off * np.cos(around)
    rim = 0.7 * x**2 * (1 - v)
    points = np.stack([x, 0.79 + 0.23 * round_off * np.sin(around), -0.81 + rim + 0.50 * v], -1)
    centre, uv = np.array([0.0, 0.79, -0.55]), _patch_uv(u, v, patch=CAVITY_PATCH)
    part = _part("cavity", MOUTH, points, uv, centre=centre, inward=True)
    part.fields = {"jaw": jaw_field(part.vertices, share=ramp(part.vertices[:, 1], 0.70, 0.95))}
    part.shade = 0.10 + 0.30 * ramp(part.vertices[:, 2], -0.5, -0.85)
    return part


def _ear(side: int) -> Part:
    """One ear: a dish with a rim, a hollow and a lobe."""
    u, rho = _grid(15, 40)
    cosine, sine = np.cos(u * 2 * np.pi), np.sin(u * 2 * np.pi)
    lobe = ramp(sine, 0.2, 1.0)
    back = rho * cosine * (0.165 - 0.045 * lobe) + 0.045 * rho * (1 - lobe) * 0.5
    down = rho * sine * 0.31
    rim = np.exp(-(((rho - 0.86) / 0.12) ** 2)) * (0.05 + 0.95 * ramp(cosine - 0.5 * lobe, -0.7, 0.2))
    ridge = np.exp(-(((rho - 0.56) / 0.13) ** 2)) * ramp(cosine, -0.2, 0.7) * ramp(sine, 0.9, 0.2)
    hollow = np.exp(-(((back + 0.03) / 0.075) ** 2) - ((down - 0.03) / 0.10) ** 2)
    out = 0.065 * rim + 0.045 * ridge - 0.085 * hollow + 0.012 * lobe * rho - 0.10 * ramp(rho, 0.93, 1.0)
    out = out + 0.55 * (back + 0.12)
    centre = np.array([side * 0.760, 0.24, 0.06])
    points = centre + np.stack([side * out, down - 0.10 * back, back + 0.12 * down], -1)
    skin = np.array([0.335 if side < 0 else 0.665, 0.56]) * (head.SKIN_TEXELS - 1)
    uv = np.stack([skin[0] + 20 * (u - 0.5), skin[1] + 20 * (rho - 0.5)], -1)
    return _part(f"ear{side:+d}", SKIN, points, uv, centre=centre - np.array([side * 0.3, 0, 0]))


def _hair() -> Part:
    """Short hair: a shell over the scalp, thicker on top, parted at one side."""
    u, v = _grid(56, 180)
    theta = (u * 2 - 1) * np.pi
    end = HAIRLINE(theta) + 0.008 * np.sin(theta * 23) + 0.007 * np.sin(theta * 37 + 1)
    row = head.CROWN_Y + (end + 0.05 - head.CROWN_Y) * v
    points = head.base_surface(theta, row)
    x, z = points[..., 0], points[..., 2]
    away = points - np.array([0.0, -0.25, 0.05])
    away /= np.linalg.norm(away, axis=-1, keepdims=True)
    top, front = ramp(row, 0.0, -0.85), ramp(np.abs(theta), 1.2, 0.4)
    parting = np.exp(-(((x - 0.33) / 0.035) ** 2)) * ramp(z, 0.25, -0.2) * ramp(row, -0.6, -0.8)
    thick = 0.045 + 0.10 * top + 0.07 * front * top * ramp(x, 0.4, -0.1)
    rng = np.random.default_rng(5)
    for _ in range(14):
        turn, along, phase = rng.uniform(5, 30), rng.uniform(1, 7), rng.uniform(0, 6.28)
        thick = thick + 0.0035 * np.sin(theta * turn + along * row * 2 + phase)
    thick = thick * ramp(end - row, -0.06, 0.16 + 0.26 * front) ** 0.8
    thick = thick - 0.03 * parting - 0.035 * ramp(end - row, 0.03, -0.05)
    points = points + away * thick[..., None]
    return _part("hair", HAIR, points, _patch_uv(u, v, patch=HAIR_PATCH), centre=np.array([0.0, -0.2, 0.0]))


def _neck() -> Part:
    """Neck and shoulders under the jumper, with two muscles that meet at the pit of the neck."""
    u, v = _grid(44, 64)
    theta, height = (u * 2 - 1) * np.pi, 0.55 + 1.75 * v
    x, z = _bust(theta, height)
    in_front, cord = np.cos(theta) > 0, np.abs(x) - 0.08 - 0.30 * (1.58 - height)
    z = z - 0.022 * np.exp(-((cord / 0.06) ** 2)) * ramp(height, 0.9, 1.2) * in_front
    z = z + 0.035 * np.exp(-((x / 0.06) ** 2) - ((height - 1.62) / 0.06) ** 2) * in_front
    uv = np.stack([(0.30 + 0.40 * u) * 767, (0.965 + 0.02 * v) * 767], -1)
    part = _part("neck", SKIN, np.stack([x, height, z], -1), uv, centre=np.array([0.0, 1.2, 0.3]))
    part.head_weight = ramp(part.vertices[:, 1], 1.60, 0.95)
    return part


def _jumper() -> Part:
    """The jumper, with a collar; at the neck it follows the head."""
    u, v = _grid(44, 64)
    theta = (u * 2 - 1) * np.pi
    height = 1.43 + 1.5 * v**1.3 + 0.20 * (np.cos(theta) * 0.5 + 0.5) * (1 - v)
    collar = 0.050 * np.clip(1 - ((v - 0.035) / 0.035) ** 2, 0, None) ** 0.5 + 0.025 - 0.06 * (v == 0)
    x, z = _bust(theta, height, wider=collar)
    points, uv = np.stack([x, height, z], -1), _patch_uv(u, v, patch=CLOTH_PATCH)
    part = _part("jumper", CLOTH, points, uv, centre=np.array([0.0, 2.0, 0.3]))
    part.head_weight = ramp(part.vertices[:, 1], 1.60, 0.95)
    return part


def _bust(theta: Array, height: Array, *, wider: Array | float = 0.0) -> tuple[Array, Array]:
    """Return x and z of neck and shoulders at each angle and height; what lies on them is `wider`."""
    half, deep, centre = np.moveaxis(_BUST_SHAPE(height), -1, 0)
    square = 1 + 0.10 * np.abs(np.sin(2 * theta)) * ramp(height, 1.6, 2.0)
    return (half + wider) * np.sin(theta) * square, centre - (deep + wider) * np.cos(theta) * square
