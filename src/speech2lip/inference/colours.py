"""Coded pictures to colours and back in one pass over a box: the compiled twin of `planes`."""

from __future__ import annotations

import numpy as np

from speech2lip.compiled import compiled
from speech2lip.inference.kernels import Bytes, Floats


@compiled(fastmath=True)
def read_colours(  # noqa: PLR0913 - compiled: arrays and numbers only
    y: Bytes, u: Bytes, v: Bytes, x0: int, y0: int, rgb_from_yuv: Floats, seen: Floats
) -> None:
    """Read the colours of a box that begins at even x0, y0 into channels 0 to 2 of `seen` [h, w, 8].

    Twin: `read_box`, except that chroma is interpolated with what lies around the box.
    """
    height, width = seen.shape[0], seen.shape[1]
    rows, columns = u.shape
    m = rgb_from_yuv
    scale, near, far = np.float32(1 / 255), np.float32(0.75), np.float32(0.25)
    for i in range(height):
        row = (y0 + i) // 2
        other = min(row + 1, rows - 1) if (y0 + i) % 2 else max(row - 1, 0)
        for j in range(width):
            column = (x0 + j) // 2
            beside = min(column + 1, columns - 1) if j % 2 else max(column - 1, 0)
            blue = near * (near * u[row, column] + far * u[other, column])
            blue += far * (near * u[row, beside] + far * u[other, beside])
            red = near * (near * v[row, column] + far * v[other, column])
            red += far * (near * v[row, beside] + far * v[other, beside])
            luma = (np.float32(y[y0 + i, x0 + j]) - np.float32(16)) * scale
            blue, red = (blue - np.float32(128)) * scale, (red - np.float32(128)) * scale
            for c in range(3):
                value = m[c, 0] * luma + m[c, 1] * blue + m[c, 2] * red
                seen[i, j, c] = min(max(value, np.float32(0)), np.float32(1))


@compiled(fastmath=True)
def add_residual(seen: Floats, residual: Floats, left: int, top: int, right: int, bottom: int) -> None:
    """Enlarge `residual` [p, q, 3] over part of a box and add it to the colours where the mask is above 0.

    Twin: a bilinear `interpolate` with `align_corners=False`.
    """
    rows, columns = residual.shape[0], residual.shape[1]
    scale_x, scale_y = np.float32(columns / (right - left)), np.float32(rows / (bottom - top))
    half, zero, one = np.float32(0.5), np.float32(0), np.float32(1)
    for i in range(top, bottom):
        fy = max((np.float32(i - top) + half) * scale_y - half, zero)
        y = min(int(fy), rows - 1)
        below = min(y + 1, rows - 1)
        part_y = fy - np.float32(y)
        for j in range(left, right):
            if seen[i, j, 3] <= 0:
                continue
            fx = max((np.float32(j - left) + half) * scale_x - half, zero)
            x = min(int(fx), columns - 1)
            beside = min(x + 1, columns - 1)
            part_x = fx - np.float32(x)
            w11 = part_x * part_y
            w01, w10 = part_x - w11, part_y - w11
            w00 = one - part_x - w10
            for c in range(3):
                seen[i, j, c] += (
                    residual[y, x, c] * w00
                    + residual[y, beside, c] * w01
                    + residual[below, x, c] * w10
                    + residual[below, beside, c] * w11
                )


@compiled(fastmath=True)
def write_colours(  # noqa: PLR0913 - compiled: arrays and numbers only
    seen: Floats, yuv_from_rgb: Floats, chroma: Floats, y: Bytes, u: Bytes, v: Bytes, x0: int, y0: int
) -> None:
    """Write channels 0 to 2 of `seen` [h, w, 8] into a picture where the mask (channel 3) is above 0.

    Twin: `write_box`. `chroma` [h, w, 2] is room to work in; the box begins at even x0, y0.
    """
    height, width = seen.shape[0], seen.shape[1]
    m = yuv_from_rgb
    zero, one, full, half = np.float32(0), np.float32(1), np.float32(255), np.float32(0.5)
    for i in range(height):
        for j in range(width):
            red = min(max(seen[i, j, 0], zero), one)
            green = min(max(seen[i, j, 1], zero), one)
            blue = min(max(seen[i, j, 2], zero), one)
            chroma[i, j, 0] = (m[1, 0] * red + m[1, 1] * green + m[1, 2] * blue) * full + np.float32(128)
            chroma[i, j, 1] = (m[2, 0] * red + m[2, 1] * green + m[2, 2] * blue) * full + np.float32(128)
            if seen[i, j, 3] > 0:
                luma = (m[0, 0] * red + m[0, 1] * green + m[0, 2] * blue) * full + np.float32(16)
                y[y0 + i, x0 + j] = np.uint8(luma + half)
    for i in range(0, height, 2):
        for j in range(0, width, 2):
            if not (
                seen[i, j, 3] > 0
                or seen[i, j + 1, 3] > 0
                or seen[i + 1, j, 3] > 0
                or seen[i + 1, j + 1, 3] > 0
            ):
                continue
            for c in range(2):
                four = chroma[i, j, c] + chroma[i, j + 1, c] + chroma[i + 1, j, c] + chroma[i + 1, j + 1, c]
                value = np.uint8(four * np.float32(0.25) + half)
                if c == 0:
                    u[(y0 + i) // 2, (x0 + j) // 2] = value
                else:
                    v[(y0 + i) // 2, (x0 + j) // 2] = value
