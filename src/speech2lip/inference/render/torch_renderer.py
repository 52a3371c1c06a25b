"""Draw and compose many frames at once, touching nothing but the replaced region: the engine's fast path.

The arithmetic is that of `Engine.compose_directly`, its plain twin, in another order: geometry is solved for
all frames together; lips are read only where the mask shows them; the first layer of the network that turns
features into colours is linear, as are the look-ups, so it is applied to the tables beforehand; weights are
turned into the working precision once.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from speech2lip.composition.blend_net import shrink
from speech2lip.composition.paste import Box
from speech2lip.conventions import Picture
from speech2lip.head_track import HeadTrack
from speech2lip.media.yuv import read_box, write_box
from speech2lip.model import SpeechFeatures

if TYPE_CHECKING:
    from speech2lip.inference.engine import Engine

_POINTS = 16384
"""Points read at once on a processor: what is known of so many stays in its cache."""


@dataclass(frozen=True)
class Canvas:
    """What is worked on of several frames: boxes with even edges, of one size, and the regions in them."""

    boxes: list[Box]
    regions: list[Box]
    """What the Blend-Net sees of each frame, in pixels of the frame."""

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of each box."""
        x0, y0, x1, y1 = self.boxes[0]
        return y1 - y0, x1 - x0

    def inner(self, index: int) -> tuple[slice, slice]:
        """Rows and columns of a frame's region inside its box."""
        x0, y0, _, _ = self.boxes[index]
        left, top, right, bottom = self.regions[index]
        return slice(top - y0, bottom - y0), slice(left - x0, right - x0)


class TorchRenderer:
    """Draws frames for an engine with the default lip field."""

    def __init__(self, engine: Engine, *, direct: float) -> None:
        """Prepare tables and weights; `direct` as in the engine: beyond it a patch is drawn and carried."""
        self.engine, self.paster = engine, engine.paster
        self.dtype = torch.bfloat16 if engine.precision == "bf16" else torch.float32
        field = engine.model.grid_field
        self.features = field.flow.in_channels
        _, *rest = (copy.deepcopy(layer).to(self.dtype) for layer in field.colour)
        self.field = copy.deepcopy(field).to(self.dtype)
        self.blend_net = copy.deepcopy(engine.model.blend_net).to(self.dtype)
        self.rest = torch.nn.Sequential(*rest)
        first = field.colour[0]
        assert isinstance(first, torch.nn.Linear)
        weight, bias = first.weight.detach(), first.bias.detach()
        self.from_features, from_texture = weight[:, : self.features], weight[:, self.features :]
        with torch.inference_mode():
            texture = functional.conv2d(field.texture, from_texture[..., None, None], bias)
            self.texture = Table(torch.cat([field.mean, texture], dim=1))
            self.mean = field.mean.detach().float()
        self.patch = engine.uv.reshape(-1, 2)
        self.patch_size = engine.uv.shape[1:3]
        shown = functional.max_pool2d(self.paster.mask, 5, stride=1, padding=2)[0, 0] > 0
        self.patch_shown = shown.flatten().nonzero()[:, 0]
        self.points = _POINTS if engine.compute.device.type == "cpu" else 1 << 22
        self.most = direct * len(self.patch)

    def speak(
        self,
        pictures: Sequence[Picture],
        head: HeadTrack,
        spoken: SpeechFeatures,
        *,
        blend: bool = True,
    ) -> list[Picture]:
        """Draw and compose pictures uint8 [3 H / 2, W] (yuv420p); returns new ones."""
        height, width = pictures[0].shape[0] * 2 // 3, pictures[0].shape[1]
        with torch.inference_mode():
            regions = self.paster.regions(head, (height, width))
            canvas = Canvas(_boxes(regions, (height, width)), regions)
            device = self.engine.compute.device
            crops = read_box(list(pictures), canvas.boxes).to(device)
            tables = Table(self.grids(spoken, head))
            rgb, inside = self._compose(crops, canvas, head, tables, blend=blend)
            rgb, inside = rgb.cpu(), inside.cpu()
        composed = [picture.copy() for picture in pictures]
        for index, picture in enumerate(composed):
            write_box(picture, canvas.boxes[index], rgb[index], inside[index])
        return composed

    def grids(self, spoken: SpeechFeatures, head: HeadTrack) -> Tensor:
        """Draw flow and features [B, 2 + F, r, c], the first layer of the colour network in them."""
        pose = self.engine.pose(head)
        code, shape, pose = (part.to(self.dtype) for part in (spoken.code, spoken.shape, pose))
        grid = self.field.grid(code, shape, pose).float()
        ready = functional.conv2d(grid[:, 2:], self.from_features[..., None, None])
        return torch.cat([grid[:, :2], ready], dim=1)

    def _read(self, grids: Table, uv: Tensor, which: Tensor) -> Tensor:
        """Read colours [N, 3] at places [N, 2] of the patch from the grids of frames `which` [N]."""
        pieces = zip(torch.split(uv, self.points), torch.split(which, self.points), strict=True)
        return torch.cat([self._read_piece(grids, *piece) for piece in pieces])

    def _read_piece(self, grids: Table, uv: Tensor, which: Tensor) -> Tensor:
        found = grids.look_up(uv * uv.new_tensor([grids.width, grids.height]), which)
        pixels = uv * uv.new_tensor([self.texture.width, self.texture.height]) + found[:, :2] * 4
        texture = self.texture.look_up(pixels)
        hidden = (found[:, 2:] + texture[:, 3:]).to(self.dtype)
        return texture[:, :3] + self.rest(hidden).float()

    def _compose(
        self, crops: Tensor, canvas: Canvas, head: HeadTrack, grids: Table, *, blend: bool
    ) -> tuple[Tensor, Tensor]:
        uv = self.paster.patch_uv(head, canvas.boxes)
        mask, light = self.paster.carry_mask(uv), self.engine.light(head)
        inside = mask[:, 0] > 0
        which, row, column = inside.nonzero(as_tuple=True)
        if max((y1 - y0) * (x1 - x0) for x0, y0, x1, y1 in canvas.regions) > self.most:
            lips = self._carried(grids, uv[inside], which, len(crops))
        else:
            lips = self._read(grids, uv[inside], which)
        lips = lips * light[which]
        there = crops[which, :, row, column]
        weight = mask[which, 0, row, column, None]
        crops[which, :, row, column] = there + (lips - there) * weight
        if blend:
            crops = crops + self._residual(crops, mask, uv, canvas, light)
        return crops, inside

    def _carried(self, grids: Table, uv: Tensor, which: Tensor, count: int) -> Tensor:
        """Draw the patches of all frames and read them at places [N, 2]; [N, 3]."""
        shown = self.patch_shown
        frames = torch.arange(count, device=uv.device).repeat_interleave(len(shown))
        colours = self._read(grids, self.patch[shown].repeat(count, 1), frames)
        patches = self.mean[0].permute(1, 2, 0).reshape(1, -1, 3).repeat(count, 1, 1)
        patches[:, shown] = colours.reshape(count, len(shown), 3)
        rows, columns = self.patch_size
        table = Table(patches.reshape(count, rows, columns, 3).permute(0, 3, 1, 2))
        return table.look_up(uv * uv.new_tensor([columns, rows]), which)

    def mend(self, small: Tensor) -> Tensor:
        """Run the Blend-Net on pasted picture, mask and reference [B, 7, p, q]; [B, 3, p, q]."""
        small = small.to(self.dtype, memory_format=torch.channels_last)
        return self.blend_net(small[:, :3], small[:, 3:4], small[:, 4:]).float()

    def _residual(self, pasted: Tensor, mask: Tensor, uv: Tensor, canvas: Canvas, light: Tensor) -> Tensor:
        reference = self.paster.carry(self.mean.expand(len(uv), -1, -1, -1), uv, light)
        seen = torch.cat([pasted, mask, reference], dim=1)
        inner = [canvas.inner(index) for index in range(len(seen))]
        parts = [shrink(seen[i : i + 1, :, rows, columns]) for i, (rows, columns) in enumerate(inner)]
        residual = self.mend(torch.cat(parts))
        enlarged = torch.zeros_like(pasted)
        for index, (rows, columns) in enumerate(inner):
            size = (rows.stop - rows.start, columns.stop - columns.start)
            enlarged[index, :, rows, columns] = functional.interpolate(
                residual[index : index + 1], size=size, mode="bilinear", align_corners=False
            )[0]
        return enlarged * (mask > 0)


