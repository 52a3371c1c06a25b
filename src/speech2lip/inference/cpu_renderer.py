"""The renderer for processors: networks by torch on batches, everything else by compiled kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from speech2lip.arrays import Floats, Picture
from speech2lip.composition.blend_net import shrink
from speech2lip.composition.paste import LATTICE, Paster
from speech2lip.conventions import Box
from speech2lip.geometry.mapping import ROUNDS
from speech2lip.head_track import HeadTrack
from speech2lip.inference import kernels
from speech2lip.inference.torch_renderer import TorchRenderer
from speech2lip.media.yuv import RGB_FROM_YUV, YUV_FROM_RGB, split
from speech2lip.model import LipModel, SpeechFeatures
from speech2lip.synthesis.lip_field import FLOW_SCALE_PX, LipField

_POINTS = 16384
"""Points read at once: what is known of so many stays in the cache."""
_WHOLE_POINTS = 1024
"""Points are read in multiples of so many: oneDNN prepares and keeps code for every number of rows."""


@dataclass(frozen=True)
class CropBuffer:
    """One frame's box while it is worked on."""

    seen: Floats
    """[h, w, 8]: colours (3), mask (1) and reference (3), as the Blend-Net takes them, and a spare."""
    points: Floats
    """[N, 2] places on the patch of the pixels inside the mask."""
    where: kernels.Indices
    """[N] their numbers in the box."""
    start: tuple[int, int]
    """x, y in the frame where the box begins; even."""
    part: Box
    """The region inside the box."""


