"""The inner loop of photometric head poses, compiled; its plain twin is `photometric.normal_equations`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., object])
Array = NDArray[np.float64]
Floats = NDArray[np.float32]


def _compiled(function: Function) -> Function:
    keep: Any = numba.njit(cache=True, error_model="numpy", nogil=True)
    return cast(Function, keep(function))


@_compiled
def _sample(picture: Floats, x: float, y: float) -> float:
    """Look a picture up at pixel (x, y), which lies at least one pixel inside."""
    column, row = int(np.floor(x - 0.5)), int(np.floor(y - 0.5))
    u, v = x - 0.5 - column, y - 0.5 - row
    above = (1 - u) * picture[row, column] + u * picture[row, column + 1]
    below = (1 - u) * picture[row + 1, column] + u * picture[row + 1, column + 1]
    return float((1 - v) * above + v * below)


@_compiled
def accumulate(
    picture: Floats,
    points: Array,
    values: Array,
    pose: Array,
    k: Array,
    light: Array,
    soft: float,
    normal: Array,
    right: Array,
) -> tuple[float, float]:
    """Add up the normal equations of a small motion and a change of light into `normal` and `right`.

    Returns:
        The sum of the robust errors and the sum of the weights of the points inside the picture.
    """
    height, width = picture.shape
    normal[:] = 0.0
    right[:] = 0.0
    row = np.empty(8)
    error_sum, count = 0.0, 0.0
    for n in range(len(points)):
        hx = pose[0, 0] * points[n, 0] + pose[0, 1] * points[n, 1] + pose[0, 2] * points[n, 2]
        hy = pose[1, 0] * points[n, 0] + pose[1, 1] * points[n, 1] + pose[1, 2] * points[n, 2]
        hz = pose[2, 0] * points[n, 0] + pose[2, 1] * points[n, 1] + pose[2, 2] * points[n, 2]
        px, py, pz = hx + pose[0, 3], hy + pose[1, 3], hz + pose[2, 3]
        x = k[0, 0] * px / pz + k[0, 2]
        y = k[1, 1] * py / pz + k[1, 2]
        if not (x > 2.0 and y > 2.0 and x < width - 2.0 and y < height - 2.0):
            continue
        seen = _sample(picture, x, y)
        gx = 0.5 * light[0] * (_sample(picture, x + 1, y) - _sample(picture, x - 1, y))
        gy = 0.5 * light[0] * (_sample(picture, x, y + 1) - _sample(picture, x, y - 1))
        error = values[n] - light[0] * seen - light[1]
        weight = 1.0 / (1.0 + (error / soft) ** 2)
        ax, ay = gx * k[0, 0] / pz, gy * k[1, 1] / pz
        az = -(ax * px + ay * py) / pz
        row[0] = hy * az - hz * ay
        row[1] = hz * ax - hx * az
        row[2] = hx * ay - hy * ax
        row[3], row[4], row[5] = ax, ay, az
        row[6], row[7] = seen, 1.0
        for i in range(8):
            right[i] += weight * row[i] * error
            for j in range(i, 8):
                normal[i, j] += weight * row[i] * row[j]
        error_sum += weight * error * error
        count += 1.0
    for i in range(8):
        for j in range(i):
            normal[i, j] = normal[j, i]
    return error_sum, count
