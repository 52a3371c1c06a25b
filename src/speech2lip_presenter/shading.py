"""Light and colour of every pixel: soft key light, fill, rim, sheen, and how much of them arrives."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from speech2lip.compiled import compiled
from speech2lip.conventions import Floats

MATERIALS = np.array([
    # wrap red, green, blue; strength and power of the highlight; rim; tint of the highlight
    (0.32, 0.20, 0.16, 0.16, 22.0, 0.55, 0.0),   # skin
    (0.30, 0.28, 0.28, 2.20, 130.0, 0.10, 0.0),  # eye
    (0.40, 0.38, 0.36, 0.35, 70.0, 0.00, 0.0),   # teeth
    (0.35, 0.22, 0.20, 0.25, 40.0, 0.00, 0.0),   # mouth
    (0.20, 0.20, 0.20, 0.50, 14.0, 0.80, 1.0),   # hair
    (0.15, 0.15, 0.15, 0.05, 6.0, 0.50, 0.0),    # cloth
], np.float32)  # fmt: skip
"""How each material takes light, in the order of `parts.SKIN`, `EYE`, ..."""

KEY = np.array([-0.52, -0.50, -0.69], np.float32)
"""Direction from the head towards the key light, camera axes."""


@compiled(fastmath=True)
def light(  # noqa: PLR0913 - compiled: arrays and numbers only
    nx: float, ny: float, nz: float, vx: float, vy: float, vz: float,
    ambient: float, keyed: float, texel: Floats, material: Floats, out: Floats,
) -> None:  # fmt: skip
    """Work out the linear colour of one place from its normal, the direction to the camera and its texel."""
    length = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz + 1e-12)
    nx, ny, nz = nx * length, ny * length, nz * length
    key = nx * -0.52 + ny * -0.50 + nz * -0.69
    fill = nx * 0.80 + ny * -0.05 + nz * -0.60
    rim = max(0.0, nx * 0.62 + ny * -0.35 + nz * 0.70)
    sky = 0.5 - 0.5 * ny
    facing = max(0.0, nx * vx + ny * vy + nz * vz)
    root_keyed, root_ambient = math.sqrt(keyed), math.sqrt(ambient)
    for k in range(3):
        wrap = material[k]
        front = max(0.0, (key + wrap) / (1.0 + wrap))
        side = max(0.0, (fill + wrap) / (1.0 + wrap))
        # light that soaks in brightens the edge of a shadow, red most of all
        shadow = keyed + 1.5 * wrap * (root_keyed - keyed)
        occluded = ambient + 1.8 * wrap * (root_ambient - ambient)
        warm = 1.04 - 0.05 * k
        cool = 0.94 + 0.05 * k
        total = 1.02 * warm * front * shadow + occluded * (0.30 * cool * side + 0.20 * cool * sky + 0.10)
        total += material[5] * 0.28 * rim * ambient * warm
        out[k] = texel[k] * total
    hx, hy, hz = vx - 0.52, vy - 0.50, vz - 0.69
    half = 1.0 / math.sqrt(hx * hx + hy * hy + hz * hz + 1e-12)
    shine = 0.0
    mirror = (nx * hx + ny * hy + nz * hz) * half
    if mirror > 0.5:
        shine = mirror ** material[4] * keyed
    fx, fy, fz = vx + 0.80, vy - 0.05, vz - 0.60
    half = 1.0 / math.sqrt(fx * fx + fy * fy + fz * fz + 1e-12)
    mirror = (nx * fx + ny * fy + nz * fz) * half
    if mirror > 0.5:
        shine += 0.35 * mirror ** material[4] * ambient
    grazing = (1.0 - facing) * (1.0 - facing)
    grazing *= grazing
    gleam = material[3] * texel[3] * (shine * (1.0 + 2.0 * grazing) + 0.10 * grazing * ambient)
    for k in range(3):
        out[k] += gleam * (1.0 + material[6] * (4.0 * texel[k] - 1.0))


@compiled(fastmath=True)
def shade_picture(  # noqa: C901, PLR0913 - compiled: arrays and numbers only
    ids: NDArray[np.int32], points: Floats, faces: NDArray[np.int32], face_material: NDArray[np.int32],
    normals: Floats, uv: Floats, lit: Floats, atlas: Floats, materials: Floats, back: Floats,
    focal: float, colour: Floats, depth: Floats,
) -> None:  # fmt: skip
    """Shade `colour` [H, W, 3] (linear) and `depth` [H, W] from the 2 x 2 samples of each pixel.

    `ids` [2H, 2W] are the triangles seen; samples of one surface are shaded together. `lit` [N, 2] is the
    share of ambient and key light.
    Depth is that of the nearest surface in the pixel, infinite where there is none.
    """
    height, width = depth.shape
    parts = np.zeros((4, 10), np.float32)
    kinds = np.zeros(4, np.int32)
    counts = np.zeros(4, np.float32)
    texel = np.zeros(4, np.float32)
    result = np.zeros(3, np.float32)
    for row in range(height):
        for column in range(width):
            groups = 0
            empty = 0.0
            for sample in range(4):
                y, x = 2 * row + sample // 2, 2 * column + sample % 2
                face = ids[y, x]
                if face < 0:
                    empty += 0.25
                    continue
                a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
                px, py = x + 0.5 - points[a, 0], y + 0.5 - points[a, 1]
                ex, ey = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1]
                gx, gy = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1]
                area = 1.0 / (ex * gy - ey * gx)
                wb = (px * gy - py * gx) * area
                wc = (py * ex - px * ey) * area
                wa = (1.0 - wb - wc) / points[a, 2]
                wb /= points[b, 2]
                wc /= points[c, 2]
                z = 1.0 / (wa + wb + wc)
                wa, wb, wc = wa * z, wb * z, wc * z
                u = wa * uv[a, 0] + wb * uv[b, 0] + wc * uv[c, 0]
                v = wa * uv[a, 1] + wb * uv[b, 1] + wc * uv[c, 1]
                kind = face_material[face]
                g = 0
                while g < groups:
                    n = counts[g]
                    if (kinds[g] == kind and abs(parts[g, 3] / n - u) < 30.0
                            and abs(parts[g, 4] / n - v) < 30.0
                            and abs(parts[g, 5] / n - z) < 0.10):  # fmt: skip
                        break
                    g += 1
                if g == groups:
                    groups += 1
                    kinds[g] = kind
                    counts[g] = 0.0
                    parts[g, :] = 0.0
                counts[g] += 1.0
                for k in range(3):
                    parts[g, k] += wa * normals[a, k] + wb * normals[b, k] + wc * normals[c, k]
                parts[g, 3] += u
                parts[g, 4] += v
                parts[g, 5] += z
                for k in range(2):
                    parts[g, 6 + k] += wa * lit[a, k] + wb * lit[b, k] + wc * lit[c, k]
            red = empty * back[row, column, 0]
            green = empty * back[row, column, 1]
            blue = empty * back[row, column, 2]
            nearest = np.float32(np.inf)
            for g in range(groups):
                scale = 1.0 / counts[g]
                u, v, z = parts[g, 3] * scale, parts[g, 4] * scale, parts[g, 5] * scale
                nearest = min(nearest, z)
                x0, y0 = int(u), int(v)
                fu, fv = u - x0, v - y0
                for k in range(4):
                    top = atlas[y0, x0, k] * (1 - fu) + atlas[y0, x0 + 1, k] * fu
                    low = atlas[y0 + 1, x0, k] * (1 - fu) + atlas[y0 + 1, x0 + 1, k] * fu
                    texel[k] = top * (1 - fv) + low * fv
                vx, vy = -(column + 0.5 - 0.5 * width) / focal, -(row + 0.5 - 0.5 * height) / focal
                norm = 1.0 / math.sqrt(vx * vx + vy * vy + 1.0)
                light(parts[g, 0], parts[g, 1], parts[g, 2], vx * norm, vy * norm, -norm,
                      parts[g, 6] * scale, parts[g, 7] * scale, texel, materials[kinds[g]],
                      result)  # fmt: skip
                share = counts[g] * 0.25
                red += share * result[0]
                green += share * result[1]
                blue += share * result[2]
            colour[row, column, 0] = red
            colour[row, column, 1] = green
            colour[row, column, 2] = blue
            depth[row, column] = nearest


@compiled(fastmath=True)
def develop(colour: Floats, picture: NDArray[np.uint8], curve: NDArray[np.uint8]) -> None:
    """Turn linear light into an 8-bit picture by a table over [0, 2)."""
    top = curve.shape[0] - 1
    for row in range(colour.shape[0]):
        for column in range(colour.shape[1]):
            for k in range(3):
                picture[row, column, k] = curve[min(top, max(0, int(colour[row, column, k] * (top * 0.5))))]


def film_curve() -> NDArray[np.uint8]:
    """The table of `develop`: the screen's curve with a soft shoulder."""
    x = np.linspace(0, 2, 8192) * 1.05
    soft = np.where(x < 0.7, x, 0.7 + 0.3 * (1 - np.exp(-(x - 0.7) / 0.3)))
    return np.asarray(np.clip(soft, 0, 1) ** (1 / 2.2) * 255 + 0.5, np.uint8)
