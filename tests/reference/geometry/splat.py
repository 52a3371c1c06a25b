"""The splat, plainly."""

from __future__ import annotations

import numpy as np

from speech2lip.arrays import Floats

_TINY = 1e-6


def splat_plain(points: Floats, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Do as `splat`, triangle by triangle in numpy."""
    where = np.full((*size, 2), np.nan, np.float32)
    depth = np.full(size, np.inf, np.float32)
    rows, columns = points.shape[:2]
    for r in range(rows - 1):
        for c in range(columns - 1):
            for corners in (((r, c), (r, c + 1), (r + 1, c)), ((r + 1, c + 1), (r + 1, c), (r, c + 1))):
                _draw_plain(points, corners, where, depth)
    return where, depth


def _draw_plain(points: Floats, corners: tuple[tuple[int, int], ...], where: Floats, depth: Floats) -> None:
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = (points[corner].astype(np.float64) for corner in corners)
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    if area <= _TINY or min(az, bz, cz) <= 0:
        return
    x0, x1 = max(0, int(np.ceil(min(ax, bx, cx) - 0.5))), int(np.floor(max(ax, bx, cx) - 0.5))
    y0, y1 = max(0, int(np.ceil(min(ay, by, cy) - 0.5))), int(np.floor(max(ay, by, cy) - 0.5))
    x1, y1 = min(x1, depth.shape[1] - 1), min(y1, depth.shape[0] - 1)
    if x0 > x1 or y0 > y1:
        return
    y, x = np.mgrid[y0 : y1 + 1, x0 : x1 + 1] + 0.5
    wb = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
    wc = ((y - ay) * (bx - ax) - (x - ax) * (by - ay)) / area
    wa = 1 - wb - wc
    near = wa * az + wb * bz + wc * cz
    box = (slice(y0, y1 + 1), slice(x0, x1 + 1))
    drawn = (wa >= -_TINY) & (wb >= -_TINY) & (wc >= -_TINY) & (near < depth[box])
    depth[box][drawn] = near[drawn]
    at = sum(w[..., None] * np.array(corner[::-1]) for w, corner in zip((wa, wb, wc), corners, strict=True))
    where[box][drawn] = np.asarray(at)[drawn]
