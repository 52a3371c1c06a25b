"""Compiled drawing of a mesh: which triangle each sample shows, and how its surface takes the light."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from speech2lip.arrays import Array, Floats, Picture
from speech2lip.compute import compiled

Ints = NDArray[np.int32]

SKIN, EYE, TEETH, MOUTH, HAIR, CLOTH = range(6)
"""Materials of the surfaces."""

MATERIALS = np.array([
    # wrap red, green, blue; strength and power of the highlight; rim; tint of the highlight
    (0.32, 0.20, 0.16, 0.16, 22.0, 0.55, 0.0),   # skin
    (0.30, 0.28, 0.28, 2.20, 130.0, 0.10, 0.0),  # eye
    (0.40, 0.38, 0.36, 0.35, 70.0, 0.00, 0.0),   # teeth
    (0.35, 0.22, 0.20, 0.25, 40.0, 0.00, 0.0),   # mouth
    (0.20, 0.20, 0.20, 0.50, 14.0, 0.80, 1.0),   # hair
    (0.15, 0.15, 0.15, 0.05, 6.0, 0.50, 0.0),    # cloth
], np.float32)  # fmt: skip
"""How each of them takes light."""

KEY, FILL, RIM = (-0.52, -0.50, -0.69), (0.80, -0.05, -0.60), (0.62, -0.35, 0.70)
"""Directions from the head towards the lights, camera axes."""


def project(points_camera: Floats, *, k: Array) -> Floats:
    """Project camera points [N, 3] with K; return x, y in pixels and the depth, [N, 3]."""
    depth = points_camera[:, 2:3]
    xy = points_camera[:, :2] / depth * np.array([k[0, 0], k[1, 1]]) + k[:2, 2]
    return np.concatenate([xy, depth], axis=1).astype(np.float32)


@compiled(fastmath=True)
def rasterise(points: Floats, faces: Ints, inverse_depth: Floats, ids: Ints) -> None:
    """Draw triangles into `inverse_depth` [h, w] (0 where empty) and `ids` [h, w] (-1 where empty), in place.

    `points` [N, 3] are x, y in samples (centres at + 0.5) and depth > 0. Triangles whose corners
    run clockwise in the picture are seen from behind and left out.
    """
    height, width = ids.shape
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 2], faces[f, 1]
        ax, ay = points[a, 0], points[a, 1]
        bx, by = points[b, 0], points[b, 1]
        cx, cy = points[c, 0], points[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area <= 1e-6 or min(points[a, 2], points[b, 2], points[c, 2]) <= 1e-3:
            continue
        x0 = max(0, math.ceil(min(ax, bx, cx) - 0.5))
        x1 = min(width - 1, math.floor(max(ax, bx, cx) - 0.5))
        y0 = max(0, math.ceil(min(ay, by, cy) - 0.5))
        y1 = min(height - 1, math.floor(max(ay, by, cy) - 0.5))
        if x0 > x1 or y0 > y1:
            continue
        scale = 1.0 / area
        wa, wb, wc = 1.0 / points[a, 2], 1.0 / points[b, 2], 1.0 / points[c, 2]
        step_b, step_c = (cy - ay) * scale, (ay - by) * scale
        for y in range(y0, y1 + 1):
            py = y + 0.5 - ay
            px = x0 + 0.5 - ax
            weight_b = (px * (cy - ay) - py * (cx - ax)) * scale
            weight_c = (py * (bx - ax) - px * (by - ay)) * scale
            for x in range(x0, x1 + 1):
                weight_a = 1.0 - weight_b - weight_c
                if weight_a >= -1e-6 and weight_b >= -1e-6 and weight_c >= -1e-6:
                    inverse = weight_a * wa + weight_b * wb + weight_c * wc
                    if inverse > inverse_depth[y, x]:
                        inverse_depth[y, x] = inverse
                        ids[y, x] = f
                weight_b += step_b
                weight_c += step_c


@compiled(fastmath=True)
def vertex_normals(vertices: Floats, faces: Ints) -> Floats:
    """Average the normals of the triangles around each vertex, weighted by area; unit length, [N, 3]."""
    normals = np.zeros_like(vertices)
    for f in range(faces.shape[0]):
        p, q, r = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
        ux, uy, uz = q[0] - p[0], q[1] - p[1], q[2] - p[2]
        vx, vy, vz = r[0] - p[0], r[1] - p[1], r[2] - p[2]
        for corner in faces[f]:
            normals[corner, 0] += uy * vz - uz * vy
            normals[corner, 1] += uz * vx - ux * vz
            normals[corner, 2] += ux * vy - uy * vx
    for n in normals:
        length = math.sqrt(n[0] ** 2 + n[1] ** 2 + n[2] ** 2)
        if length > 1e-12:
            for k in range(3):
                n[k] /= length
    return normals


def visible_share(
    vertices: Floats, normals: Floats, faces: Ints, *, directions: Array, power: float
) -> Array:
    """Share of directions that each vertex sees out of, weighted by (normal . direction)^power, [N]."""
    side, far = 320, 100.0
    scale = side / 5.2
    seen, weights = np.full(len(vertices), 1e-6), np.full(len(vertices), 1e-6)
    for direction in directions / np.linalg.norm(directions, axis=1, keepdims=True):
        helper = np.array([0.0, 0.0, 1.0]) if abs(direction[2]) < 0.8 else np.array([1.0, 0.0, 0.0])
        right = np.cross(helper, direction)
        right /= np.linalg.norm(right)
        # from far away along the direction: nearly parallel rays, nearer surfaces first
        local = (vertices + normals * 0.012) @ np.stack([right, np.cross(direction, right), -direction]).T
        x, y = local[:, 0] * scale + side / 2, local[:, 1] * scale + side / 2.6
        flat = np.stack([x, y, local[:, 2] + far], 1).astype(np.float32)
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


@compiled(fastmath=True)
def _light(  # noqa: PLR0913 - compiled: arrays and numbers only
    nx: float, ny: float, nz: float, vx: float, vy: float, vz: float,
    ambient: float, keyed: float, texel: Floats, material: Floats, out: Floats,
) -> None:  # fmt: skip
    """Work out the linear colour of one place from its normal, the direction to the camera and its texel."""
    length = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz + 1e-12)
    nx, ny, nz = nx * length, ny * length, nz * length
    key = nx * KEY[0] + ny * KEY[1] + nz * KEY[2]
    fill = nx * FILL[0] + ny * FILL[1] + nz * FILL[2]
    rim = max(0.0, nx * RIM[0] + ny * RIM[1] + nz * RIM[2])
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
    hx, hy, hz = vx + KEY[0], vy + KEY[1], vz + KEY[2]
    half = 1.0 / math.sqrt(hx * hx + hy * hy + hz * hz + 1e-12)
    shine = 0.0
    mirror = (nx * hx + ny * hy + nz * hz) * half
    if mirror > 0.5:
        shine = mirror ** material[4] * keyed
    fx, fy, fz = vx + FILL[0], vy + FILL[1], vz + FILL[2]
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
def _gather(  # noqa: PLR0913 - compiled: arrays and numbers only
    y: int, x: int, face: int, points: Floats, faces: Ints, face_material: Ints, normals: Floats,
    uv: Floats, lit: Floats, surfaces: Floats, kinds: Ints, counts: Floats, groups: int,
) -> int:  # fmt: skip
    """Add one sample to the surface of its pixel that it belongs to; return the number of surfaces."""
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
        if (kinds[g] == kind and abs(surfaces[g, 3] / n - u) < 30.0
                and abs(surfaces[g, 4] / n - v) < 30.0
                and abs(surfaces[g, 5] / n - z) < 0.10):  # fmt: skip
            break
        g += 1
    if g == groups:
        groups += 1
        kinds[g] = kind
        counts[g] = 0.0
        surfaces[g, :] = 0.0
    counts[g] += 1.0
    for k in range(3):
        surfaces[g, k] += wa * normals[a, k] + wb * normals[b, k] + wc * normals[c, k]
    surfaces[g, 3] += u
    surfaces[g, 4] += v
    surfaces[g, 5] += z
    for k in range(2):
        surfaces[g, 6 + k] += wa * lit[a, k] + wb * lit[b, k] + wc * lit[c, k]
    return groups


@compiled(fastmath=True)
def shade_picture(  # noqa: PLR0913 - compiled: arrays and numbers only
    ids: Ints, points: Floats, faces: Ints, face_material: Ints, normals: Floats, uv: Floats, lit: Floats,
    atlas: Floats, materials: Floats, back: Floats, focal: float, colour: Floats, depth: Floats,
) -> None:  # fmt: skip
    """Shade `colour` [H, W, 3] (linear) and `depth` [H, W] from the 2 x 2 samples of each pixel.

    `ids` [2H, 2W] are the triangles seen; samples of one surface are shaded together. `lit` [N, 2] is the
    share of ambient and key light.
    Depth is that of the nearest surface in the pixel, infinite where there is none.
    """
    height, width = depth.shape
    surfaces = np.zeros((4, 8), np.float32)  # sums of normal, u, v, depth, ambient and key light
    kinds, counts = np.zeros(4, np.int32), np.zeros(4, np.float32)
    texel, lighted, total = np.zeros(4, np.float32), np.zeros(3, np.float32), np.zeros(3)
    for row in range(height):
        for column in range(width):
            groups = 0
            empty = 0.0
            for sample in range(4):
                y, x = 2 * row + sample // 2, 2 * column + sample % 2
                if ids[y, x] < 0:
                    empty += 0.25
                else:
                    groups = _gather(y, x, ids[y, x], points, faces, face_material, normals, uv, lit,
                                     surfaces, kinds, counts, groups)  # fmt: skip
            for k in range(3):
                total[k] = empty * back[row, column, k]
            nearest = np.float32(np.inf)
            for g in range(groups):
                scale = 1.0 / counts[g]
                u, v, z = surfaces[g, 3] * scale, surfaces[g, 4] * scale, surfaces[g, 5] * scale
                nearest = min(nearest, z)
                x0, y0 = int(u), int(v)
                fu, fv = u - x0, v - y0
                for k in range(4):
                    top = atlas[y0, x0, k] * (1 - fu) + atlas[y0, x0 + 1, k] * fu
                    low = atlas[y0 + 1, x0, k] * (1 - fu) + atlas[y0 + 1, x0 + 1, k] * fu
                    texel[k] = top * (1 - fv) + low * fv
                vx, vy = -(column + 0.5 - 0.5 * width) / focal, -(row + 0.5 - 0.5 * height) / focal
                norm = 1.0 / math.sqrt(vx * vx + vy * vy + 1.0)
                _light(surfaces[g, 0], surfaces[g, 1], surfaces[g, 2], vx * norm, vy * norm, -norm,
                       surfaces[g, 6] * scale, surfaces[g, 7] * scale, texel, materials[kinds[g]],
                       lighted)  # fmt: skip
                for k in range(3):
                    total[k] += counts[g] * 0.25 * lighted[k]
            for k in range(3):
                colour[row, column, k] = total[k]
            depth[row, column] = nearest


def develop(colour: Floats) -> Picture:
    """Turn linear light into an 8-bit picture: the screen's curve with a soft shoulder, by a table."""
    place = np.multiply(colour, (len(_CURVE) - 1) / 2, dtype=np.float64).astype(np.intp)
    return _CURVE.take(place, mode="clip")


def _film_curve() -> NDArray[np.uint8]:
    x = np.linspace(0, 2, 8192) * 1.05
    soft = np.where(x < 0.7, x, 0.7 + 0.3 * (1 - np.exp(-(x - 0.7) / 0.3)))
    return np.asarray(np.clip(soft, 0, 1) ** (1 / 2.2) * 255 + 0.5, np.uint8)


_CURVE = _film_curve()
"""Over [0, 2)."""
