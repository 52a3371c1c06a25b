"""The networks and mappings of an avatar as graphs of their own, each with plain tensors in and out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from speech2lip.composition.blend_net import CROP_SIZE
from speech2lip.composition.pose_mapping import look_up, map_points
from speech2lip.conventions import MEL_BANDS, MEL_RATE, SAMPLE_RATE
from speech2lip.inference.engine import Engine
from speech2lip.model import LipModel
from speech2lip.synthesis.lip_field import POSE_SIZE
from speech2lip.synthesis.speech import mel_filters, window_offsets

WINDOW, FFT, HOP = 400, 512, SAMPLE_RATE // MEL_RATE
"""Of the spectrum: samples of the Hann window, of the transform, and between mel frames, as in `log_mel`."""


@dataclass(frozen=True)
class Graph:
    """One ONNX file to be."""

    name: str
    does: str
    """What it computes, for the manifest."""
    module: nn.Module
    inputs: dict[str, Tensor]
    """Examples, by name."""
    outputs: tuple[str, ...]
    free: dict[str, dict[int, str]]
    """Axes of any length: input or output, axis, name."""


class Mel(nn.Module):
    """The log-mel spectrum of a wave, its transform written as a convolution; twin: `log_mel`."""

    basis: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        window = torch.hann_window(WINDOW, dtype=torch.float64)
        start = (FFT - WINDOW) // 2
        padded = functional.pad(window, (start, FFT - WINDOW - start))
        angle = (
            2 * math.pi / FFT * torch.arange(FFT // 2 + 1)[:, None] * torch.arange(FFT, dtype=torch.float64)
        )
        basis = torch.cat([angle.cos(), angle.sin()]) * padded / (window**2).sum().sqrt()
        self.register_buffer("basis", basis[:, None].float())
        self.register_buffer("filters", mel_filters())

    def forward(self, wave: Tensor) -> Tensor:
        """[1, S] -> [M, F]."""
        padded = functional.pad(wave[None], (FFT // 2, FFT // 2))
        real, imaginary = functional.conv1d(padded, self.basis, stride=HOP)[0].chunk(2)
        power = self.filters @ (real**2 + imaginary**2)
        return (power.clamp_min(1e-6).log() / math.log(10) + 3.0) / 1.5


class Listen(nn.Module):
    """Mel windows to speech codes and lip shapes."""

    def __init__(self, model: LipModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """[B, M, W] -> [B, D], [B, K]."""
        spoken = self.model.listen(windows)
        return spoken.code, spoken.shape


class Grid(nn.Module):
    """Speech code, lip shape and head pose to the lip field's feature grid."""

    def __init__(self, model: LipModel) -> None:
        super().__init__()
        self.field = model.grid_field

    def forward(self, code: Tensor, shape: Tensor, pose: Tensor) -> Tensor:
        """[1, D], [1, K], [1, 6] -> [1, 2 + C, r, c]."""
        return self.field.grid(code, shape, pose)


class Read(nn.Module):
    """Colours of places of the patch, from a feature grid, and those of the person's mean lower face.

    Twin: `LipField.read`, whose way of moving axes the exporter does not know.
    """

    def __init__(self, model: LipModel) -> None:
        super().__init__()
        self.field = model.grid_field
        self.texture = torch.cat([model.grid_field.texture, model.grid_field.mean], dim=1).detach()

    def forward(self, grid: Tensor, uv: Tensor) -> tuple[Tensor, Tensor]:
        """[1, 2 + C, r, c], [1, N, 2] -> [1, 3, N], [1, 3, N]."""
        size = uv.new_tensor([self.field.patch_size[1], self.field.patch_size[0]])
        found = look_up(grid, uv * uv.new_tensor([grid.shape[-1], grid.shape[-2]]))
        texture = look_up(self.texture, uv * size + found[:, :2].transpose(1, 2) * 4)
        both = torch.cat([found[:, 2:], texture[:, :-3]], dim=1).transpose(1, 2)
        lips = texture[:, -3:] + self.field.colour(both).transpose(1, 2)
        return lips, look_up(self.field.mean, uv * size)