class CpuRenderer(TorchRenderer):
    """Gives on a processor what `TorchRenderer` gives, several times as fast."""

    def __init__(self, model: LipModel, paster: Paster, *, precision: str) -> None:
        """Lay the canonical geometry and the tables out for the kernels as well."""
        super().__init__(model, paster, precision=precision)
        self.depth, self.k = paster.depth.numpy(), paster.k.numpy()
        self.box = torch.cat([paster.box_start, paster.box_size]).float().numpy()
        mean = self.mean[0].permute(1, 2, 0).numpy()
        around = ((1, 1), (1, 1), (0, 0))
        mask = np.pad(paster.mask[0, 0].numpy()[..., None], around)
        self.mask_and_mean = np.concatenate([mask, np.pad(mean, around, mode="edge")], axis=2)
        self.rgb_from_yuv, self.yuv_from_rgb = RGB_FROM_YUV.numpy(), YUV_FROM_RGB.numpy()
        if isinstance(model.lip_field, LipField):
            height, width = self.texture.height, self.texture.width
            self.texture_rows = self.texture.rows.reshape(height, width, -1).numpy()
            # What the mask covers and a look-up beside it reads; elsewhere a patch is the mean one.
            shown = functional.max_pool2d(paster.mask, 5, stride=1, padding=2)[0, 0] > 0
            self.patch_shown = shown.numpy()
            self.patch_points = np.ascontiguousarray(self.patch[0][shown].numpy())

    @torch.inference_mode()
    def draw(self, spoken: SpeechFeatures, head: HeadTrack) -> Tensor:
        """Draw the lip patches of moments, in canonical light; [B, 3, h, w] about [0, 1]."""
        if not isinstance(self.model.lip_field, LipField):
            return super().draw(spoken, head)
        patches = self.mean.repeat(len(head), 1, 1, 1).permute(0, 2, 3, 1).contiguous()
        grids = self.grids(spoken, head).permute(0, 2, 3, 1).contiguous().numpy()
        for patch, grid in zip(patches.numpy(), grids, strict=True):
            patch[self.patch_shown] = self._colours(self.patch_points, grid)
        return patches.permute(0, 3, 1, 2)

    def _composed(
        self,
        pictures: Sequence[Picture],
        head: HeadTrack,
        regions: list[Box],
        drawn: Tensor,
        *,
        direct: bool,
    ) -> list[Picture]:
        crops = []
        tables = drawn.float().permute(0, 2, 3, 1).contiguous().numpy()
        for index, (picture, region, table) in enumerate(zip(pictures, regions, tables, strict=True)):
            crop = self._crop(picture, head[index], region)
            if direct:
                lips = self._colours(crop.points, table)
            else:
                lips = np.empty((len(crop.points), 3), np.float32)
                kernels.warp_patch(crop.points, table, lips)
            kernels.paste(lips, head.light_gain[index], crop.where, crop.seen.reshape(-1, 8))
            crops.append(crop)
        self._blend(crops)
        return [self._written(picture, crop) for picture, crop in zip(pictures, crops, strict=True)]

    def _crop(self, picture: Picture, head: HeadTrack, region: Box) -> CropBuffer:
        """Read what the box around a region shows and where on the patch its pixels lie."""
        frame_height, frame_width = picture.shape[0] * 2 // 3, picture.shape[1]
        x0, y0 = region[0] // 2 * 2, region[1] // 2 * 2
        x1, y1 = min(frame_width, -(-region[2] // 2) * 2), min(frame_height, -(-region[3] // 2) * 2)
        height, width = y1 - y0, x1 - x0
        seen = np.empty((height, width, 8), np.float32)
        kernels.read_colours(*split(picture), x0, y0, self.rgb_from_yuv, seen)
        nodes_y, nodes_x = -(-height // LATTICE) + 1, -(-width // LATTICE) + 1
        lattice = np.empty((nodes_y, nodes_x, 2), np.float32)
        step = np.array([(width - 1) / (nodes_x - 1), (height - 1) / (nodes_y - 1)], np.float32)
        start = np.array([x0 + 0.5, y0 + 0.5], np.float32)
        transform = self.paster.observed_from_canonical(head)[0]
        forth, back, k = transform.numpy(), torch.linalg.inv(transform).numpy(), head.k.astype(np.float32)
        kernels.solve_lattice(start, step, self.depth, forth, back, self.k, k, self.box, ROUNDS, lattice)
        points = np.empty((height * width, 2), np.float32)
        where = np.empty(height * width, np.int32)
        count = kernels.spread_lattice(lattice, self.mask_and_mean, head.light_gain[0], seen, points, where)
        part = (region[0] - x0, region[1] - y0, region[2] - x0, region[3] - y0)
        return CropBuffer(seen, points[:count], where[:count], (x0, y0), part)

    def _colours(self, points: Floats, grid: Floats) -> Floats:
        """Read colours [N, 3] at places [N, 2], so many at once as stay in the cache."""
        colours = np.empty((len(points), 3), np.float32)
        most = min(-(-len(points) // _WHOLE_POINTS) * _WHOLE_POINTS, _POINTS)
        hidden = np.zeros((most, grid.shape[-1] - 2), np.float32)
        for first in range(0, len(points), _POINTS):
            some = points[first : first + _POINTS]
            found = colours[first : first + len(some)]
            room = hidden[: -(-len(some) // _WHOLE_POINTS) * _WHOLE_POINTS]
            kernels.read_features(some, grid, self.texture_rows, FLOW_SCALE_PX, found, room[: len(some)])
            found += self.mlp_tail(torch.from_numpy(room).to(self.dtype))[: len(some)].float().numpy()
        return colours

    def _blend(self, crops: Sequence[CropBuffer]) -> None:
        parts = []
        for crop in crops:
            left, top, right, bottom = crop.part
            seen = torch.from_numpy(crop.seen[top:bottom, left:right, :7])
            parts.append(shrink(seen.permute(2, 0, 1)[None]))
        residual = self.mend(torch.cat(parts)).permute(0, 2, 3, 1).contiguous()
        for crop, added in zip(crops, residual, strict=True):
            kernels.add_residual(crop.seen, added.numpy(), *crop.part)

    def _written(self, picture: Picture, crop: CropBuffer) -> Picture:
        composed = picture.copy()
        kernels.write_colours(crop.seen, self.yuv_from_rgb, *split(composed), crop.start)
        return composed