def _boxes(regions: list[Box], size: tuple[int, int]) -> list[Box]:
    """Return boxes of one size with even edges, each around its region and inside the frame."""
    height = min(size[0], max(y1 - y0 for _, y0, _, y1 in regions) // 2 * 2 + 4)
    width = min(size[1], max(x1 - x0 for x0, _, x1, _ in regions) // 2 * 2 + 4)
    boxes = []
    for x0, y0, _, _ in regions:
        left, top = min(x0 // 2 * 2, size[1] - width), min(y0 // 2 * 2, size[0] - height)
        boxes.append((left, top, left + width, top + height))
    return boxes


class Table:
    """Pictures kept as rows of channels, [B x H x W, C], so that one look-up reads four whole rows.

    `grid_sample` reads every channel of every corner on its own, which takes three to six times as long.
    """

    def __init__(self, pictures: Tensor) -> None:
        """Keep pictures [B, C, H, W]."""
        self.count, self.channels, self.height, self.width = pictures.shape
        rows = pictures.permute(0, 2, 3, 1).reshape(-1, self.channels)
        self.rows = rows.float().contiguous()

    def look_up(self, points: Tensor, which: Tensor | None = None) -> Tensor:
        """Read at points [N, 2] in pixels, the nearest edge beyond the border; [N, C].

        `which` [N] says which picture each point reads; None: the first.
        """
        place = points - 0.5
        limit = points.new_tensor([self.width - 1, self.height - 1])
        place = place.clamp_min(0).minimum(limit)
        corner = place.floor().minimum((limit - 1).clamp_min(0))
        part = place - corner
        x, y = part[:, 0], part[:, 1]
        right, below = min(1, self.width - 1), min(1, self.height - 1) * self.width
        first = corner[:, 1].int() * self.width + corner[:, 0].int()
        if which is not None:
            first = first + which.int() * (self.height * self.width)
        indices = torch.stack([first, first + right, first + below, first + below + right], dim=1)
        far = x * y
        weights = torch.stack([1 - x - y + far, x - far, y - far, far], dim=1)
        return functional.embedding_bag(indices, self.rows, per_sample_weights=weights, mode="sum")
