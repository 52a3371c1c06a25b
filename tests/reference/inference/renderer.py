"""Frames composed one by one in RGB: what the renderers do in another order on pictures as they are coded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from speech2lip.arrays import Picture
from speech2lip.composition.blend_net import shrink
from speech2lip.head_track import HeadTrack
from speech2lip.inference.engine import Engine
from speech2lip.model import SpeechFeatures
from speech2lip.synthesis.lip_field import uv_lattice
from speech2lip.synthesis.paper_field import PaperField


class PlainRenderer:
    """Draws lips with an engine's networks and composes them into frames [H, W, 3]."""

    def __init__(self, engine: Engine, *, direct: float = 1.5) -> None:
        self.engine, self.model, self.paster, self.direct = engine, engine.model, engine.paster, direct
        self.uv = uv_lattice(*self.model.lip_field.drawn_size)

    @torch.inference_mode()
    def draw(self, spoken: SpeechFeatures, head: HeadTrack) -> Tensor:
        """Draw the lip patches of moments, in canonical light; [B, 3, h, w]."""
        with self.engine.compute.autocast(self.engine.precision):
            uv = self.uv.expand(len(head), -1, -1, -1)
            return self.model.draw(spoken, self.paster.tensor(head.pose), uv).float()

    @torch.inference_mode()
    def draw_grids(self, spoken: SpeechFeatures, head: HeadTrack) -> Tensor:
        """Draw the lip field's feature grids, from which lips can be read anywhere; [B, C, rows, columns]."""
        with self.engine.compute.autocast(self.engine.precision):
            return self.model.grid_field.grid(spoken.code, spoken.shape, self.paster.tensor(head.pose))

    def compose(self, frame: Picture, patch: Tensor, head: HeadTrack, *, blend: bool = True) -> Picture:
        """Put a lip patch [3, h, w] into a frame [H, W, 3]; outside the jaw region it stays bit for bit."""
        light = self.paster.tensor(head.light_gain)
        return self._compose(frame, head, lambda uv: self.paster.warp(patch[None], uv, light), blend=blend)

    def compose_directly(
        self, frame: Picture, grid: Tensor, head: HeadTrack, *, blend: bool = True
    ) -> Picture:
        """Do as `compose` with lips read from a feature grid [C, rows, columns] at the frame's own pixels."""
        light = self.paster.tensor(head.light_gain)

        def lips(uv: Tensor) -> Tensor:
            large = uv.shape[1] * uv.shape[2] > self.direct * self.uv.shape[1] * self.uv.shape[2]
            with self.engine.compute.autocast(self.engine.precision):
                drawn = self.model.grid_field.read(grid[None], self.uv if large else uv).float()
            return self.paster.warp(drawn, uv, light) if large else drawn * light[..., None, None]

        return self._compose(frame, head, lips, blend=blend)

    @torch.inference_mode()
    def _compose(
        self, frame: Picture, head: HeadTrack, lips: Callable[[Tensor], Tensor], *, blend: bool
    ) -> Picture:
        boxes = self.paster.regions(head, (frame.shape[0], frame.shape[1]))
        x0, y0, x1, y1 = boxes[0]
        crop = torch.from_numpy(frame[y0:y1, x0:x1]).permute(2, 0, 1)[None].float() / 255
        uv = self.paster.patch_uv(head, boxes)
        mask = self.paster.warp_mask(uv)
        pasted = crop + (lips(uv) - crop) * mask
        if blend:
            pasted = pasted + self._residual(pasted, mask, uv, head)
        mended = (pasted[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        inside = (mask[0, 0] > 0).numpy()
        composed = frame.copy()
        composed[y0:y1, x0:x1][inside] = mended[inside]
        return composed

    def _residual(self, pasted: Tensor, mask: Tensor, uv: Tensor, head: HeadTrack) -> Tensor:
        light = self.paster.tensor(head.light_gain)
        reference = self.paster.warp(self.model.lip_field.mean.detach(), uv, light)
        small = shrink(torch.cat([pasted, mask, reference], dim=1))
        with self.engine.compute.autocast(self.engine.precision):
            residual = self.model.blend_net(small[:, :3], small[:, 3:4], small[:, 4:])
        enlarged = functional.interpolate(
            residual.float(), size=mask.shape[-2:], mode="bilinear", align_corners=False
        )
        return enlarged * (mask > 0)

    def speak(self, frames: Sequence[Picture], head: HeadTrack, spoken: SpeechFeatures) -> list[Picture]:
        """Draw and compose frames [H, W, 3]."""
        if isinstance(self.model.lip_field, PaperField):
            patches = self.draw(spoken, head)
            return [self.compose(frame, patches[i], head[i]) for i, frame in enumerate(frames)]
        grids = self.draw_grids(spoken, head)
        return [self.compose_directly(frame, grids[i], head[i]) for i, frame in enumerate(frames)]
