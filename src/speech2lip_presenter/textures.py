"""The presenter's painted surfaces: skin, brows, lips, hair, iris, teeth and cloth, in one atlas."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

import speech2lip_presenter.head as head
import speech2lip_presenter.model as model
from speech2lip.arrays import Array
from speech2lip_presenter.head import SKIN_TEXELS, hills, ramp


def linear(red: float, green: float, blue: float) -> Array:
    """Turn a screen colour (0 to 255) into linear light."""
    return np.asarray((np.array([red, green, blue]) / 255.0) ** 2.2)


def noise(shape: tuple[int, ...], *, size: float | tuple[float, float], seed: int) -> Array:
    """Smooth noise of unit variance; `size` is that of its grains in pixels."""
    field = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), size, mode="wrap")
    return np.asarray(field / field.std())


def noise_at(across: Array, down: Array, *, size: float, seed: int) -> Array:
    """Smooth noise over places given in eye units; `size` is that of its grains in eye units."""
    places = np.stack([down, across]) * (2.0 / size)
    grains = noise((512, 512), size=2.0, seed=seed)
    return np.asarray(map_coordinates(grains, places, order=1, mode="grid-wrap"))


def glossy(colour: Array, gloss: Array | float) -> Array:
    """Join a colour [H, W, 3] and its gloss to a surface [H, W, 4]."""
    return np.concatenate([colour, np.broadcast_to(gloss, colour.shape[:2])[..., None]], -1)


def mix(colour: Array, other: Array, amount: Array) -> Array:
    """Blend two colours by an amount per pixel."""
    return np.asarray(colour + (other - colour) * np.clip(amount, 0, 1)[..., None])


_RED = linear(206, 126, 106)
_TINTS = (
    # colour and how much of it; x to both sides, y; half width, half height
    (_RED, 0.42, (0.45, 0.30), (0.20, 0.17)),
    (_RED, 0.40, (0.0, 0.43), (0.13, 0.10)),
    (_RED, 0.22, (0.0, 1.08), (0.2, 0.12)),
    (linear(150, 100, 92), 0.28, (0.33, 0.04), (0.20, 0.11)),
)
"""Cheeks, tip of the nose, chin and the sockets of the eyes."""


def skin() -> Array:
    """Colour and gloss [768, 768, 4] of the head's skin."""
    columns, rows = head.columns(), np.concatenate([rows[inside == 0] for rows, inside in head.bands()])
    row, theta = np.meshgrid(_stretched(rows), _stretched(columns), indexing="ij")
    points = head.face_surface(theta, row)
    x, y = points[..., 0], points[..., 1]
    front = ramp(np.abs(theta), 1.3, 1.0)
    colour = np.broadcast_to(linear(214, 168, 143), (*row.shape, 3)).copy()
    for tint, amount, at, size in _TINTS:
        colour = mix(colour, tint, front * amount * hills(x, y, at=at, size=size))
    colour = mix(colour, linear(126, 104, 98), front * 0.20 * beard(x, y))
    nostrils = hills(x, y, at=(0.064, 0.516), size=(0.034, 0.021))
    colour = mix(colour, linear(70, 28, 22), front * 0.9 * nostrils)
    across = 0.8 * theta
    colour *= (1 + 0.020 * noise_at(across, y, size=0.020, seed=1)
               + 0.028 * noise_at(across, y, size=0.008, seed=2)
               + 0.020 * noise_at(across, y, size=0.07, seed=3))[..., None]  # fmt: skip
    freckles = ramp(noise_at(across, y, size=0.009, seed=4), 1.9, 2.6)
    colour = mix(colour, linear(160, 105, 80), front * 0.35 * freckles * ramp(y, 0.75, 0.5))
    for spot_x, spot_y in ((0.36, 0.52), (-0.21, 1.0), (-0.5, -0.42)):
        spot = hills(x - spot_x, y, at=(0, spot_y), size=(0.013, 0.013))
        colour = mix(colour, linear(96, 58, 46), 0.75 * front * spot)
    under = model.HAIRLINE(theta) - row
    stubble = ramp(under, -0.05, 0.03) + 0.10 * noise_at(3 * across, y, size=0.012, seed=7)
    colour = mix(colour, linear(84, 60, 48), 0.85 * stubble * ramp(under, -0.09, -0.02))
    colour = eyes_and_brows(colour, x, row, front)
    colour, lips = paint_lips(colour, x, row, front)
    nose = hills(x, y, at=(0, 0.38), size=(0.08, 0.14))
    gloss = 0.35 + 0.35 * nose + 0.25 * hills(x, y, at=(0, -0.45), size=(0.4, 0.25))
    return glossy(colour, gloss * (1 + 0.15 * noise_at(across, y, size=0.007, seed=6)) + 0.9 * lips)


