"""The mapping solved at every pixel: what `Paster.patch_uv` interpolates between the nodes of a lattice."""

from __future__ import annotations

import torch
from torch import Tensor

from speech2lip.composition.paste import Paster
from speech2lip.conventions import Box
from speech2lip.head_track import HeadTrack


def patch_uv(paster: Paster, head: HeadTrack, box: Box) -> Tensor:
    """Find the place on the patch that each pixel of a box of one frame shows; [h, w, 2]."""
    x0, y0, x1, y1 = box
    x, y = torch.arange(x0, x1) + 0.5, torch.arange(y0, y1) + 0.5
    pixels = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).to(paster.device)
    return paster.patch_places(pixels.reshape(1, -1, 2), head).reshape(*pixels.shape)
