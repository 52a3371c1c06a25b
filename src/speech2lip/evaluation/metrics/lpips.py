"""LPIPS (Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features"), version 0.1 on AlexNet.

Weights are never shipped or fetched: the user gives a safetensors file that holds the tensors of the public
files under their own names, see docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from speech2lip.conventions import Picture
from speech2lip.errors import SettingsError
from speech2lip.evaluation.accumulate import Figures, Moment, Openings
from speech2lip.evaluation.held_out import Span
from speech2lip.evaluation.speech_labels import Heard

SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
"""What is taken off each of red, green and blue in [-1, 1], and what they are divided by: as published."""
FEATURES = (64, 192, 384, 256, 256)
"""Channels of the five rectified layers that are compared."""
_TINY = 1e-10


class Lpips(nn.Module):
    """AlexNet's five rectified layers, compared place by place, and one weight for each of their channels."""

    def __init__(self) -> None:
        super().__init__()
        # The places in `features` and the names of the heads are those of the public weights.
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(),
        )  # fmt: skip
        for number, channels in enumerate(FEATURES):
            self.add_module(f"lin{number}", _Head(channels))

    def describe(self, pictures: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Return the five layers' features of pictures in [-1, 1], each place scaled to length 1."""
        out = (pictures - pictures.new_tensor(SHIFT)[:, None, None]) / pictures.new_tensor(SCALE)[
            :, None, None
        ]
        found = []
        for layer in self.features:
            out = layer(out)
            if isinstance(layer, nn.ReLU):
                found.append(out / (out.square().sum(dim=1, keepdim=True).sqrt() + _TINY))
        return found

    def between(self, a: list[Tensor], b: list[Tensor]) -> Float[Tensor, "B"]:
        """Return the distance of what `describe` gave for two batches."""
        heads = (getattr(self, f"lin{number}").model[1].weight for number in range(len(FEATURES)))
        parts = [
            functional.conv2d((x - y).square(), weight).mean(dim=(1, 2, 3))
            for x, y, weight in zip(a, b, heads, strict=True)
        ]
        return torch.stack(parts).sum(dim=0)

    def forward(self, a: Float[Tensor, "B 3 H W"], b: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B"]:
        """Return the distance of pictures in [-1, 1]; 0 for equal ones."""
        return self.between(self.describe(a), self.describe(b))


class _Head(nn.Module):
    """One weight for each channel; the public model drops some out in training, which has no part here."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Identity(), nn.Conv2d(channels, 1, 1, bias=False))


def load_lpips(weights: Path) -> Lpips:
    """Load the metric from a safetensors file; SettingsError if it is missing or holds something else."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not weights.is_file():
        raise SettingsError(f"no LPIPS weights at {weights}; name a safetensors file or leave them out")
    metric = Lpips()
    try:
        held = load_file(weights)
        # AlexNet's classifier may be in the file too: it has no part here.
        metric.load_state_dict({name: held[name] for name in metric.state_dict()})
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise SettingsError(
            f"{weights} does not hold AlexNet's features and the five LPIPS heads as safetensors; convert "
            "the public files as docs/metrics.md tells"
        ) from error
    return metric.eval().requires_grad_(False)


def as_tensor(pictures: list[Picture]) -> Float[Tensor, "B 3 H W"]:
    """Bring RGB pictures [H, W, 3], levels 0 to 255, to [-1, 1]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


class Likeness:
    """Measures the whole frames of all rows: a watcher of an evaluation."""

    def __init__(self, metric: Lpips, rows: Iterable[str]) -> None:
        self.metric = metric
        self._sums = dict.fromkeys(rows, 0.0)
        self._frames = 0

    def begin_take(self, span: Span, heard: Heard) -> None:
        """Do nothing: frames stand for themselves."""

    @torch.inference_mode()
    def frame(
        self,
        span: Span,
        index: int,
        moment: Moment,
        made: Mapping[str, Picture],
        figures: Mapping[str, Figures],
    ) -> None:
        """Measure a frame of every row; one that is the real frame needs no work."""
        self._frames += 1
        others = [name for name in self._sums if made[name] is not moment.real]
        if not others:
            return
        pictures = as_tensor([moment.real, *(made[name] for name in others)])
        described = self.metric.describe(pictures.to(next(self.metric.parameters()).device))
        real = [layer[:1].expand(len(others), -1, -1, -1) for layer in described]
        found = self.metric.between(real, [layer[1:] for layer in described])
        for name, distance in zip(others, found.tolist(), strict=True):
            self._sums[name] += distance

    def pass_over(self, span: Span, index: int, moment: Moment, made: Mapping[str, Picture]) -> None:
        """Nothing is judged across a frame that is not spoken over: it is a gap."""

    def end_take(self, openings: Mapping[str, Openings]) -> None:
        """Do nothing."""

    def figures(self) -> dict[str, dict[str, float | None]]:
        """Return the mean over frames, by row."""
        count = self._frames
        return {name: {"lpips": total / count if count else None} for name, total in self._sums.items()}
