"""The presenter's head without its openings: a smooth surface with modelled features."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

from speech2lip.conventions import Array
from speech2lip_presenter.parts import bump, mirrored, ramp

MOUTH_Y = 0.76
MOUTH_HALF = 0.285
EYE_X, EYE_Y = 0.343, -0.012
EYE_INNER, EYE_OUTER = 0.178, 0.5
CROWN_Y, CHIN_Y = -1.30, 1.22
EYE_RADIUS = 0.142
EYE_Z = -0.645

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


def feature_depth(x: Array, y: Array) -> Array:
    """How far nose, brows, cheeks, lips and chin stand out towards the camera at a place of the face."""
    out = nose_depth(x, y)
    out += 0.050 * mirrored(x, y, at=(0.32, -0.19), size=(0.20, 0.075))
    out -= 0.090 * mirrored(x, y, at=(0.34, 0.01), size=(0.19, 0.13))
    out -= 0.060 * mirrored(x, y, at=(0.165, -0.01), size=(0.07, 0.10))
    out += 0.055 * mirrored(x, y, at=(0.47, 0.28), size=(0.20, 0.15))
    out -= 0.035 * mirrored(x, y, at=(0.50, 0.68), size=(0.14, 0.20))
    out += 0.045 * bump(x, y, at=(0.0, 0.75), size=(0.27, 0.19))
    out -= 0.018 * bump(x, y, at=(0.0, 0.60), size=(0.028, 0.065))
    out += 0.008 * mirrored(x, y, at=(0.05, 0.61), size=(0.025, 0.06))
    out -= 0.042 * bump(x, y, at=(0.0, 0.915), size=(0.18, 0.050))
    out += 0.075 * bump(x, y, at=(0.0, 1.08), size=(0.19, 0.115))
    out -= 0.028 * mirrored(x, y, at=(0.33, 0.79), size=(0.045, 0.07))
    # folds from the nose to the corners of the mouth
    fold = np.abs(x) - (0.19 + 0.34 * np.maximum(y - 0.45, 0))
    out -= 0.014 * np.exp(-((fold / 0.03) ** 2)) * ramp(y, 0.42, 0.52) * ramp(y, 0.80, 0.66)
    return np.asarray(out)


def nose_depth(x: Array, y: Array) -> Array:
    """Bridge, tip and wings of the nose."""
    heights = (-0.14, 0.00, 0.10, 0.20, 0.30, 0.38, 0.43, 0.47, 0.51, 0.55, 0.60)
    bridge = PchipInterpolator(heights, (0, 0.035, 0.095, 0.155, 0.215, 0.26, 0.265, 0.225, 0.11, 0.03, 0))
    breadth = PchipInterpolator(
        heights, (0.14, 0.115, 0.105, 0.110, 0.12, 0.135, 0.145, 0.14, 0.115, 0.09, 0.09)
    )
    inside = np.clip(y, heights[0], heights[-1])
    out = bridge(inside) * np.exp(-(np.abs(x / breadth(inside)) ** 2))
    out += 0.090 * mirrored(x, y, at=(0.130, 0.455), size=(0.046, 0.056))
    out -= 0.050 * mirrored(x, y, at=(0.064, 0.510), size=(0.036, 0.024))
    return np.asarray(out)


def upper_lip_height(x: Array) -> Array:
    """Height of the red of the upper lip above the line between the lips, with its bow."""
    arc = np.clip(1 - (x / (MOUTH_HALF * 1.02)) ** 2, 0, None)
    bow = 0.014 * np.exp(-(((np.abs(x) - 0.062) / 0.04) ** 2)) - 0.012 * np.exp(-((x / 0.03) ** 2))
    return np.asarray(0.080 * arc**0.85 + bow * (arc > 0))


def lower_lip_height(x: Array) -> Array:
    """Height of the red of the lower lip below the line between the lips."""
    arc = np.clip(1 - (x / (MOUTH_HALF * 0.97)) ** 2, 0, None)
    return np.asarray(0.108 * arc**0.8)


def lip_depth(x: Array, y: Array) -> Array:
    """How far the red of the lips stands out."""
    arc = np.clip(1 - (x / MOUTH_HALF) ** 2, 0, None)
    above = (MOUTH_Y - y) / np.maximum(upper_lip_height(x), 1e-3)
    below = (y - MOUTH_Y) / np.maximum(lower_lip_height(x), 1e-3)
    t = np.where(y <= MOUTH_Y, above, below)
    roll = np.clip(1 - ((t - 0.62) / 0.72) ** 2, 0, None)
    return np.asarray(np.where(y <= MOUTH_Y, 0.050, 0.062) * roll * arc**0.6)


def face_surface(theta: Array, row: Array) -> Array:
    """The head's surface with its features, closed lips and closed lids, [..., 3]."""
    points = base_surface(theta, row)
    x, y = points[..., 0], points[..., 1]
    front = ramp(np.abs(theta), 1.45, 0.85) * ramp(row, ROW_END - 0.1, CHIN_Y)
    points[..., 2] -= front * (feature_depth(x, y) + lip_depth(x, y))
    return points