class Map(nn.Module):
    """Where on the patch the pixels of a frame lie, and how far they are covered by the jaw mask."""

    depth: Tensor
    mask: Tensor
    k: Tensor
    box: Tensor

    def __init__(self, engine: Engine, rounds: int = 5) -> None:
        super().__init__()
        paster = engine.paster
        self.rounds = rounds
        self.register_buffer("depth", paster.depth[None, None].cpu())
        self.register_buffer("mask", paster.mask.cpu())
        self.register_buffer("k", paster.k.cpu())
        self.register_buffer("box", torch.cat([paster.box_start, paster.box_size]).float().cpu())

    def forward(
        self,
        pixels: Tensor,
        observed_from_canonical: Tensor,
        canonical_from_observed: Tensor,
        k_observed: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """[1, N, 2], [1, 4, 4], [1, 4, 4], [3, 3] -> uv [1, N, 2], mask [1, 1, N]."""
        found = self.k.new_tensor([self.depth.shape[-1] / 2, self.depth.shape[-2] / 2]).expand_as(pixels)
        for _ in range(self.rounds + 1):
            there = look_up(self.depth, found)[:, 0]
            depth = map_points(found, there, observed_from_canonical, self.k, k_observed)[1]
            found = map_points(pixels, depth, canonical_from_observed, k_observed, self.k)[0]
        uv = (found - self.box[:2]) / self.box[2:]
        size = uv.new_tensor([self.mask.shape[-1], self.mask.shape[-2]])
        return uv, look_up(self.mask, uv * size, padding="zeros")


def graphs(engine: Engine) -> list[Graph]:
    """List the graphs of an avatar, in the order in which a player runs them."""
    model, settings = engine.model, engine.model.settings
    windows = torch.zeros(2, MEL_BANDS, len(window_offsets(settings)))
    code, shape, pose = (
        torch.zeros(1, settings.code_size),
        torch.zeros(1, settings.shape_size),
        torch.zeros(1, POSE_SIZE),
    )
    with torch.no_grad():
        grid = model.grid_field.grid(code, shape, pose)
    points, one = torch.rand(1, 5, 2), torch.eye(4)[None]
    crop = {name: torch.zeros(1, c, *CROP_SIZE) for name, c in (("pasted", 3), ("mask", 1), ("reference", 3))}
    batch, some = {0: "batch"}, {1: "points"}
    return [
        Graph(
            "mel",
            "log-mel spectrum of a mono wave at 16 kHz",
            Mel(),
            {"wave": torch.zeros(1, 16_000)},
            ("mel",),
            {"wave": {1: "samples"}, "mel": {1: "frames"}},
        ),
        Graph(
            "listen",
            "what speech says about a moment",
            Listen(model),
            {"windows": windows},
            ("code", "shape"),
            {"windows": batch, "code": batch, "shape": batch},
        ),
        Graph(
            "grid",
            "feature grid of the lips",
            Grid(model),
            {"code": code, "shape": shape, "pose": pose},
            ("grid",),
            {},
        ),
        Graph(
            "map",
            "where on the patch pixels of a frame lie",
            Map(engine),
            {
                "pixels": points,
                "observed_from_canonical": one,
                "canonical_from_observed": one,
                "k_observed": torch.eye(3),
            },
            ("uv", "mask"),
            {"pixels": some, "uv": some, "mask": {2: "points"}},
        ),
        Graph(
            "read",
            "colours of the lips at places of the patch",
            Read(model),
            {"grid": grid, "uv": points},
            ("lips", "reference"),
            {"uv": some, "lips": {2: "points"}, "reference": {2: "points"}},
        ),
        Graph(
            "blend",
            "what to add to the pasted picture",
            model.blend_net,
            crop,
            ("residual",),
            dict.fromkeys(("pasted", "mask", "reference", "residual"), batch),
        ),
    ]
