"""The fast path on a processor: networks by torch on batches, everything else by compiled kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from speech2lip.composition.blend_net import CROP_SIZE
from speech2lip.composition.paste import LATTICE, Box
from speech2lip.conventions import Floats, Picture
from speech2lip.head_track import HeadTrack
from speech2lip.inference.render.kernels import (
    Indices,
    add_residual,
    carry_patch,
    paste,
    read_colours,
    read_features,
    shrink_to,
    solve_lattice,
    spread_lattice,
    write_colours,
)
from speech2lip.inference.render.torch_renderer import TorchRenderer
from speech2lip.media.yuv import RGB_FROM_YUV, YUV_FROM_RGB, split
from speech2lip.model import SpeechFeatures

if TYPE_CHECKING:
    from speech2lip.inference.engine import Engine

_REACH = 4.0
"""Pixels of the texture that a flow of 1 moves a look-up by, as in `LipField.read`."""
_ROUNDS = 5
"""Fixed-point rounds, as in `canonical_from_observed_points`."""
_WHOLE_POINTS = 1024
"""Points are read in multiples of so many: oneDNN prepares and keeps code for every number of rows."""


@dataclass(frozen=True)
class CropBuffer:
    """One frame's box while it is worked on."""

    seen: Floats
    """[h, w, 8]: colours (3), mask (1) and reference (3), as the Blend-Net takes them, and a spare."""
    points: Floats
    """[N, 2] places on the patch of the pixels inside the mask."""
    where: Indices
    """[N] their numbers in the box."""
    start: tuple[int, int]
    """x, y in the frame where the box begins; even."""
    part: Box
    """The region inside the box."""


