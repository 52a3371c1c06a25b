"""Depth of the whole head in canonical space as the face mesh has it, and frames brought there with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
from scipy.ndimage import distance_transform_edt, gaussian_filter
from torch import Tensor

from speech2lip.decomposition.regions import eye_distance, fill_polygon
from speech2lip.faces.landmarks import CHIN, FACE_OVAL, SUBNASALE
from speech2lip.geometry.mapping import look_up, observed_from_canonical_points, pixel_centres

_BACK = 0.5
"""How far behind the edge of the face the head's sides and hair lie, in eye units."""
_STEEP = 0.8
"""How fast the head recedes at that edge."""
_AT_ONCE = 12
"""Frames brought into canonical space together."""


def mesh_depth(points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    """Interpolate depth between the points of the face and carry it on beyond them.

    Args:
        points: [N, 3]: canonical pixels x, y and depth in eye units.
        size: (H, W) of the canonical picture.

    Returns:
        [H, W] in eye units, smooth.
    """
    y, x = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
    inside = LinearNDInterpolator(points[:, :2], points[:, 2])(x, y)
    beyond = NearestNDInterpolator(points[:, :2], points[:, 2])(x, y)
    sigma = 0.03 * max(size)
    far = gaussian_filter(beyond, 2 * sigma)
    depth = np.where(np.isnan(inside), far, inside)
    smooth: NDArray[np.float32] = gaussian_filter(depth, sigma / 3).astype(np.float32)
    return smooth


def head_depth(points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the depth that is assumed before any is learned: the mesh, and a head that recedes beyond it.

    Beyond the sides and the top of the face the head curves back; neck and shoulders, which do not turn with
    it, go on as `mesh_depth` has them.

    Args:
        points: [478, 3]: canonical pixels x, y and depth in eye units; size: (H, W) of the canonical picture.

    Returns:
        [H, W] in eye units.
    """
    unit = eye_distance(points[:, :2])
    where = pixel_centres(*size).numpy()
    face = fill_polygon(points[list(FACE_OVAL), :2], where)
    away = distance_transform_edt(~face) / unit
    nose, chin = points[SUBNASALE, 1], points[CHIN[0], 1]
    sides = np.clip((chin - where[..., 1]) / (chin - nose), 0, 1)
    back = _BACK * (1 - np.exp(-away * _STEEP / _BACK)) * sides
    smooth: NDArray[np.float32] = gaussian_filter(back, 0.03 * unit).astype(np.float32)
    return mesh_depth(points, size) + smooth


@dataclass(frozen=True)
class Views:
    """Frames at many head poses, to be brought into canonical space."""

    frames: Tensor
    """[F, 3, H_o, W_o] in [0, 1]."""
    observed_from_canonical: Tensor
    """[F, 4, 4]."""
    k_canonical: Tensor
    k_observed: Tensor
    """[3, 3] and [F, 3, 3]."""
    weight: Tensor
    """[H, W], 0 where colours are not to be trusted (the mouth)."""

    def warped(self, depth: Tensor, chosen: slice) -> tuple[Tensor, Tensor]:
        """Bring frames into canonical space; [F, 3, H, W], and whether each shows the place, [F, 1, H, W]."""
        frames, points = self.frames[chosen], pixel_centres(*depth.shape)
        where = observed_from_canonical_points(
            points.reshape(1, -1, 2),
            depth,
            self.observed_from_canonical[chosen],
            self.k_canonical,
            self.k_observed[chosen],
        ).reshape(len(frames), *points.shape)
        size = where.new_tensor([frames.shape[-1], frames.shape[-2]])
        return look_up(frames, where), ((where > 0) & (where < size)).all(-1)[:, None].float()

    def mean(self, depth: Tensor) -> Tensor:
        """Return the mean of the frames in canonical space; [3, H, W]."""
        total, weight = torch.zeros(()), torch.zeros(())
        for start in range(0, len(self.frames), _AT_ONCE):
            picture, inside = self.warped(depth, slice(start, start + _AT_ONCE))
            seen = inside * self.weight + 1e-4
            total, weight = total + (picture * seen).sum(0), weight + seen.sum(0)
        return total / weight

    def motion(self, depth: Tensor, mean: Tensor) -> Tensor:
        """Return the mean absolute deviation from the mean canonical picture; [H, W] in grey levels."""
        total = torch.zeros(depth.shape)
        for n in range(len(self.frames)):
            picture = self.warped(depth, slice(n, n + 1))[0][0]
            gain = picture.mean((1, 2), keepdim=True) / mean.mean((1, 2), keepdim=True)
            total += (picture / gain - mean).abs().mean(0)
        return total / len(self.frames) * 255
