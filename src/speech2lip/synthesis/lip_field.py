"""The speech-driven implicit lip model: the colour of any canonical point, and the lips' outline.

c = f(x, a): a coarse feature grid is drawn from the speech code; a point reads it between the cells, moves
its look-up into the person's own learned texture by the flow found there, and a small network turns both into
a colour. Being a function of a continuous position, it draws a patch at any resolution.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from speech2lip.config import ModelSettings
from speech2lip.faces.landmarks import INNER_LIPS, SHAPE_POINTS
from speech2lip.geometry.mapping import sample

POSE_SIZE = 6
"""Numbers that describe the head pose to the lip field: rotation vector and shift from the canonical pose."""
FLOW_SCALE_PX = 4.0
"""Pixels of the texture that a flow of 1 moves a look-up by."""
_PLACE = {point: place for place, point in enumerate(SHAPE_POINTS)}


def uv_lattice(rows: int, columns: int) -> Tensor:
    """Return the places of the pixel centres of a patch; [1, rows, columns, 2] in [0, 1]."""
    x, y = (torch.arange(columns) + 0.5) / columns, (torch.arange(rows) + 0.5) / rows
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]


class ModulatedConv(nn.Module):
    """A 3 x 3 convolution, scaled and shifted by a condition (feature-wise linear modulation)."""

    def __init__(self, channels_in: int, channels_out: int, condition: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.modulation = nn.Linear(condition, 2 * channels_out)
        nn.init.normal_(self.modulation.weight, std=0.05)
        nn.init.zeros_(self.modulation.bias)

    def forward(
        self, grid: Float[Tensor, "B C H W"], condition: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B c H W"]:
        """[B, C, H, W], [B, D] -> [B, C', H, W]."""
        scale, shift = self.modulation(condition)[..., None, None].chunk(2, dim=1)
        return functional.silu(self.conv(grid) * (1 + scale) + shift)


class LipField(nn.Module):
    """Draws lips at any points of the patch from speech code, lip shape and head pose."""

    def __init__(self, settings: ModelSettings, patch_size: tuple[int, int]) -> None:
        super().__init__()
        rows, columns = settings.field_cells
        width, condition = settings.field_width, 96
        self.patch_size = self.drawn_size = patch_size
        self.condition = nn.Sequential(
            nn.Linear(settings.code_size + settings.shape_size + POSE_SIZE, condition),
            nn.SiLU(),
            nn.Linear(condition, condition),
            nn.SiLU(),
        )
        self.start = nn.Parameter(torch.randn(1, width, rows, columns) * 0.1)
        self.coarse = nn.ModuleList([ModulatedConv(width, width, condition) for _ in range(3)])
        fine = max(16, 2 * width // 3)
        self.fine = nn.ModuleList(
            [ModulatedConv(width, fine, condition), ModulatedConv(fine, fine, condition)]
        )
        self.flow = nn.Conv2d(fine, 2, 3, padding=1)
        nn.init.zeros_(self.flow.weight)
        nn.init.zeros_(self.flow.bias)  # type: ignore[arg-type]
        texture = 16
        self.texture = nn.Parameter(torch.randn(1, texture, *patch_size) * 0.1)
        self.mean = nn.Parameter(torch.full((1, 3, *patch_size), 0.5))
        last = nn.Linear(settings.point_width, 3)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.colour = nn.Sequential(
            nn.Linear(fine + texture, settings.point_width),
            nn.SiLU(),
            nn.Linear(settings.point_width, settings.point_width),
            nn.SiLU(),
            last,
        )

    def grid(
        self, code: Float[Tensor, "B D"], shape: Float[Tensor, "B K"], pose: Float[Tensor, "B 6"]
    ) -> Float[Tensor, "B C H W"]:
        """Draw the feature grid: flow (2 channels) and features; [B, 2 + C, 2 rows, 2 columns]."""
        condition = self.condition(torch.cat([code, shape, pose], dim=1))
        grid = self.start.expand(len(code), -1, -1, -1)
        for layer in self.coarse:
            grid = grid + layer(grid, condition)
        grid = functional.interpolate(grid, scale_factor=2, mode="bilinear", align_corners=False)
        for layer in self.fine:
            grid = layer(grid, condition)
        return torch.cat([self.flow(grid), grid], dim=1)

    def read(self, grid: Float[Tensor, "B C H W"], uv: Float[Tensor, "B *N 2"]) -> Float[Tensor, "B 3 *N"]:
        """Read the colours of points.

        Args:
            grid: as `grid` returns it.
            uv: [B, ..., 2] in [0, 1] over the patch: its first axis counts columns.

        Returns:
            [B, 3, ...]; about [0, 1].
        """
        cells = uv.new_tensor([grid.shape[-1], grid.shape[-2]])
        pixels = uv.new_tensor([self.patch_size[1], self.patch_size[0]])
        found = sample(grid, uv * cells)
        flow, features = found[:, :2], found[:, 2:]
        last = uv.dim() - 1  # counted from the front, as ONNX wants it
        moved = uv * pixels + flow.movedim(1, last).to(uv.dtype) * FLOW_SCALE_PX
        texture = _look_up_one(torch.cat([self.texture, self.mean], 1), moved)
        both = torch.cat([features, texture[:, :-3]], dim=1).movedim(1, last)
        return texture[:, -3:] + self.colour(both).movedim(last, 1)

    def forward(
        self,
        code: Float[Tensor, "B D"],
        shape: Float[Tensor, "B K"],
        pose: Float[Tensor, "B 6"],
        uv: Float[Tensor, "B *N 2"],
    ) -> Float[Tensor, "B 3 *N"]:
        """[B, D], [B, K], [B, 6], [B, ..., 2] -> [B, 3, ...]."""
        return self.read(self.grid(code, shape, pose), uv)


def _look_up_one(picture: Tensor, points: Tensor) -> Tensor:
    """Do as `sample` in one picture [1, C, h, w] for points of many [B, ..., 2]; [B, C, ...].

    The points are looked up together: gradients are summed into a picture for each thread, not for each of
    the batch, which would cost as much as all the rest.
    """
    batch = len(points)
    groups = math.gcd(batch, 1 if points.is_cuda else torch.get_num_threads())
    together = points.reshape(groups, -1, 2)
    found = sample(picture.expand(groups, -1, -1, -1), together)
    apart = found.reshape(groups, found.shape[1], batch // groups, -1).transpose(1, 2)
    return apart.reshape(batch, found.shape[1], *points.shape[1:-1])


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
