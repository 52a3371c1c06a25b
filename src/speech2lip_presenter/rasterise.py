"""A small z-buffer rasteriser: which triangle covers each sample, and how near it is."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from speech2lip.compiled import compiled


@compiled(fastmath=True)
def rasterise(
    points: NDArray[np.float32],
    faces: NDArray[np.int32],
    inverse_depth: NDArray[np.float32],
    ids: NDArray[np.int32],
) -> None:
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
def vertex_normals(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float32]:
    """Average the normals of the triangles around each vertex, weighted by area; unit length, [N, 3]."""
    normals = np.zeros_like(vertices)
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy, uz = (
            vertices[b, 0] - vertices[a, 0],
            vertices[b, 1] - vertices[a, 1],
            vertices[b, 2] - vertices[a, 2],
        )
        vx, vy, vz = (
            vertices[c, 0] - vertices[a, 0],
            vertices[c, 1] - vertices[a, 1],
            vertices[c, 2] - vertices[a, 2],
        )
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for k in (a, b, c):
            normals[k, 0] += nx
            normals[k, 1] += ny
            normals[k, 2] += nz
    for k in range(normals.shape[0]):
        length = math.sqrt(normals[k, 0] ** 2 + normals[k, 1] ** 2 + normals[k, 2] ** 2)
        if length > 1e-12:
            normals[k, 0] /= length
            normals[k, 1] /= length
            normals[k, 2] /= length
    return normals


def project(points_camera: NDArray[np.float32], *, k: NDArray[np.float64]) -> NDArray[np.float32]:
    """Project camera points [N, 3] with K; return x, y in pixels and the depth, [N, 3]."""
    depth = points_camera[:, 2:3]
    xy = points_camera[:, :2] / depth * np.array([k[0, 0], k[1, 1]]) + k[:2, 2]
    projected: NDArray[np.float32] = np.concatenate([xy, depth], axis=1).astype(np.float32)
    return projected