def _stretched(line: Array) -> Array:
    """Spread the values of a line of the skin's grid over the side of its texture."""
    return np.interp(np.linspace(0, len(line) - 1, SKIN_TEXELS), np.arange(len(line)), line)


def beard(x: Array, y: Array) -> Array:
    """Where a shaven beard shows."""
    jaw = ramp(y, 0.80, 1.0) * ramp(np.abs(x), 0.62, 0.40) + hills(x, y, at=(0, 0.61), size=(0.22, 0.05))
    return np.asarray(np.clip(jaw + 0.8 * hills(x, y, at=(0.5, 0.85), size=(0.13, 0.25)), 0, 1))


def eyes_and_brows(colour: Array, x: Array, row: Array, front: Array) -> Array:
    """Paint lash lines, the fold of the upper lid and the brows."""
    upper, _ = head.eye_shape(x)
    inside = ramp(upper, 0.0, 0.3) * front
    lash = np.where(row <= 0, ramp(row, -0.026, -0.008), 0.65 * ramp(row, 0.015, 0.003))
    colour = mix(colour, linear(40, 24, 20), 0.95 * lash * inside)
    fold = np.exp(-(((row + 0.085 - 0.02 * upper) / 0.014) ** 2)) * ramp(upper, 0.1, 0.6)
    colour = mix(colour, linear(118, 72, 60), 0.32 * fold * front)
    side = np.abs(x)
    arch = -0.205 - 0.050 * np.sin(np.clip((side - 0.12) / 0.45, 0, 1) * np.pi * 0.72)
    thick = 0.042 * (1 - 0.55 * ramp(side, 0.30, 0.56))
    strands = noise_at(x + 0.5 * row * np.sign(x), 0.35 * row, size=0.006, seed=8)
    edge = np.abs(row - arch + 0.0025 * noise_at(x, row, size=0.010, seed=9)) / thick
    brow = ramp(edge, 1.15, 0.55) * ramp(side, 0.115, 0.17) * ramp(side, 0.57, 0.50)
    return mix(colour, linear(62, 42, 32), 0.92 * (brow * (0.84 + 0.14 * strands)) * front)


def paint_lips(colour: Array, x: Array, row: Array, front: Array) -> tuple[Array, Array]:
    """Paint the red of the lips, its fine furrows and the dark line between the lips."""
    dy = row - head.MOUTH_Y
    height = np.where(dy <= 0, head.upper_lip_height(x), head.lower_lip_height(x))
    red = ramp(np.abs(dy) / np.maximum(height, 1e-3), 1.10, 0.93)
    red = red * front * (np.abs(x) < head.MOUTH_HALF * 1.03)
    furrows = 1 + 0.07 * noise(dy.shape, size=(7.0, 1.3), seed=11) + 0.03 * noise(dy.shape, size=3, seed=12)
    lip = np.where((dy <= 0)[..., None], linear(172, 88, 84), linear(188, 102, 96)) * furrows[..., None]
    colour = mix(colour, np.clip(lip, 0, 1), 0.93 * red)
    line = np.exp(-((dy / 0.010) ** 2)) * ramp(np.abs(x), 0.295, 0.265) * front
    return mix(colour, linear(92, 38, 38), 0.80 * line), red


def hair_patch(shape: tuple[int, int]) -> Array:
    """Colour and gloss of hair: strands that run from the crown."""
    strands = 0.5 * noise(shape, size=(40, 0.8), seed=21) + 0.6 * noise(shape, size=(60, 2.6), seed=22)
    tone = np.exp(0.33 * strands + 0.15 * noise(shape, size=(25, 9), seed=23))
    colour = linear(74, 52, 40) * tone[..., None]
    return glossy(colour, 0.35 * tone)


def eye_patch(shape: tuple[int, int]) -> Array:
    """Colour and gloss of an eyeball seen straight on, the pupil in the middle."""
    y, x = np.meshgrid(np.linspace(-1.8, 1.8, shape[0]), np.linspace(-1.8, 1.8, shape[1]), indexing="ij")
    polar, around = np.hypot(x, y), np.arctan2(y, x)
    rng = np.random.default_rng(31)
    rays = sum(rng.normal() * np.cos(k * around + rng.uniform(0, 6.28)) for k in range(9, 60, 3)) / 4.0
    white = linear(216, 210, 206) * np.ones((*shape, 1))
    white = mix(white, linear(214, 150, 140), 0.45 * ramp(polar, 0.65, 1.25))
    iris = mix(linear(96, 118, 116) * np.ones((*shape, 1)), linear(120, 92, 56), ramp(polar, 0.36, 0.22))
    iris = iris * np.exp(0.30 * rays)[..., None]
    iris = mix(iris, linear(24, 32, 36), ramp(polar, 0.40, 0.52))
    colour = mix(white, iris, ramp(polar, 0.54, 0.505))
    colour = mix(colour, linear(6, 6, 7), ramp(polar, 0.225, 0.19))
    return glossy(colour, 1.0)