class CpuRenderer(TorchRenderer):
    """Draws frames on a processor; gives what `TorchRenderer` gives."""

    def __init__(self, engine: Engine, *, direct: float) -> None:
        """Lay the canonical geometry and the texture out for the kernels as well."""
        super().__init__(engine, direct=direct)
        paster = self.paster
        self.depth = paster.depth.numpy()
        self.k = paster.k.numpy()
        self.box = torch.cat([paster.box_start, paster.box_size]).float().numpy()
        height, width = self.texture.height, self.texture.width
        self.texture_rows = self.texture.rows.reshape(height, width, -1).numpy()
        self.mean_rows = np.ascontiguousarray(self.mean[0].permute(1, 2, 0).numpy())
        around = ((1, 1), (1, 1), (0, 0))
        mask = np.pad(paster.mask[0, 0].numpy()[..., None], around)
        self.covers = np.concatenate([mask, np.pad(self.mean_rows, around, mode="edge")], axis=2)
        self.patch_points = np.ascontiguousarray(self.patch[self.patch_shown].numpy())
        self.rgb_from_yuv, self.yuv_from_rgb = RGB_FROM_YUV.numpy(), YUV_FROM_RGB.numpy()

    def speak(
        self,
        pictures: Sequence[Picture],
        head: HeadTrack,
        spoken: SpeechFeatures,
        *,
        blend: bool = True,
    ) -> list[Picture]:
        """Draw and compose pictures uint8 [3 H / 2, W] (yuv420p); returns new ones."""
        size = (pictures[0].shape[0] * 2 // 3, pictures[0].shape[1])
        with torch.inference_mode():
            regions = self.paster.regions(head, size)
            grids = self.grids(spoken, head).permute(0, 2, 3, 1).contiguous().numpy()
            sheets = []
            for index, (picture, region, grid) in enumerate(zip(pictures, regions, grids, strict=True)):
                sheet = self._sheet(picture, head[index], region, size)
                self._paste(sheet, grid, head.light_gain[index])
                sheets.append(sheet)
            if blend:
                self._blend(sheets)
        return [self._written(picture, sheet) for picture, sheet in zip(pictures, sheets, strict=True)]

    def _sheet(self, picture: Picture, head: HeadTrack, region: Box, size: tuple[int, int]) -> CropBuffer:
        x0, y0 = region[0] // 2 * 2, region[1] // 2 * 2
        x1, y1 = min(size[1], -(-region[2] // 2) * 2), min(size[0], -(-region[3] // 2) * 2)
        height, width = y1 - y0, x1 - x0
        seen = np.empty((height, width, 8), np.float32)
        read_colours(*split(picture), x0, y0, self.rgb_from_yuv, seen)
        nodes_y, nodes_x = -(-height // LATTICE) + 1, -(-width // LATTICE) + 1
        lattice = np.empty((nodes_y, nodes_x, 2), np.float32)
        step = np.array([(width - 1) / (nodes_x - 1), (height - 1) / (nodes_y - 1)], np.float32)
        start = np.array([x0 + 0.5, y0 + 0.5], np.float32)
        transform = self.paster.observed_from_canonical(head)[0]
        forth, back = transform.numpy(), torch.linalg.inv(transform).numpy()
        k = head.k.astype(np.float32)
        solve_lattice(start, step, self.depth, forth, back, self.k, k, self.box, _ROUNDS, lattice)
        points = np.empty((height * width, 2), np.float32)
        where = np.empty(height * width, np.int32)
        count = spread_lattice(lattice, self.covers, head.light_gain[0], seen, points, where)
        part = (region[0] - x0, region[1] - y0, region[2] - x0, region[3] - y0)
        return CropBuffer(seen, points[:count], where[:count], (x0, y0), part)

    def _paste(self, sheet: CropBuffer, grid: Floats, light: Floats) -> None:
        left, top, right, bottom = sheet.part
        if (right - left) * (bottom - top) > self.most:
            colours = np.empty((len(sheet.points), 3), np.float32)
            carry_patch(sheet.points, self._patch(grid), colours)
        else:
            colours = self._colours(sheet.points, grid)
        paste(colours, light, sheet.where, sheet.seen.reshape(-1, 8))

    def _patch(self, grid: Floats) -> Floats:
        """Draw the whole patch, where anything of it is shown; [p, q, 3]."""
        patch = self.mean_rows.copy()
        patch.reshape(-1, 3)[self.patch_shown.numpy()] = self._colours(self.patch_points, grid)
        return patch

    def _colours(self, points: Floats, grid: Floats) -> Floats:
        """Read colours [N, 3] at places [N, 2], so many at once as stay in the cache."""
        colours = np.empty((len(points), 3), np.float32)
        most = min(-(-len(points) // _WHOLE_POINTS) * _WHOLE_POINTS, self.points)
        hidden = np.zeros((most, grid.shape[-1] - 2), np.float32)
        for first in range(0, len(points), self.points):
            some = points[first : first + self.points]
            found = colours[first : first + len(some)]
            room = hidden[: -(-len(some) // _WHOLE_POINTS) * _WHOLE_POINTS]
            read_features(some, grid, self.texture_rows, _REACH, found, room[: len(some)])
            found += self.rest(torch.from_numpy(room).to(self.dtype))[: len(some)].float().numpy()
        return colours

    def _blend(self, sheets: Sequence[CropBuffer]) -> None:
        small = torch.empty(len(sheets), *CROP_SIZE, 8)
        for sheet, target in zip(sheets, small, strict=True):
            left, top, right, bottom = sheet.part
            between = np.empty((bottom - top, CROP_SIZE[1], 8), np.float32)
            shrink_to(sheet.seen[top:bottom, left:right], between, target.numpy())
        residual: Tensor = self.mend(small.permute(0, 3, 1, 2)[:, :7]).permute(0, 2, 3, 1).contiguous()
        for sheet, added in zip(sheets, residual, strict=True):
            add_residual(sheet.seen, added.numpy(), *sheet.part)

    def _written(self, picture: Picture, sheet: CropBuffer) -> Picture:
        composed = picture.copy()
        room = np.empty((*sheet.seen.shape[:2], 2), np.float32)
        write_colours(sheet.seen, self.yuv_from_rgb, room, *split(composed), *sheet.start)
        return composed
