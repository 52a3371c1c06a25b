"""Sound as a pretrained encoder hears it: rows beneath the mel spectrum, in training as in speaking."""

from __future__ import annotations

import hashlib
import math
import os
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from speech2lip.conventions import MEL_RATE, SAMPLE_RATE
from speech2lip.errors import SettingsError
from speech2lip.synthesis.hf_encoder import (
    AFTER,
    PAST,
    STEP,
    TOKENS,
    WINDOW,
    PretrainedEncoder,
    load_pretrained,
)

COMPONENTS = 64
"""Principal components of the features that are kept."""
PLACE = "SPEECH2LIP_HF"
"""Variable of the environment that names the folder of an avatar's encoder where it has moved."""
PAST_SECONDS = (PAST + STEP) / SAMPLE_RATE + 0.02
"""Sound before the first feature that a frame hears, at most."""
AHEAD_FRAMES = math.ceil((STEP + AFTER) * MEL_RATE / SAMPLE_RATE) + 1
"""Mel frames by which features hear further than their moment, at most."""
_HOP = SAMPLE_RATE // MEL_RATE
_LEAST_SHARE = 1e-3
"""Components weaker than this share of the strongest are not blown up to its size."""
_REMEMBERED = 1024
_BLOCK = 64
"""Windows cut at once: together they are twelve times as long as the wave."""


def pretrained_name(speech: str) -> str | None:
    """Return what follows `hf:` in a kind of speech; None where nothing does."""
    before, mark, name = speech.partition("hf:")
    return name if mark and (not before or before.endswith("+")) else None


