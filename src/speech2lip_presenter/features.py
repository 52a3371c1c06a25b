"""The presenter's eyes, teeth, tongue, mouth cavity, ears, hair, neck and clothes."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

from speech2lip.conventions import Array
from speech2lip_presenter import face, skull
from speech2lip_presenter.parts import CLOTH, EYE, HAIR, MOUTH, SKIN, TEETH, Part, grid_faces, outward, ramp

# Places in the atlas, in pixels: x, y of the corner, width, height.
HAIR_PATCH = (768, 0, 384, 384)
EYE_PATCH = (768, 384, 192, 192)
TEETH_PATCH = (960, 384, 192, 192)
CLOTH_PATCH = (768, 576, 192, 192)
TONGUE_PATCH = (960, 576, 96, 192)
CAVITY_PATCH = (1056, 576, 96, 192)
ATLAS = (768, 1152)


def patch_uv(u: Array, v: Array, *, patch: tuple[int, int, int, int]) -> Array:
    """Turn u, v in [0, 1] into atlas pixels, keeping off the border of the patch."""
    x, y, width, height = patch
    uv: Array = np.stack([x + 1.5 + u * (width - 4), y + 1.5 + v * (height - 4)], -1)
    return uv.reshape(-1, 2)


def grid(rows: int, columns: int) -> tuple[Array, Array]:
    """Return u (across) and v (down) in [0, 1] of a grid, each [rows, columns]."""
    v, u = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
    return u, v


def jaw_field(points: Array, *, share: float | Array = 1.0) -> Array:
    """How points fixed to the jaw move, for one unit of opening."""
    turn = (
        np.stack([0 * points[:, 0], -(points[:, 2] - face.HINGE[2]), points[:, 1] - face.HINGE[1]], 1) / 1.05
    )
    return np.asarray(turn * np.reshape(share, (-1, 1)))


def _part(name: str, material: int, points: Array, uv: Array, *, centre: Array, inward: bool = False) -> Part:
    rows, columns = points.shape[:2]
    index = np.arange(rows * columns, dtype=np.intp).reshape(rows, columns)
    flat = points.reshape(-1, 3)
    faces = outward(flat, grid_faces(index), centre=centre)
    return Part(name, material, flat, np.ascontiguousarray(faces[:, ::-1]) if inward else faces, uv)


def eyeball(side: int) -> Part:
    """One eyeball, looking straight ahead; the pole of its grid is the middle of the pupil."""
    u, v = grid(24, 40)
    polar, around = v**1.1 * 1.75, u * 2 * np.pi
    centre = np.array([side * skull.EYE_X, skull.EYE_Y, skull.EYE_Z])
    radius = skull.EYE_RADIUS * (1 + 0.035 * np.exp(-((polar / 0.42) ** 4)))
    shape = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), -np.cos(polar)], -1)
    flat = np.stack([0.5 + polar / 3.6 * np.cos(around), 0.5 + polar / 3.6 * np.sin(around)], -1)
    uv = patch_uv(flat[..., 0], flat[..., 1], patch=EYE_PATCH)
    return _part(f"eye{side:+d}", EYE, centre + radius[..., None] * shape, uv, centre=centre)


def lining(side: int) -> Part:
    """The pink behind the corners of an eye, so that one cannot look past the eyeball."""
    u, v = grid(3, 9)
    x = 0.150 + 0.375 * u
    points = np.stack([side * x, (v - 0.5) * 0.20, -0.70 + 0.04 * u], -1)
    part = _part(f"lining{side:+d}", EYE, points, patch_uv(0.04 + 0.1 * u, 0.04 + 0.1 * v, patch=EYE_PATCH),
                 centre=np.array([side * 0.3, 0.0, 0.0]))  # fmt: skip
    part.shade = np.full(len(part.vertices), 0.55)
    return part


def teeth(*, upper: bool) -> Part:
    """One row of teeth with its gum, along an arch; the lower one is fixed to the jaw."""
    u, v = grid(9, 121)
    arch = 2 * u - 1
    x = (0.235 if upper else 0.215) * np.sin(arch * 1.45) / np.sin(1.45)
    z = (-0.975 if upper else -0.915) + 0.42 * (1 - np.cos(arch * 1.45))
    # width of each tooth along the arch, from the middle outwards
    widths = (0, 0.20, 0.16, 0.17, 0.16, 0.16, 0.2) if upper else (0, 0.13, 0.14, 0.16, 0.17, 0.18, 0.25)
    edges = np.cumsum(widths)
    which = np.clip(np.searchsorted(edges, np.abs(arch), side="right") - 1, 0, 5)
    within = (np.abs(arch) - edges[which]) / (edges[which + 1] - edges[which]) * 2 - 1
    dome = np.clip(1 - within**2, 0, 1) ** 0.5
    z = z - 0.022 * dome * ramp(v, 0.15, 0.5)
    length = (0.011 * dome - 0.007 * (which == 1) + 0.002 * (which == 2)) if upper else 0.007 * dome
    z = z + 0.05 * ramp(v, 0.92, 1.0) + (0.0 if upper else 0.07) * ramp(v, 0.5, 0.0)
    reach = np.minimum(v / 0.9, 1.0)
    y = 0.60 + (0.176 + length - 0.6 * ramp(np.abs(arch), 0.5, 1.2) * 0.06) * reach if upper else \
        0.965 - (0.155 + length - 0.03 * ramp(np.abs(arch), 0.4, 1.0)) * reach  # fmt: skip
    part = _part("teeth_upper" if upper else "teeth_lower", TEETH, np.stack([x, y, z], -1),
                 patch_uv(u, v * 0.48 + (0.0 if upper else 0.51), patch=TEETH_PATCH),
                 centre=np.array([0, 0.77, -0.55]))  # fmt: skip
    part.shade = (ramp(np.abs(arch), 1.25, 0.25) * (0.55 + 0.45 * ramp(v, 0.0, 0.6))).ravel()
    if not upper:
        part.fields = {"jaw": jaw_field(part.vertices)}
    return part


def tongue() -> Part:
    """The tongue, which rides on the jaw and lifts its tip."""
    u, v = grid(20, 24)
    around, polar = u * 2 * np.pi, v * np.pi
    centre = np.array([0.0, 0.90, -0.68])
    x = 0.175 * np.sin(polar) * np.cos(around)
    y = 0.075 * np.sin(polar) * np.sin(around)
    y = y + 0.02 * np.exp(-((x / 0.03) ** 2)) * (np.sin(around) < 0) * np.sin(polar)
    points = centre + np.stack([x, y, -0.23 * np.cos(polar)], -1)
    part = _part("tongue", MOUTH, points, patch_uv(u, v, patch=TONGUE_PATCH), centre=centre)
    tip = ramp(part.vertices[:, 2], -0.60, -0.86)
    part.fields = {
        "jaw": jaw_field(part.vertices, share=0.85),
        "tongue": np.stack([0 * tip, -0.02 - 0.10 * tip, -0.07 - 0.03 * tip], 1),
    }
    part.shade = 0.25 + 0.65 * ramp(part.vertices[:, 2], -0.55, -0.92)
    return part


def cavity() -> Part:
    """The dark inside of the mouth, seen from within."""
    u, v = grid(16, 32)
    around = u * 2 * np.pi
    round_off = np.sqrt(np.clip(1 - v**3, 0, 1)) * (1 + 0.25 * np.sin(np.pi * v))
    x = 0.36 * round_off * np.cos(around)
    rim = 0.7 * x**2 * (1 - v)
    points = np.stack([x, 0.79 + 0.23 * round_off * np.sin(around), -0.81 + rim + 0.50 * v], -1)
    centre = np.array([0.0, 0.79, -0.55])
    part = _part("cavity", MOUTH, points, patch_uv(u, v, patch=CAVITY_PATCH), centre=centre, inward=True)
    part.fields = {"jaw": jaw_field(part.vertices, share=ramp(part.vertices[:, 1], 0.70, 0.95))}
    part.shade = 0.10 + 0.30 * ramp(part.vertices[:, 2], -0.5, -0.85)
    return part


def ear(side: int) -> Part:
    """One ear: a dish with a rim, a hollow and a lobe."""
    u, v = grid(15, 40)
    around, rho = u * 2 * np.pi, v
    lobe = ramp(np.sin(around), 0.2, 1.0)
    back = rho * np.cos(around) * (0.165 - 0.045 * lobe) + 0.045 * rho * (1 - lobe) * 0.5
    down = rho * np.sin(around) * 0.31
    rim = np.exp(-(((rho - 0.86) / 0.12) ** 2)) * (0.05 + 0.95 * ramp(np.cos(around) - 0.5 * lobe, -0.7, 0.2))
    ridge = (
        np.exp(-(((rho - 0.56) / 0.13) ** 2))
        * ramp(np.cos(around), -0.2, 0.7)
        * ramp(np.sin(around), 0.9, 0.2)
    )
    hollow = np.exp(-(((back + 0.03) / 0.075) ** 2) - ((down - 0.03) / 0.10) ** 2)
    out = 0.065 * rim + 0.045 * ridge - 0.085 * hollow + 0.012 * lobe * rho - 0.10 * ramp(rho, 0.93, 1.0)
    out = out + 0.55 * (back + 0.12)
    centre = np.array([side * 0.760, 0.24, 0.06])
    points = centre + np.stack([side * out, down - 0.10 * back, back + 0.12 * down], -1)
    skin = np.array([0.335 if side < 0 else 0.665, 0.56]) * (face.TEXTURE - 1)
    uv = np.stack([skin[0] + 20 * (u - 0.5), skin[1] + 20 * (v - 0.5)], -1).reshape(-1, 2)
    return _part(f"ear{side:+d}", SKIN, points, uv, centre=centre - np.array([side * 0.3, 0, 0]))


HAIRLINE = PchipInterpolator(
    np.radians([-180, -128, -112, -100, -84, -76, -68, -62, -56, -48, -38, -28, -14, 0,
                14, 28, 38, 48, 56, 62, 68, 76, 84, 100, 112, 128, 180]),
    [0.86, 0.72, 0.25, -0.02, -0.06, 0.10, 0.14, -0.08, -0.36, -0.62, -0.79, -0.80, -0.75, -0.72,
     -0.75, -0.80, -0.79, -0.62, -0.36, -0.08, 0.14, 0.10, -0.06, -0.02, 0.25, 0.72, 0.86],
)  # fmt: skip


def hair(seed: int = 5) -> Part:
    """Short hair: a shell over the scalp, thicker on top, parted at one side."""
    u, v = grid(56, 180)
    theta = (u * 2 - 1) * np.pi
    end = HAIRLINE(theta) + 0.008 * np.sin(theta * 23) + 0.007 * np.sin(theta * 37 + 1)
    row = skull.CROWN_Y + (end + 0.05 - skull.CROWN_Y) * v
    points = skull.base_surface(theta, row)
    away = points - np.array([0.0, -0.25, 0.05])
    away /= np.linalg.norm(away, axis=-1, keepdims=True)
    top = ramp(row, 0.0, -0.85)
    front = ramp(np.abs(theta), 1.2, 0.4)
    part = (
        np.exp(-(((points[..., 0] - 0.33) / 0.035) ** 2))
        * ramp(points[..., 2], 0.25, -0.2)
        * ramp(row, -0.6, -0.8)
    )
    thick = 0.045 + 0.10 * top + 0.07 * front * top * ramp(points[..., 0], 0.4, -0.1)
    rng = np.random.default_rng(seed)
    for _ in range(14):
        turn, along, phase = rng.uniform(5, 30), rng.uniform(1, 7), rng.uniform(0, 6.28)
        thick = thick + 0.0035 * np.sin(theta * turn + along * row * 2 + phase)
    thick = (
        thick * ramp(end - row, -0.06, 0.16 + 0.26 * front) ** 0.8
        - 0.03 * part
        - 0.035 * ramp(end - row, 0.03, -0.05)
    )
    points = points + away * thick[..., None]
    return _part("hair", HAIR, points, patch_uv(u, v, patch=HAIR_PATCH), centre=np.array([0.0, -0.2, 0.0]))


_BUST = np.array([
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


def bust(*, cloth: bool) -> Part:
    """Neck and shoulders, or the jumper over them; the upper neck follows the head."""
    u, v = grid(44, 64)
    theta = (u * 2 - 1) * np.pi
    front = np.cos(theta) * 0.5 + 0.5
    height = (1.43 + 1.5 * v**1.3 + 0.20 * front * (1 - v)) if cloth else 0.55 + 1.75 * v
    half, deep, centre = np.moveaxis(_BUST_SHAPE(height), -1, 0)
    square = 1 + 0.10 * np.abs(np.sin(2 * theta)) * ramp(height, 1.6, 2.0)
    collar = np.zeros_like(v)
    if cloth:
        collar = 0.050 * np.clip(1 - ((v - 0.035) / 0.035) ** 2, 0, None) ** 0.5 + 0.025
        collar = collar - 0.06 * (v == 0)
    x = (half + collar) * np.sin(theta) * square
    z = centre - (deep + collar) * np.cos(theta) * square
    if not cloth:
        # two muscles that meet at the pit of the neck
        cord = np.abs(x) - 0.08 - 0.30 * (1.58 - height)
        z = z - 0.022 * np.exp(-((cord / 0.06) ** 2)) * ramp(height, 0.9, 1.2) * (np.cos(theta) > 0)
        z = z + 0.035 * np.exp(-((x / 0.06) ** 2) - ((height - 1.62) / 0.06) ** 2) * (np.cos(theta) > 0)
    uv = patch_uv(u, v, patch=CLOTH_PATCH) if cloth else \
        np.stack([(0.30 + 0.40 * u) * 767, (0.965 + 0.02 * v) * 767], -1).reshape(-1, 2)  # fmt: skip
    part = _part("jumper" if cloth else "neck", CLOTH if cloth else SKIN, np.stack([x, height, z], -1), uv,
                 centre=np.array([0.0, 2.0 if cloth else 1.2, 0.3]))  # fmt: skip
    part.head_weight = ramp(part.vertices[:, 1], 1.60, 0.95)
    return part


def build_features() -> list[Part]:
    """Everything but the skin of the head."""
    return [eyeball(-1), eyeball(1), lining(-1), lining(1), teeth(upper=True), teeth(upper=False),
            tongue(), cavity(), ear(-1), ear(1), hair(), bust(cloth=False), bust(cloth=True)]  # fmt: skip
