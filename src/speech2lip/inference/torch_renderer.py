"""Draw and compose many frames at once, touching nothing but the replaced region.

Geometry is solved for all frames together; lips are read only where the mask shows them. Of our lip field
the first layer of the network that turns features into colours is linear, as are the look-ups, so it is
applied to the tables beforehand; weights are turned into the working precision once.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from speech2lip.arrays import Picture
from speech2lip.composition.blend_net import shrink
from speech2lip.composition.paste import Paster
from speech2lip.conventions import Box
from speech2lip.head_track import HeadTrack
from speech2lip.media.yuv import read_box, write_box
from speech2lip.model import LipModel, SpeechFeatures
from speech2lip.synthesis.lip_field import FLOW_SCALE_PX, LipField, uv_lattice

_DIRECT = 1.5
"""Lips are read at the frame's own pixels up to this many times as many as the patch has. Of larger faces a
patch is drawn: what it costs depends on the person, not on the frame.
"""


class TorchRenderer:
    """Draws an avatar's lips for moments of speech and composes them into frames, on any device."""

    def __init__(self, model: LipModel, paster: Paster, *, precision: str) -> None:
        """Prepare tables and weights for a precision, fp32 or bf16."""
        self.model, self.paster = model, paster
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.blend_net = copy.deepcopy(model.blend_net).to(self.dtype)
        self.mean = model.lip_field.mean.detach().float()
        self.patch = uv_lattice(*model.lip_field.drawn_size).to(paster.device)
        self.direct_pixels = 0.0
        """Pixels of a region up to which lips are read there; the paper's field always draws a patch."""
        if isinstance(model.lip_field, LipField):
            self.direct_pixels = _DIRECT * self.patch[0, ..., 0].numel()
            self._lay_out(model.lip_field)

    @torch.inference_mode()
    def _lay_out(self, field: LipField) -> None:
        first = field.colour[0]
        assert isinstance(first, nn.Linear)
        features = field.flow.in_channels
        from_texture = first.weight.detach()[:, features:, None, None]
        texture = functional.conv2d(field.texture, from_texture, first.bias)
        self.texture = Table(torch.cat([field.mean, texture], dim=1))
        self.from_features = first.weight.detach()[:, :features, None, None]
        self.field = copy.deepcopy(field).to(self.dtype)
        self.mlp_tail = self.field.colour[1:]

    @torch.inference_mode()
    def speak(self, pictures: Sequence[Picture], head: HeadTrack, spoken: SpeechFeatures) -> list[Picture]:
        """Draw lips for moments of speech into pictures uint8 [3 H / 2, W] (yuv420p); returns new ones.

        Pixels outside the replaced region are neither converted nor changed.
        """
        regions = self._regions(pictures, head)
        if max((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in regions) > self.direct_pixels:
            return self._composed(pictures, head, regions, self.draw(spoken, head), direct=False)
        return self._composed(pictures, head, regions, self.grids(spoken, head), direct=True)

    @torch.inference_mode()
    def paste(self, pictures: Sequence[Picture], head: HeadTrack, patches: Tensor) -> list[Picture]:
        """Do as `speak` with lip patches [B, 3, h, w] in canonical light."""
        regions = self._regions(pictures, head)
        return self._composed(pictures, head, regions, patches.to(self.paster.device), direct=False)

    @torch.inference_mode()
    def draw(self, spoken: SpeechFeatures, head: HeadTrack) -> Tensor:
        """Draw the lip patches of moments, in canonical light; [B, 3, h, w] about [0, 1]."""
        bf16 = self.dtype == torch.bfloat16
        with torch.autocast(self.paster.device.type, dtype=torch.bfloat16, enabled=bf16):
            uv = self.patch.expand(len(head), -1, -1, -1)
            return self.model.draw(spoken, self.paster.tensor(head.pose), uv).float()

    def grids(self, spoken: SpeechFeatures, head: HeadTrack) -> Tensor:
        """Draw flow and features [B, 2 + F, r, c], the first layer of the colour network in them."""
        given = (spoken.code, spoken.shape, self.paster.tensor(head.pose))
        grid = self.field.grid(*(part.to(self.dtype) for part in given)).float()
        return torch.cat([grid[:, :2], functional.conv2d(grid[:, 2:], self.from_features)], dim=1)

    def _regions(self, pictures: Sequence[Picture], head: HeadTrack) -> list[Box]:
        return self.paster.regions(head, (pictures[0].shape[0] * 2 // 3, pictures[0].shape[1]))

    def _composed(
        self,
        pictures: Sequence[Picture],
        head: HeadTrack,
        regions: list[Box],
        drawn: Tensor,
        *,
        direct: bool,
    ) -> list[Picture]:
        """Compose what was drawn: `grids` where it is read `direct`, else patches."""
        boxes = _boxes(regions, (pictures[0].shape[0] * 2 // 3, pictures[0].shape[1]))
        crops = read_box(list(pictures), boxes).to(self.paster.device)
        uv, light = self.paster.patch_uv(head, boxes), self.paster.tensor(head.light_gain)
        mask = self.paster.warp_mask(uv)
        inside = mask[:, 0] > 0
        which, row, column = inside.nonzero(as_tuple=True)
        table = Table(drawn)
        lips = self._read(table, uv[inside], which) if direct else table.look_up_uv(uv[inside], which)
        there = crops[which, :, row, column]
        weight = mask[which, 0, row, column, None]
        crops[which, :, row, column] = there + (lips * light[which] - there) * weight
        reference = self.paster.warp(self.mean.expand(len(uv), -1, -1, -1), uv, light)
        inner = [_inside(region, box) for region, box in zip(regions, boxes, strict=True)]
        residual = self._residual(torch.cat([crops, mask, reference], dim=1), inner)
        rgb, inside = (crops + residual * (mask > 0)).cpu(), inside.cpu()
        composed = [picture.copy() for picture in pictures]
        for index, picture in enumerate(composed):
            write_box(picture, boxes[index], rgb[index], inside[index])
        return composed

    def _read(self, grids: Table, uv: Tensor, which: Tensor) -> Tensor:
        """Read colours [N, 3] at places [N, 2] of the patch from the grids of frames `which` [N]."""
        found = grids.look_up_uv(uv, which)
        texture = self.texture.look_up_uv(uv, flow=found[:, :2] * FLOW_SCALE_PX)
        hidden = (found[:, 2:] + texture[:, 3:]).to(self.dtype)
        return texture[:, :3] + self.mlp_tail(hidden).float()

    def mend(self, small: Tensor) -> Tensor:
        """Run the Blend-Net on pasted picture, mask and reference [B, 7, p, q]; [B, 3, p, q]."""
        small = small.to(self.dtype, memory_format=torch.channels_last)
        return self.blend_net(small[:, :3], small[:, 3:4], small[:, 4:]).float()

    def _residual(self, seen: Tensor, inner: Sequence[tuple[slice, slice]]) -> Tensor:
        """Return what the Blend-Net adds to boxes [B, 7, h, w], of which it sees rows and columns `inner`."""
        parts = [shrink(seen[i : i + 1, :, rows, columns]) for i, (rows, columns) in enumerate(inner)]
        enlarged = torch.zeros_like(seen[:, :3])
        for target, residual, (rows, columns) in zip(
            enlarged, self.mend(torch.cat(parts)), inner, strict=True
        ):
            size = (rows.stop - rows.start, columns.stop - columns.start)
            target[:, rows, columns] = functional.interpolate(
                residual[None], size=size, mode="bilinear", align_corners=False
            )[0]
        return enlarged


def _boxes(regions: list[Box], size: tuple[int, int]) -> list[Box]:
    """Return boxes of one size with even edges, each around its region and inside the frame."""
    height = min(size[0], max(y1 - y0 for _, y0, _, y1 in regions) // 2 * 2 + 4)
    width = min(size[1], max(x1 - x0 for x0, _, x1, _ in regions) // 2 * 2 + 4)
    boxes = []
    for x0, y0, _, _ in regions:
        left, top = min(x0 // 2 * 2, size[1] - width), min(y0 // 2 * 2, size[0] - height)
        boxes.append((left, top, left + width, top + height))
    return boxes


def _inside(region: Box, box: Box) -> tuple[slice, slice]:
    """Return the rows and columns of a region inside the box around it."""
    return slice(region[1] - box[1], region[3] - box[1]), slice(region[0] - box[0], region[2] - box[0])


class Table:
    """Pictures kept as rows of channels, [B x H x W, C], so that one look-up reads four whole rows.

    `grid_sample` reads every channel of every corner on its own, which takes three to six times as long.
    """

    def __init__(self, pictures: Tensor) -> None:
        """Keep pictures [B, C, H, W]."""
        self.count, self.channels, self.height, self.width = pictures.shape
        rows = pictures.permute(0, 2, 3, 1).reshape(-1, self.channels)
        self.rows = rows.float().contiguous()

    def look_up_uv(self, uv: Tensor, which: Tensor | None = None, *, flow: Tensor | float = 0.0) -> Tensor:
        """Read at places [N, 2] in [0, 1], moved by a flow in pixels, the nearest edge beyond; [N, C].

        `which` [N] says which picture each place reads; None: the first.
        """
        limit = uv.new_tensor([self.width - 1, self.height - 1])
        place = (uv * (limit + 1) + flow - 0.5).clamp_min(0).minimum(limit)
        corner = place.floor().minimum((limit - 1).clamp_min(0))
        x, y = (place - corner).unbind(1)
        right, below = min(1, self.width - 1), min(1, self.height - 1) * self.width
        first = corner[:, 1].int() * self.width + corner[:, 0].int()
        if which is not None:
            first = first + which.int() * (self.height * self.width)
        indices = torch.stack([first, first + right, first + below, first + below + right], dim=1)
        far = x * y
        weights = torch.stack([1 - x - y + far, x - far, y - far, far], dim=1)
        return functional.embedding_bag(indices, self.rows, per_sample_weights=weights, mode="sum")
