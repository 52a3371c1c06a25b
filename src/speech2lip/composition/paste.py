"""Put a lip patch back into an observed frame: find the region, carry the patch there (C2O), mix it in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from speech2lip.conventions import Box
from speech2lip.decomposition.canonical import Canonical
from speech2lip.geometry.mapping import (
    canonical_from_observed_points,
    observed_from_canonical_points,
    sample,
)
from speech2lip.head_track import HeadTrack

REGION_MARGIN = 0.12
"""What is looked at around the replaced region on each side, as a share of it."""
REGION_MARGIN_PIXELS = 2
"""And pixels that are added to that."""
LATTICE = 4
"""Pixels between places where the mapping is solved; between them it is interpolated (mean error below
0.05 px).
"""


class Paster:
    """Holds the canonical geometry on a device and maps it into frames and back."""

    def __init__(self, canonical: Canonical, *, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.depth = self.tensor(canonical.depth)
        self.k = self.tensor(canonical.k)
        self.head_from_canonical = np.linalg.inv(canonical.camera_from_head)
        self.mask = self.tensor(canonical.jaw_mask)[None, None]
        x0, y0, x1, y1 = canonical.patch.box
        self.box_start = torch.tensor([x0, y0], device=self.device)
        self.box_size = torch.tensor([x1 - x0, y1 - y0], device=self.device)
        self.patch_points = self.tensor(canonical.patch.points())
        self.outline = self.patch_points[self.mask[0, 0] > 0.01][::7]

    def tensor(self, array: NDArray[np.generic]) -> Tensor:
        """Return an array in fp32 on the device."""
        return torch.from_numpy(np.ascontiguousarray(array)).float().to(self.device)

    def observed_from_canonical(self, head: HeadTrack) -> Tensor:
        """T_o T_c^-1; [B, 4, 4]."""
        return self.tensor(head.camera_from_head @ self.head_from_canonical)

    def observed_points(self, points: Tensor, head: HeadTrack) -> Tensor:
        """Find where canonical pixels [N, 2] lie in frames (O2C); [B, N, 2]."""
        transforms = self.observed_from_canonical(head)
        return observed_from_canonical_points(points, self.depth, transforms, self.k, self.tensor(head.k))

    def patch_places(self, points: Tensor, head: HeadTrack) -> Tensor:
        """Find where on the patch pixels [B, N, 2] of frames lie (C2O); [B, N, 2] in [0, 1], or beyond it."""
        transforms = self.observed_from_canonical(head)
        found = canonical_from_observed_points(points, self.depth, transforms, self.k, self.tensor(head.k))
        return (found - self.box_start) / self.box_size

    def patch_of(self, frame: Tensor, head: HeadTrack, *, mode: str = "bilinear") -> Tensor:
        """Bring the mouth of a frame [3, H, W] into canonical space and light; [3, h, w] in [0, 1].

        `mode` is as for `sample`.
        """
        where = self.observed_points(self.patch_points.reshape(-1, 2), head)
        found = sample(frame[None], where, mode=mode).reshape(3, *self.patch_points.shape[:2])
        return (found / self.tensor(head.light_gain[0])[:, None, None]).clamp(0, 1)

    def regions(self, head: HeadTrack, size: tuple[int, int], *, margin: float = REGION_MARGIN) -> list[Box]:
        """Return the boxes of frames that hold the replaced region and some of what surrounds it.

        Args:
            size: (H, W) of the frames; margin: what is added on each side, as a share of the region.
        """
        where = self.observed_points(self.outline, head)
        low, high = where.amin(1), where.amax(1)
        edge = (high - low) * margin + REGION_MARGIN_PIXELS
        regions: list[Box] = []
        for x0, y0, x1, y1 in torch.cat([(low - edge).floor(), (high + edge).ceil()], 1).int().tolist():
            left, top = max(0, min(x0, size[1] - 2)), max(0, min(y0, size[0] - 2))
            regions.append((left, top, max(left + 2, min(x1, size[1])), max(top + 2, min(y1, size[0]))))
        return regions

    def patch_uv(self, head: HeadTrack, boxes: Sequence[Box]) -> Tensor:
        """Find the place on the patch that each pixel of a box of each frame shows; all are of one size.

        Returns:
            [B, h, w, 2] in [0, 1] over the patch; beyond where the pixel is not on it.
        """
        columns, rows = boxes[0][2] - boxes[0][0], boxes[0][3] - boxes[0][1]
        x = torch.linspace(0.5, columns - 0.5, -(-columns // LATTICE) + 1)
        y = torch.linspace(0.5, rows - 0.5, -(-rows // LATTICE) + 1)
        lattice = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(1, -1, 2)
        starts = torch.tensor([box[:2] for box in boxes])[:, None]
        uv = self.patch_places((lattice + starts).to(self.device), head)
        uv = uv.reshape(len(boxes), len(y), len(x), 2).movedim(-1, 1)
        fine = functional.interpolate(uv, size=(rows, columns), mode="bilinear", align_corners=True)
        return fine.movedim(1, -1)

    def warp(self, patch: Tensor, uv: Tensor, light: Tensor) -> Tensor:
        """Warp patches to where frames show them, in the frames' light.

        Args:
            patch: [B, 3, p, q]; uv: [B, h, w, 2] in [0, 1] over the patch; light: [B, 3].

        Returns:
            [B, 3, h, w].
        """
        size = uv.new_tensor([patch.shape[-1], patch.shape[-2]])
        return sample(patch, uv * size) * light[..., None, None].to(patch.dtype)

    def warp_mask(self, uv: Tensor) -> Tensor:
        """Warp the jaw mask to where frames show it; [B, h, w, 2] -> [B, 1, h, w]."""
        size = uv.new_tensor([self.mask.shape[-1], self.mask.shape[-2]])
        return sample(self.mask.expand(len(uv), -1, -1, -1), uv * size, padding="zeros")
