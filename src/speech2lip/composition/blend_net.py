"""Blend-Net: a small U-Net whose residual removes seams and fills holes of the pasted picture."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

CROP_SIZE = (96, 128)
"""Rows and columns that the Blend-Net works at; its residual is smooth and is enlarged to the frame's own
resolution.
"""


def _block(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1),
        nn.SiLU(),
        nn.Conv2d(channels_out, channels_out, 3, padding=1),
        nn.SiLU(),
    )


class BlendNet(nn.Module):
    """Predicts what to add to the pasted picture.

    It sees the reference beside it: the person's mean lower face in this frame's pose and light.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.top = _block(3 + 1 + 3, width)
        self.middle = _block(width, 2 * width, stride=2)
        self.bottom = _block(2 * width, 4 * width, stride=2)
        self.lowest = _block(4 * width, 4 * width, stride=2)
        self.up_bottom = _block(8 * width, 2 * width)
        self.up_middle = _block(4 * width, width)
        self.up_top = _block(2 * width, width)
        self.out = nn.Conv2d(width, 3, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(
        self,
        pasted: Float[Tensor, "B 3 H W"],
        mask: Float[Tensor, "B 1 H W"],
        reference: Float[Tensor, "B 3 H W"],
    ) -> Float[Tensor, "B 3 H W"]:
        """[B, 3, H, W], [B, 1, H, W], [B, 3, H, W] -> residual [B, 3, H, W], zero outside the mask."""
        top = self.top(torch.cat([pasted, mask, reference], dim=1) - 0.5)
        middle = self.middle(top)
        bottom = self.bottom(middle)
        lowest = self.lowest(bottom)
        up = self.up_bottom(torch.cat([_enlarge(lowest), bottom], dim=1))
        up = self.up_middle(torch.cat([_enlarge(up), middle], dim=1))
        up = self.up_top(torch.cat([_enlarge(up), top], dim=1))
        residual: Tensor = self.out(up)
        return residual * (mask > 0).to(residual.dtype) * mask.clamp_min(0.05)


def _enlarge(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2, mode="nearest")


def shrink(crop: Tensor) -> Tensor:
    """Resample crops [B, C, h, w] to the size that the Blend-Net works at, without aliasing."""
    return functional.interpolate(crop, size=CROP_SIZE, mode="bilinear", align_corners=False, antialias=True)


def punch_holes(pasted: Tensor, mask: Tensor, *, share: float, generator: torch.Generator) -> Tensor:
    """Blacken a random rectangle inside the mask in a share of the pictures (the paper's augmentation).

    Args:
        pasted: [B, 3, H, W]; mask: [B, 1, H, W].
    """
    batch, _, height, width = pasted.shape
    random = torch.rand(batch, 5, generator=generator).to(pasted.device)
    y = torch.arange(height, device=pasted.device)[None, :] / height
    x = torch.arange(width, device=pasted.device)[None, :] / width
    top, left = 0.15 + 0.6 * random[:, 0:1], 0.15 + 0.6 * random[:, 2:3]
    rows = (y > top) & (y < top + 0.03 + 0.2 * random[:, 1:2])
    columns = (x > left) & (x < left + 0.03 + 0.2 * random[:, 3:4])
    hole = rows[:, :, None] & columns[:, None, :] & (random[:, 4] < share)[:, None, None]
    return pasted * ~(hole[:, None] & (mask > 0.1))


def _pair(channels_in: int, channels_between: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_between, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_between),
        nn.ReLU(),
        nn.Conv2d(channels_between, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


class PaperBlendNet(nn.Module):
    """The published U-Net, with batch normalisation: it sees the pasted picture alone."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.top = _pair(3, width, width)
        self.middle = _pair(width, 2 * width, 2 * width)
        self.bottom = _pair(2 * width, 2 * width, 2 * width)
        self.up_middle = _pair(4 * width, 2 * width, width)
        self.up_top = _pair(2 * width, width, width)
        self.out = nn.Conv2d(width, 3, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(
        self,
        pasted: Float[Tensor, "B 3 H W"],
        mask: Float[Tensor, "B 1 H W"],
        reference: Float[Tensor, "B 3 H W"],
    ) -> Float[Tensor, "B 3 H W"]:
        """Mend pasted pictures of any size from 4 x 4 up.

        Args:
            pasted: [B, 3, H, W].
            mask: [B, 1, H, W]; the residual is zero where it is zero, but the network does not see it.
            reference: not looked at; it stands here because our Blend-Net takes one.

        Returns:
            Residual [B, 3, H, W].
        """
        top = self.top(pasted)
        middle = self.middle(functional.max_pool2d(top, 2))
        bottom = self.bottom(functional.max_pool2d(middle, 2))
        up = self.up_middle(torch.cat([middle, _enlarge_to(bottom, middle)], dim=1))
        up = self.up_top(torch.cat([top, _enlarge_to(up, top)], dim=1))
        residual: Tensor = self.out(up)
        return residual * (mask > 0).to(residual.dtype)


def _enlarge_to(features: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(features, size=like.shape[-2:], mode="bilinear", align_corners=False)