def teeth_patch(shape: tuple[int, int]) -> Array:
    """Colour and gloss of both rows of teeth with their gums, upper row first."""
    v, u = np.meshgrid(np.linspace(0, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    half = (v % 0.505) / 0.48
    edges = np.where((v < 0.505)[..., None], model.UPPER_TEETH[:-1], model.LOWER_TEETH[:-1])
    gap = np.min(np.abs(np.abs(u)[..., None] - edges), axis=-1)
    colour = mix(linear(228, 218, 200) * np.ones((*shape, 1)), linear(214, 196, 166), ramp(half, 0.75, 0.35))
    colour = mix(colour, linear(150, 112, 92), 0.55 * ramp(gap, 0.020, 0.0))
    gum = 0.40 + 0.05 * np.cos(gap / 0.085 * np.pi)
    colour = mix(colour, linear(186, 98, 96), ramp(half - gum, 0.03, -0.03))
    return glossy(colour, 0.8)


def plain_patch(colour: Array, *, grain: float, size: float, gloss: float, seed: int) -> Array:
    """Colour and gloss [192, 96, 4] of a plain surface with grain."""
    tone = np.exp(grain * noise((192, 96), size=size, seed=seed))
    return glossy(colour * tone[..., None], gloss)


def cloth_patch(shape: tuple[int, int]) -> Array:
    """Colour and gloss of a knitted jumper."""
    v, u = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    knit = 0.10 * np.sin(u * np.pi / 2) * np.cos(v * np.pi / 3) + 0.08 * noise(shape, size=1.5, seed=41)
    colour = linear(58, 84, 104) * np.exp(knit + 0.06 * noise(shape, size=14, seed=42))[..., None]
    return glossy(colour, 0.05)


@lru_cache(maxsize=1)
def atlas() -> NDArray[np.float32]:
    """All painted surfaces in linear light with gloss as the fourth channel, [768, 1152, 4]."""
    painted = np.zeros((*model.ATLAS, 4), np.float32)
    patches = [
        ((0, 0, SKIN_TEXELS, SKIN_TEXELS), skin()),
        (model.HAIR_PATCH, hair_patch((384, 384))),
        (model.EYE_PATCH, eye_patch((192, 192))),
        (model.TEETH_PATCH, teeth_patch((192, 192))),
        (model.CLOTH_PATCH, cloth_patch((192, 192))),
        (model.TONGUE_PATCH, plain_patch(linear(196, 104, 104), grain=0.08, size=1.5, gloss=0.5, seed=51)),
        (model.CAVITY_PATCH, plain_patch(linear(120, 44, 44), grain=0.10, size=6, gloss=0.1, seed=52)),
    ]
    for (x, y, width, height), patch in patches:
        painted[y : y + height, x : x + width] = patch
    return np.clip(painted, 0.0, 2.0)


@lru_cache(maxsize=4)
def background(size: int) -> NDArray[np.float32]:
    """A room out of focus, in linear light, [size, size, 3]."""
    v, u = np.meshgrid(np.linspace(0, 1, size), np.linspace(0, 1, size), indexing="ij")
    room = mix(
        linear(150, 158, 160) * np.ones((size, size, 1)), linear(84, 92, 100), ramp(v + 0.35 * u, 0.1, 1.2)
    )
    window = ramp(u, -0.02, 0.05) * ramp(u, 0.26, 0.20) * ramp(v, 0.58, 0.52)
    room = mix(room, linear(226, 232, 228), 0.75 * window * (1 - 0.7 * (np.abs(u - 0.11) < 0.010)))
    rng = np.random.default_rng(61)
    for shelf in (0.16, 0.40, 0.64):
        left = 0.70
        while left < 1.0:
            wide, tall = rng.uniform(0.012, 0.035), rng.uniform(0.11, 0.17)
            tint = linear(*rng.uniform((70, 50, 45), (190, 150, 130)))
            room = mix(room, tint, 0.6 * ((u >= left) & (u < left + wide) & (v > shelf - tall) & (v < shelf)))
            left += wide + 0.004
        room = mix(room, linear(92, 70, 54), 0.8 * ((u > 0.68) & (np.abs(v - shelf - 0.01) < 0.012)))
    blurred = gaussian_filter(room, (size / 55, size / 55, 0), mode="nearest")
    return np.asarray(blurred * (1 + 0.010 * noise((size, size), size=0.8, seed=62))[..., None], np.float32)