class Projection(nn.Module):
    """Features of an encoder, reduced to a few independent numbers; it knows which encoder they belong to.

    Nothing of it is learned by gradient. Its size is that of the encoder, known once there are features or
    weights.
    """

    mean: Tensor
    components: Tensor
    fingerprint: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(0))
        self.register_buffer("components", torch.zeros(COMPONENTS, 0))
        self.register_buffer("fingerprint", torch.zeros(32, dtype=torch.uint8))

    def take(
        self,
        mean: Float[Tensor, "D"],
        components: Float[Tensor, "K D"],
        fingerprint: UInt8[Tensor, "N"],
    ) -> None:
        """Take over what was learned from training takes."""
        self.mean, self.components, self.fingerprint = mean, components, fingerprint

    def learn(self, features: Float[Tensor, "N D"], encoder: PretrainedEncoder) -> None:
        """Find the principal components of an encoder's features, scaled to a deviation of 1."""
        mean = features.double().mean(0)
        centred = features.double() - mean
        values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
        values, vectors = values.flip(0)[:COMPONENTS], vectors.flip(1)[:, :COMPONENTS]
        scale = values.clamp_min(float(values[0]) * _LEAST_SHARE).clamp_min(1e-12).rsqrt()
        components = torch.zeros(COMPONENTS, features.shape[1], dtype=torch.float64, device=features.device)
        components[: len(values)] = (vectors * scale).T
        mark = torch.frombuffer(bytearray(encoder.fingerprint), dtype=torch.uint8)
        self.take(mean.float(), components.float(), mark.clone())

    def forward(self, features: Float[Tensor, "*B D"]) -> Float[Tensor, "*B K"]:
        """[..., D] -> [..., 64]."""
        return (features - self.mean) @ self.components.T

    def _load_from_state_dict(self, tensors: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in ("mean", "components"):
            saved = tensors.get(prefix + name)
            if saved is not None:
                setattr(self, name, torch.zeros_like(saved, device=getattr(self, name).device))
        super()._load_from_state_dict(tensors, prefix, *rest)


class PretrainedListener:
    """Hears waves with an encoder, window after window on a raster of 0.08 s that begins with the wave.

    A window that was heard before is not heard again: consecutive frames of a stream share most of them.
    """

    def __init__(
        self, encoder: PretrainedEncoder, projection: Projection, *, precision: str = "fp32"
    ) -> None:
        self.encoder, self.projection, self.precision = encoder, projection, precision
        self._known: OrderedDict[bytes, Tensor] = OrderedDict()
        self._lock = Lock()

    @torch.no_grad()
    def rows(
        self,
        wave: Float[Tensor, "S"],
        *,
        span: tuple[float, float] | None = None,
        done: Callable[[float], None] | None = None,
    ) -> Float[Tensor, "K F"]:
        """Return the reduced features at the mel frames of a wave; [64, S // 160 + 1].

        Args:
            wave: [S] at 16 kHz; beyond its ends there is silence.
            span: seconds between which features are needed; elsewhere they are 0.
            done: told, now and then, how many seconds have been heard.
        """
        windows, steps = step_windows(wave), needed_steps(wave, span)
        tokens = torch.zeros(len(windows), TOKENS, COMPONENTS, device=wave.device)
        for start in range(steps.start, steps.stop, _BLOCK):
            stop = min(start + _BLOCK, steps.stop)
            tokens[start:stop] = self._heard(windows[start:stop]).to(wave.device)
            if done is not None:
                done((stop - steps.start) * STEP / SAMPLE_RATE)
        return at_mel_rate(tokens.flatten(0, 1).T, len(wave) // _HOP + 1)

    def _heard(self, windows: Tensor) -> Tensor:
        """[N, S] -> [N, 4, 64]."""
        keys = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in windows.cpu().numpy()]
        with self._lock:
            known = {key: self._known[key] for key in keys if key in self._known}
        new = {key: index for index, key in enumerate(keys) if key not in known}
        if new:
            device = self.projection.mean.device
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
                features = self.encoder.features(windows[list(new.values())].to(device))
            known |= dict(zip(new, self.projection(features).cpu(), strict=True))
        with self._lock:
            for key in keys:
                self._known[key] = known[key]
                self._known.move_to_end(key)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return torch.stack([known[key] for key in keys])


def open_listener(speech: str, projection: Projection, *, precision: str = "fp32") -> PretrainedListener:
    """Load the encoder that an avatar was trained with, from this machine only.

    Raises:
        MissingExtra: transformers is not installed.
        SettingsError: the encoder is not there, or is another one.
    """
    name = os.environ.get(PLACE) or pretrained_name(speech)
    assert name is not None
    encoder = load_pretrained(name).to(projection.mean.device)
    if encoder.fingerprint != bytes(projection.fingerprint.tolist()):
        raise SettingsError(
            f"hf:{name} is not the speech encoder that this avatar was trained with; "
            f"name the right folder in {PLACE}, or train again"
        )
    return PretrainedListener(encoder, projection, precision=precision)


def whole_steps(seconds: float) -> int:
    """Return the samples of as many whole steps as last so long, at least."""
    return math.ceil(seconds * SAMPLE_RATE / STEP) * STEP


def step_windows(wave: Float[Tensor, "S"]) -> Float[Tensor, "N W"]:
    """Return the encoder's window of every step until the last mel frame; [N, `WINDOW`], not copied."""
    return functional.pad(wave, (PAST, STEP + AFTER)).unfold(0, WINDOW, STEP)


def needed_steps(wave: Float[Tensor, "S"], span: tuple[float, float] | None) -> range:
    """Return the steps whose features stand between two seconds; None: all."""
    count = len(wave) // STEP + 1
    if span is None:
        return range(count)
    # Between two mel frames both are needed; every second one is the mean of two tokens.
    begin, end = math.floor(span[0] * MEL_RATE) // 2 - 1, (math.floor(span[1] * MEL_RATE) + 1) // 2
    first = min(max(begin // TOKENS, 0), count - 1)
    return range(first, max(first + 1, min(count, end // TOKENS + 1)))


def at_mel_rate(tokens: Float[Tensor, "K T"], frames: int) -> Float[Tensor, "K F"]:
    """Bring features, 50 a second, to the mel frames; between two of them is their mean.

    Frame 2 i + 1, at 20 i + 10 ms, is token i, which stands for 20 i to 20 i + 20 ms.
    """
    before = functional.pad(tokens, (1, 0), mode="replicate")[:, :-1] if tokens.shape[1] > 1 else tokens
    return torch.stack([(before + tokens) / 2, tokens], dim=2).flatten(1)[:, :frames]
