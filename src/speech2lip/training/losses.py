"""The named losses; their weights are settings."""

from __future__ import annotations

import torch
from torch import Tensor


def total(losses: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """Sum the named losses with their weights."""
    return torch.stack([weights[name] * value for name, value in losses.items()]).sum()


def colour_losses(drawn: Tensor, truth: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """Compare pictures.

    Args:
        drawn, truth: [B, 3, h, w] in [0, 1]; weight: broadcastable to [B, 1, h, w], mean about 1.

    Returns:
        `l2`: mean squared difference, not weighted; `l1`: mean absolute difference; `gradient`: that
        of the differences between neighbouring pixels.
    """
    difference = drawn.float() - truth
    across, down = difference.diff(dim=-1).abs(), difference.diff(dim=-2).abs()
    return {
        "l2": (difference**2).mean(),
        "l1": (difference.abs() * weight).mean(),
        "gradient": (across * weight[..., :, 1:]).mean() + (down * weight[..., 1:, :]).mean(),
    }


def shape_losses(
    shape: Tensor, truth: Tensor, spread: Tensor, moments: Tensor | None = None
) -> dict[str, Tensor]:
    """Compare lip shapes of consecutive frames.

    Args:
        shape, truth: [S, N, K] of stretches of neighbouring frames.
        moments: [S, N - 1] time between neighbours, in 0.04 s, the frame of 25 a second; None: that.
        spread: [K] how far each component moves the outline; components count with its square root, a middle
            way between all alike and only the opening.

    Returns:
        `shape`: mean squared error; `velocity`: that of the change in 0.04 s, where frames have neighbours.
    """
    weight = spread.sqrt() / spread.sqrt().mean()
    error = shape.float() - truth
    losses = {"shape": (error**2 * weight).mean()}
    if error.shape[1] > 1:
        change = error.diff(dim=1) if moments is None else error.diff(dim=1) / moments[..., None]
        losses["velocity"] = (change**2 * weight).mean()
    return losses


def contrastive_losses(cosine: Tensor) -> dict[str, Tensor]:
    """Return the halves of y (1 - cos) + (1 - y) max(0, cos): `sync` is the first, `sync_negative` the other.

    Source: the paper's contrastive sync loss.

    Args:
        cosine: [B, B] of the embeddings of clips and sounds; those of the diagonal match, of the others those
            that are not nan do not.
    """
    positive = torch.eye(len(cosine), dtype=torch.bool, device=cosine.device)
    negative = torch.isfinite(cosine) & ~positive
    return {
        "sync": (1 - cosine[positive]).mean(),
        "sync_negative": cosine[negative].clamp_min(0).sum() / negative.sum().clamp_min(1),
    }
