"""The published Blend-Net, as a baseline: a wide U-Net that sees nothing but the pasted picture.

Source: Speech2Lip (Wu et al., ICCV 2023) and its public code: two levels down, two up, 64 and 128 channels,
each level two convolutions with batch normalisation and ReLU; 79 GMAC for 500 x 500 pixels. As the paper
says, and its code does not, what it predicts is added to the pasted picture.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 64
"""Channels of the first level."""


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
    """Predicts what to add to the pasted picture."""

    def __init__(self, width: int = WIDTH) -> None:
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
        up = self.up_middle(torch.cat([middle, _enlarge(bottom, middle)], dim=1))
        up = self.up_top(torch.cat([top, _enlarge(up, top)], dim=1))
        residual: Tensor = self.out(up)
        return residual * (mask > 0).to(residual.dtype)


def _enlarge(features: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(features, size=like.shape[-2:], mode="bilinear", align_corners=False)
