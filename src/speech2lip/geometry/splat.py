"""Forward splat with z-order: a lattice of points, moved to another view, drawn as a surface.

The nearest surface wins; where it was folded over or turned away from the camera it is not drawn. What comes
out is where to look up in the lattice, so that any picture can be carried along by a backward warp.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from speech2lip.arrays import Floats
from speech2lip.compute import compiled


def splat(points: Floats, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Draw a lattice of points as a surface of triangles with z-order; compiled on first use.

    Args:
        points: [R, C, 3]: x, y in pixels and depth > 0 of every node.
        size: (H, W) of the picture.

    Returns:
        [H, W, 2]: column and row in the lattice, node (r, c) at (c, r), NaN where nothing is; and the depth,
        [H, W], infinite there.
    """
    where = np.full((*size, 2), np.nan, np.float32)
    depth = np.full(size, np.inf, np.float32)
    _kernel()(np.ascontiguousarray(points, np.float32), where, depth)
    return where, depth


def visible(points: Floats, depth: Floats, *, tolerance: float = 0.02) -> NDArray[np.bool_]:
    """Tell which nodes of a lattice are seen, by the depth that `splat` drew of the same view.

    Args:
        points: [R, C, 3] as for `splat`; depth: [H, W]; tolerance: in the unit of depth.

    Returns:
        [R, C]; False outside the picture.
    """
    column, row = np.floor(points[..., 0]).astype(int), np.floor(points[..., 1]).astype(int)
    height, width = depth.shape
    inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
    nearest = depth[row.clip(0, height - 1), column.clip(0, width - 1)]
    seen: NDArray[np.bool_] = inside & (points[..., 2] <= nearest + tolerance)
    return seen


@cache
def _kernel() -> Callable[[Floats, Floats, Floats], None]:
    """Compile `_draw_all`; the compiler is loaded only where something is splatted."""
    return compiled()(_draw_all)


def _draw_all(points: Floats, where: Floats, depth: Floats) -> None:
    height, width = depth.shape
    for r in range(points.shape[0] - 1):
        for c in range(points.shape[1] - 1):
            for half in range(2):
                # The corner at the right angle, then clockwise in the picture.
                ra, ca, way = (r, c, 1) if half == 0 else (r + 1, c + 1, -1)
                cb, rc = ca + way, ra + way
                ax, ay, az = points[ra, ca, 0], points[ra, ca, 1], points[ra, ca, 2]
                bx, by, bz = points[ra, cb, 0], points[ra, cb, 1], points[ra, cb, 2]
                cx, cy, cz = points[rc, ca, 0], points[rc, ca, 1], points[rc, ca, 2]
                area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
                if not area > 1e-6 or min(az, bz, cz) <= 0:
                    continue
                x0, x1 = max(0, int(np.ceil(min(ax, bx, cx) - 0.5))), int(np.floor(max(ax, bx, cx) - 0.5))
                y0, y1 = max(0, int(np.ceil(min(ay, by, cy) - 0.5))), int(np.floor(max(ay, by, cy) - 0.5))
                x1, y1 = min(x1, width - 1), min(y1, height - 1)
                for i in range(y0, y1 + 1):
                    y = i + 0.5 - ay
                    for j in range(x0, x1 + 1):
                        x = j + 0.5 - ax
                        wb = (x * (cy - ay) - y * (cx - ax)) / area
                        wc = (y * (bx - ax) - x * (by - ay)) / area
                        wa = 1 - wb - wc
                        if wa < -1e-6 or wb < -1e-6 or wc < -1e-6:
                            continue
                        near = wa * az + wb * bz + wc * cz
                        if near < depth[i, j]:
                            depth[i, j] = near
                            where[i, j, 0] = ca + way * wb
                            where[i, j, 1] = ra + way * wc
