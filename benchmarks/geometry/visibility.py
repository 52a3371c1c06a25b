"""What of the head is seen from another head pose and what is hidden, by z-order: hidden places are said."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from speech2lip.arrays import Array, Floats
from speech2lip.geometry.mapping import map_points, pixel_centres
from speech2lip.geometry.splat import splat, visible

_BEHIND = 0.03
"""Eye units behind the nearest surface from which on a place is hidden: more than its slope in a pixel."""
_EDGE_ON = 0.4
"""What comes out at this share of its canonical size or less has turned nearly edge-on, and is as good as
hidden: a learned surface is smoother than a head, and folds too late.
"""


@dataclass(frozen=True)
class View:
    """The canonical surface as an observed camera sees it."""

    seen: NDArray[np.bool_]
    """[H, W] canonical pixels that the camera sees; False where the head hides itself or the frame ends."""
    where: Floats
    """[H_o, W_o, 2] canonical pixel that every observed pixel shows, NaN where it shows none."""
    depth: Floats
    """[H_o, W_o] observed depth D_o in eye units, infinite where no canonical pixel is shown."""


def view_canonical(
    canonical_depth: NDArray[np.float32],
    observed_from_canonical: Array,
    k_canonical: Array,
    k_observed: Array,
    *,
    size: tuple[int, int],
) -> View:
    """Carry the canonical surface into an observed camera with z-order: O2C and C2O with what is hidden.

    The nearest surface wins, as in `splat`. `pose_mapping` gives the same places, differentiably, without
    asking whether anything lies in front.

    Args:
        canonical_depth: [H, W] in eye units.
        observed_from_canonical: [4, 4]; k_canonical, k_observed: [3, 3].
        size: (H_o, W_o) of the observed frame.
    """
    height, width = canonical_depth.shape
    points, depth = map_points(
        pixel_centres(height, width, dtype=torch.float64).reshape(1, -1, 2),
        torch.from_numpy(canonical_depth).double().reshape(1, -1),
        torch.from_numpy(observed_from_canonical).double()[None],
        torch.from_numpy(k_canonical).double(),
        torch.from_numpy(k_observed).double(),
    )
    carried = torch.cat([points[0], depth[0, :, None]], dim=1).reshape(height, width, 3).float().numpy()
    nodes, nearest = splat(carried, size)
    # Triangles that face away are not drawn, so their nodes may lie before nothing: those are hidden too.
    drawn = np.isfinite(nearest)[
        np.floor(carried[..., 1]).astype(int).clip(0, size[0] - 1),
        np.floor(carried[..., 0]).astype(int).clip(0, size[1] - 1),
    ]
    seen = visible(carried, nearest, tolerance=_BEHIND) & (drawn | _at_edge(height, width))
    nearer = (canonical_depth / carried[..., 2]) ** 2
    usual = nearer * np.float32(k_observed[0, 0] * k_observed[1, 1] / (k_canonical[0, 0] * k_canonical[1, 1]))
    seen &= _areas(carried[..., :2]) > _EDGE_ON * usual
    return View(seen, nodes + np.float32(0.5), nearest)


def _areas(places: Floats) -> Floats:
    """Return how large each canonical pixel comes out, in observed pixels; [H, W], below 0 where folded."""
    down, across = np.gradient(places, axis=(0, 1))
    areas: Floats = across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]
    return areas


def _at_edge(height: int, width: int) -> NDArray[np.bool_]:
    """Half of a pixel around the outermost nodes belongs to no triangle: not drawn does not mean hidden."""
    edge = np.ones((height, width), bool)
    edge[1:-1, 1:-1] = False
    return edge
