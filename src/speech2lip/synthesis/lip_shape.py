"""The lips' outline in canonical space, as a few numbers that speech predicts and the lip field draws."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from speech2lip.config import ModelSettings
from speech2lip.faces.landmarks import INNER_LIPS, SHAPE_POINTS

_PLACE = {point: place for place, point in enumerate(SHAPE_POINTS)}


def outline_opening(outlines: Tensor) -> Tensor:
    """Return how far apart the inner lips are in outlines [T, N], in heights of the lip patch; [T]."""
    points = outlines.reshape(len(outlines), -1, 2)
    gaps = [points[:, _PLACE[low], 1] - points[:, _PLACE[high], 1] for high, low in INNER_LIPS]
    return torch.stack(gaps).mean(0)


class LipShape(nn.Module):
    """Reads the lip shape from the speech code, and knows the outline that belongs to a shape."""

    mean: Tensor
    components: Tensor

    def __init__(self, settings: ModelSettings, coordinates: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(coordinates))
        self.register_buffer("components", torch.zeros(settings.shape_size, coordinates))
        self.head = nn.Sequential(
            nn.Linear(settings.code_size, 128), nn.GELU(), nn.Linear(128, settings.shape_size)
        )

    def learn(self, outlines: Tensor) -> None:
        """Find mean and principal components of a person's outlines [T, N].

        They are whitened: the numbers that describe these outlines have a variance of 1.
        """
        points = outlines.numpy().astype(np.float64)
        mean, count = points.mean(0), len(self.components)
        _, values, vectors = np.linalg.svd(points - mean, full_matrices=False)
        spread = np.maximum(values[:count] / np.sqrt(max(len(points) - 1, 1)), 1e-6)
        self.mean.copy_(torch.from_numpy(mean))
        self.components.copy_(torch.from_numpy(vectors[:count] * spread[:, None]))

    def forward(self, code: Tensor) -> Tensor:
        """[B, D] -> [B, K]."""
        shape: Tensor = self.head(code)
        return shape

    def from_outline(self, outline: Tensor) -> Tensor:
        """[B, N] coordinates -> [B, K]."""
        squared = (self.components**2).sum(1)
        return (outline - self.mean) @ self.components.T / squared

    def outline(self, shape: Tensor) -> Tensor:
        """[B, K] -> [B, N] coordinates."""
        return self.mean + shape @ self.components
