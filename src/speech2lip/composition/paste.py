"""Put a lip patch back into an observed frame: find the region, carry the patch there (C2O), mix it in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from speech2lip.decomposition.canonical import Canonical
from speech2lip.geometry.mapping import (
    canonical_from_observed_points,
    look_up,
    observed_from_canonical_points,
)

Box = tuple[int, int, int, int]

_LATTICE = 4
"""Pixels between places where the mapping is solved; between them it is interpolated (mean error below
0.05 px).
"""


@dataclass(frozen=True)
class HeadView:
    """Where and in what light the head is in a frame."""

    camera_from_head: Tensor
    """[4, 4]."""
    k: Tensor
    """[3, 3]."""
    light: Tensor
    """[3] the frame's skin colour over the avatar's usual one."""
    steady_from_head: Tensor
    """[4, 4] as `camera_from_head` without quick movement, which the jaw causes: for the lip field."""


class Paster:
    """Holds the canonical geometry on a device and maps it into frames."""

    def __init__(self, canonical: Canonical, *, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.depth = self._tensor(canonical.depth)
        self.k = self._tensor(canonical.k)
        self.head_from_canonical = torch.linalg.inv(self._tensor(canonical.camera_from_head))
        self.mask = self._tensor(canonical.jaw_mask)[None, None]
        x0, y0, x1, y1 = canonical.patch.box
        self.box_start = torch.tensor([x0, y0], device=self.device)
        self.box_size = torch.tensor([x1 - x0, y1 - y0], device=self.device)
        self.patch_points = self._tensor(canonical.patch.points())
        self.outline = self.patch_points[self.mask[0, 0] > 0.01][::7]

    def _tensor(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).float().to(self.device)

    def observed_from_canonical(self, camera_from_head: Tensor) -> Tensor:
        """T_o T_c^-1; [..., 4, 4]."""
        return camera_from_head @ self.head_from_canonical

    def region(self, place: HeadView, size: tuple[int, int], *, margin: float = 0.12) -> Box:
        """Return the box of the frame that holds the replaced region and some of what surrounds it.

        Args:
            size: (H, W) of the frame; margin: what is added on each side, as a share of the region.
        """
        transform = self.observed_from_canonical(place.camera_from_head)[None]
        where = observed_from_canonical_points(self.outline[None], self.depth, transform, self.k, place.k)[0]
        low, high = where.amin(0), where.amax(0)
        edge = (high - low) * margin + 2
        x0, y0 = (low - edge).floor().tolist()
        x1, y1 = (high + edge).ceil().tolist()
        x0, y0 = max(0, min(int(x0), size[1] - 2)), max(0, min(int(y0), size[0] - 2))
        return x0, y0, max(x0 + 2, min(int(x1), size[1])), max(y0 + 2, min(int(y1), size[0]))

    def patch_uv(self, place: HeadView, box: Box) -> Tensor:
        """Find the place on the patch that each pixel of a box shows.

        Returns:
            [h, w, 2] in [0, 1] over the patch; beyond where the pixel is not on it.
        """
        x0, y0, x1, y1 = box
        columns, rows = x1 - x0, y1 - y0
        nodes_x, nodes_y = -(-columns // _LATTICE) + 1, -(-rows // _LATTICE) + 1
        x = torch.linspace(x0 + 0.5, x1 - 0.5, nodes_x, device=self.device)
        y = torch.linspace(y0 + 0.5, y1 - 0.5, nodes_y, device=self.device)
        lattice = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        uv = self._uv_at(lattice.reshape(1, -1, 2), place).reshape(1, nodes_y, nodes_x, 2).movedim(-1, 1)
        fine = functional.interpolate(uv, size=(rows, columns), mode="bilinear", align_corners=True)
        return fine[0].movedim(0, -1)

    def patch_uv_plain(self, place: HeadView, box: Box) -> Tensor:
        """Do as `patch_uv`, solving the mapping at every pixel: its plain twin."""
        x0, y0, x1, y1 = box
        x = torch.arange(x0, x1, device=self.device) + 0.5
        y = torch.arange(y0, y1, device=self.device) + 0.5
        pixels = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        return self._uv_at(pixels.reshape(1, -1, 2), place).reshape(*pixels.shape)

    def _uv_at(self, pixels: Tensor, place: HeadView) -> Tensor:
        transform = self.observed_from_canonical(place.camera_from_head)[None]
        found = canonical_from_observed_points(pixels, self.depth, transform, self.k, place.k)[0]
        return (found - self.box_start) / self.box_size

    def carry(self, patch: Tensor, uv: Tensor, light: Tensor) -> Tensor:
        """Carry patches to where frames show them, in the frames' light.

        Args:
            patch: [B, 3, p, q]; uv: [B, h, w, 2] in [0, 1] over the patch; light: [B, 3].

        Returns:
            [B, 3, h, w].
        """
        size = uv.new_tensor([patch.shape[-1], patch.shape[-2]])
        return look_up(patch, uv * size) * light[..., None, None].to(patch.dtype)

    def carry_mask(self, uv: Tensor) -> Tensor:
        """Carry the jaw mask to where frames show it; [B, h, w, 2] -> [B, 1, h, w]."""
        size = uv.new_tensor([self.mask.shape[-1], self.mask.shape[-2]])
        return look_up(self.mask.expand(len(uv), -1, -1, -1), uv * size, padding="zeros")


def pose_numbers(observed_from_canonical: NDArray[np.float64]) -> NDArray[np.float32]:
    """Describe head poses to the lip field: rotation vector and shift from the canonical one.

    The numbers are about 1 where the pose differs much.

    Args:
        observed_from_canonical: [T, 4, 4].

    Returns:
        [T, 6].
    """
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_matrix(observed_from_canonical[:, :3, :3]).as_rotvec() / 0.2
    shift = np.tanh(observed_from_canonical[:, :3, 3])
    return np.concatenate([turn, shift], axis=1).astype(np.float32)
