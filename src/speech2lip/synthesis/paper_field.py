"""The published implicit lip model, as a baseline: one network for every point of the patch.

Source: Speech2Lip (Wu et al., ICCV 2023): c = f(x, a, t). The position with ten frequencies of it, the raw
speech code and a code of 20 numbers of the time each pass a linear layer of their own and are summed; eight
layers of 256 with ReLU, a second such sum joined after the fifth; a linear layer to the colour. 658,691
parameters.
"""

from __future__ import annotations

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from speech2lip.config import ModelSettings

FREQUENCIES = 10
TIME_FREQUENCIES = 10
WIDTH = 256
LAYERS = 8
SKIP_AFTER = 5
DRAWN_COLUMNS = 120
"""Points across the patch that are drawn: the published lip image is 120 x 80."""
_UNKNOWN_SHARE = 0.1
"""Share of training in which the time is not told, as it is not when the avatar speaks."""


def sinusoids(x: Tensor, frequencies: int) -> Tensor:
    """Encode numbers [..., D] as sin and cos of 2^k x, k from 0; [..., 2 D frequencies]."""
    scale = 2.0 ** torch.arange(frequencies, device=x.device, dtype=x.dtype)
    angle = (x[..., None] * scale).flatten(-2)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


class _Sum(nn.Module):
    """Linear layers of position, speech code and time code, summed."""

    def __init__(self, code_size: int) -> None:
        super().__init__()
        self.place = nn.Linear(2 + 4 * FREQUENCIES, WIDTH)
        self.speech = nn.Linear(code_size, WIDTH)
        self.time = nn.Linear(2 * TIME_FREQUENCIES, WIDTH)

    def forward(self, place: Tensor, code: Tensor, time_code: Tensor) -> Tensor:
        """[B, ..., 42], [B, D], [B, 20] -> [B, ..., 256]; what all points share is computed once."""
        shared = self.speech(code) + self.time(time_code)
        summed: Tensor = self.place(place) + shared.reshape(len(code), *[1] * (place.dim() - 2), WIDTH)
        return summed


class PaperField(nn.Module):
    """Draws lips at any points of the patch from speech code and time; knows no lip shape, no head pose."""

    def __init__(self, settings: ModelSettings, patch_size: tuple[int, int]) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.first = _Sum(settings.code_size)
        self.skip = _Sum(settings.code_size)
        widths = [2 * WIDTH if number == SKIP_AFTER else WIDTH for number in range(LAYERS)]
        self.layers = nn.ModuleList([nn.Linear(width, WIDTH) for width in widths])
        self.colour = nn.Linear(WIDTH, 3)
        self.register_buffer("mean", torch.full((1, 3, *patch_size), 0.5))

    mean: Tensor
    """The mean patch: reference of the Blend-Net, not part of the field."""

    @property
    def drawn_size(self) -> tuple[int, int]:
        """Rows and columns that are drawn of the patch."""
        rows, columns = self.patch_size
        return max(8, round(DRAWN_COLUMNS * rows / columns)), DRAWN_COLUMNS

    def forward(
        self,
        code: Float[Tensor, "B D"],
        uv: Float[Tensor, "B *N 2"],
        moment: Float[Tensor, "B"] | None = None,
    ) -> Float[Tensor, "B 3 *N"]:
        """Draw points; in training by the local ensemble.

        Args:
            code: [B, D].
            uv: [B, ..., 2] in [0, 1] over the patch.
            moment: [B] place in the footage, 0 to 1; None: not told. The published code counts from 0 again
                when it speaks, at moments that were trained on for other speech.
        """
        time_code = self._time(moment, code)
        if self.training:
            return self._ensemble(code, uv, time_code)
        return self._points(code, uv, time_code)

    def _time(self, moment: Tensor | None, code: Tensor) -> Tensor:
        # Not in the speech code's type: half precision cannot tell moments apart.
        nothing = torch.zeros(len(code), 2 * TIME_FREQUENCIES, device=code.device)
        if moment is None:
            return nothing
        time_code = sinusoids(math.pi * moment[:, None].float(), TIME_FREQUENCIES)
        if not self.training:
            return time_code
        return torch.where(torch.rand(len(code), 1, device=code.device) < _UNKNOWN_SHARE, nothing, time_code)

    def _ensemble(self, code: Tensor, uv: Tensor, time_code: Tensor) -> Tensor:
        """Average the colours of the corners of a random rectangle around each point.

        Each counts by the area of the part of the rectangle that lies opposite (LIIF's local ensemble, the
        paper's continuous sampling).
        """
        pixel = uv.new_tensor([1 / self.patch_size[1], 1 / self.patch_size[0]])
        low, high = (torch.rand_like(uv) * pixel + 1e-6 for _ in range(2))
        total = (low + high).prod(-1)
        drawn = torch.zeros((), device=uv.device)
        for corner in itertools.product((False, True), repeat=2):
            beyond = torch.tensor(corner, device=uv.device)
            share = torch.where(beyond, low, high).prod(-1) / total
            drawn = (
                drawn + self._points(code, uv + torch.where(beyond, high, -low), time_code) * share[:, None]
            )
        return drawn

    def _points(self, code: Tensor, uv: Tensor, time_code: Tensor) -> Tensor:
        place = torch.cat([uv, sinusoids(uv, FREQUENCIES)], dim=-1)
        features = self.first(place, code, time_code)
        for number, layer in enumerate(self.layers):
            if number == SKIP_AFTER:
                features = torch.cat([self.skip(place, code, time_code), features], dim=-1)
            features = torch.relu(layer(features))
        colour: Tensor = self.colour(features)
        return colour.movedim(-1, 1)
