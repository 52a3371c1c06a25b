"""GAMEM, the geometry-aware mutual explicit mapping between canonical and observed space.

Both directions rest on one equation (Speech2Lip, section 3.3): D_o p_o = K_o T_o T_c^-1 D_c K_c^-1 p_c,
with p homogeneous pixels. Everything is differentiable in depth, transform and camera; pixel centres are
those of `conventions`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from speech2lip.arrays import Array

ROUNDS = 5
"""Fixed-point rounds in which the observed depth is solved for."""


def pixel_centres(
    height: int, width: int, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return the centres of all pixels of a picture; [H, W, 2]."""
    y = torch.arange(height, device=device, dtype=dtype) + 0.5
    x = torch.arange(width, device=device, dtype=dtype) + 0.5
    return torch.stack([x[None, :].expand(height, width), y[:, None].expand(height, width)], dim=-1)


def map_points(
    points: Float[Tensor, "B N 2"],
    depth: Float[Tensor, "B N"],
    to_from_from: Float[Tensor, "B 4 4"],
    k_from: Float[Tensor, "*#B 3 3"],
    k_to: Float[Tensor, "*#B 3 3"],
) -> tuple[Float[Tensor, "B N 2"], Float[Tensor, "B N"]]:
    """Carry pixels with known depth from one camera into another.

    Args:
        points: [B, N, 2] in pixels of the first camera.
        depth: [B, N] along its z axis, in eye units.
        to_from_from: [B, 4, 4] rigid transform between the cameras.
        k_from, k_to: [B, 3, 3] or [3, 3].

    Returns:
        Pixels in the second camera, [B, N, 2], and the depths there, [B, N].
    """
    x = (points[..., 0] - k_from[..., 0, 2, None]) / k_from[..., 0, 0, None] * depth
    y = (points[..., 1] - k_from[..., 1, 2, None]) / k_from[..., 1, 1, None] * depth
    turned = torch.stack([x, y, depth], -1) @ to_from_from[:, :3, :3].transpose(1, 2)
    moved = turned + to_from_from[:, None, :3, 3]
    z = moved[..., 2]
    u = k_to[..., 0, 0, None] * moved[..., 0] / z + k_to[..., 0, 2, None]
    v = k_to[..., 1, 1, None] * moved[..., 1] / z + k_to[..., 1, 2, None]
    return torch.stack([u, v], -1), z


def sample(
    picture: Float[Tensor, "B C H W"],
    points: Float[Tensor, "B *N 2"],
    *,
    padding: str = "border",
    mode: str = "bilinear",
) -> Float[Tensor, "B C *N"]:
    """Sample a picture at pixels (a backward warp).

    Args:
        picture: [B, C, H, W].
        points: [B, ..., 2] in its pixels.
        padding: what lies beyond the border: `border` or `zeros`.
        mode: `bilinear`, or `bicubic`, which is slower and keeps fine detail.

    Returns:
        [B, C, ...]; of a picture in half precision in fp32, as places are.
    """
    size = points.new_tensor([picture.shape[-1], picture.shape[-2]])
    # Half precision cannot tell places apart: bfloat16 moves them by up to a pixel in 256.
    exact = torch.promote_types(picture.dtype, torch.float32)
    flat = (2 * points / size - 1).to(exact).reshape(len(points), 1, -1, 2)
    found = functional.grid_sample(
        picture.to(exact), flat, mode=mode, padding_mode=padding, align_corners=False
    )
    return found.reshape(*found.shape[:2], *points.shape[1:-1])


def sample_array(array: NDArray[np.floating[Any]], points: NDArray[np.floating[Any]]) -> Array:
    """Do as `sample` in numpy, on one array and to 1/32 of a pixel.

    Args:
        array: [H, W] or, with channels, [H, W, C].
        points: [N, 2] or [N, M, 2] in its pixels; what lies beyond the border is what lies at it.

    Returns:
        [N] or [N, M], with channels at the end.
    """
    import cv2

    where = np.asarray(points - 0.5, np.float32).reshape(len(points), -1, 2)
    found = cv2.remap(array, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.float64).reshape(*points.shape[:-1], *array.shape[2:])


def observed_from_canonical_points(
    points: Tensor,
    canonical_depth: Tensor,
    observed_from_canonical: Tensor,
    k_canonical: Tensor,
    k_observed: Tensor,
) -> Tensor:
    """Find where canonical points lie in observed frames: the look-up of O2C.

    Args:
        points: [B, N, 2] or [N, 2] canonical pixels.
        canonical_depth: [H, W] over the canonical picture.
        observed_from_canonical: [B, 4, 4], T_o T_c^-1.
        k_canonical, k_observed: [3, 3]; the observed may be [B, 3, 3].

    Returns:
        [B, N, 2] observed pixels.
    """
    batch = len(observed_from_canonical)
    points = points.expand(batch, *points.shape[-2:])
    depth = sample(canonical_depth.expand(batch, 1, *canonical_depth.shape), points)[:, 0]
    return map_points(points, depth, observed_from_canonical, k_canonical, k_observed)[0]


def canonical_from_observed_points(  # noqa: PLR0913 - what `observed_from_canonical_points` takes, and how
    points: Tensor,
    canonical_depth: Tensor,
    observed_from_canonical: Tensor,
    k_canonical: Tensor,
    k_observed: Tensor,
    *,
    rounds: int = ROUNDS,
    canonical_from_observed: Tensor | None = None,
) -> Tensor:
    """Find where observed pixels lie in canonical space: the look-up of C2O.

    The observed depth D_o is not stored: it is solved for by carrying the canonical depth at the present
    guess into the observed camera and mapping the pixel back with it. This converges wherever the surface is
    visible in both.

    Args:
        points: [B, N, 2] or [N, 2] observed pixels; the rest as in `observed_from_canonical_points`.
        rounds: fixed-point rounds.
        canonical_from_observed: the inverse transforms, where they are known.

    Returns:
        [B, N, 2] canonical pixels.
    """
    batch = len(observed_from_canonical)
    points = points.expand(batch, *points.shape[-2:])
    if canonical_from_observed is None:
        canonical_from_observed = torch.linalg.inv(observed_from_canonical)
    surface = canonical_depth.expand(batch, 1, *canonical_depth.shape)
    middle = k_canonical.new_tensor([canonical_depth.shape[1] / 2, canonical_depth.shape[0] / 2])
    found = middle.expand(batch, 1, 2)
    for _ in range(rounds + 1):
        depth_canonical = sample(surface, found)[:, 0]
        depth = map_points(found, depth_canonical, observed_from_canonical, k_canonical, k_observed)[1]
        depth = depth.expand(batch, points.shape[1])
        found = map_points(points, depth, canonical_from_observed, k_observed, k_canonical)[0]
    return found
