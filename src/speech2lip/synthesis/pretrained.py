"""A pretrained speech encoder (HuBERT, wav2vec 2.0, WavLM, Whisper) that hears a short window at a time."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from speech2lip.conventions import MEL_HOP, MEL_RATE, SAMPLE_RATE
from speech2lip.errors import MissingExtra, SettingsError

TOKEN = SAMPLE_RATE // 50
"""Samples from one feature to the next: all these encoders give 50 a second."""
PAST, STEP, AFTER = 40 * TOKEN, 4 * TOKEN, 4 * TOKEN
"""A window is 0.8 s that was, 0.08 s whose features are taken, and 0.08 s after them."""
WINDOW = PAST + STEP + AFTER
TOKENS = STEP // TOKEN
"""Features taken of a window."""
FRAMES_PER_TOKEN = MEL_RATE // 50
"""Mel frames from one feature to the next."""
_KINDS = ("hubert", "wav2vec2", "wavlm", "whisper")
_LAYERS = 0.75
"""Share of a wave model's layers that is run: sounds are told apart best at two thirds to three quarters of
the depth, and the last ones guess hidden units instead (Pasad et al. 2021, "Layer-wise analysis").
"""
_HISS = 1e-4
"""Noise 80 dB below full scale is laid under every window, always the same: these networks make each window
as loud as any other, and would hear something in the last bits of silence.
"""
_BATCH = 32
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class PretrainedEncoder:
    """A frozen encoder and how sound is brought to it."""

    network: nn.Module
    prepare: Callable[[Tensor], Tensor]
    """Windows [N, S] -> what the network takes."""
    fingerprint: bytes
    """32 bytes that tell these weights, layers and windows from any others."""

    def to(self, device: torch.device) -> PretrainedEncoder:
        """Move it to a device."""
        return replace(self, network=self.network.to(device))

    @torch.no_grad()
    def features(self, windows: Float[Tensor, "N S"]) -> Float[Tensor, "N V D"]:
        """Hear windows of `WINDOW` samples; [N, `TOKENS`, D], the features of each window's step."""
        first, hiss = PAST // TOKEN, _hiss().to(windows.device)
        heard = [
            self.network(self.prepare(block + hiss)).last_hidden_state[:, first : first + TOKENS].float()
            for block in torch.split(windows, _BATCH)
        ]
        return torch.cat(heard)


def load_pretrained(name: str, *, download: bool = False) -> PretrainedEncoder:
    """Load an encoder, safetensors only, nothing in it executed.

    Args:
        name: a folder as `save_pretrained` writes it, or the hub's `owner/name`.
        download: fetch it from the hub where it is not on this machine.

    Raises:
        MissingExtra: transformers is not installed.
        SettingsError: no such model, one of another kind, or one without weights that are needed.
    """
    transformers = _transformers()
    folder = Path(name).expanduser()
    if not folder.is_dir() and not _HUB_ID.fullmatch(name):
        raise SettingsError(f"hf:{name} is neither a folder nor of the form owner/name")
    where, download = str(folder) if folder.is_dir() else name, download and not folder.is_dir()
    for local in (True, False) if download else (True,):
        try:
            kind, network, missing = _opened(transformers, name, where, local=local)
            break
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            failed = error
    else:
        raise SettingsError(_why_not(name, folder.is_dir() or download, failed)) from failed
    normalise = kind != "whisper" and _wants_normalised(transformers, where, local)
    if kind == "whisper":
        extractor = transformers.WhisperFeatureExtractor(feature_size=network.config.num_mel_bins)
        prepare, network = partial(_prepare_whisper, extractor), _whisper(name, network)
    else:
        prepare, network = partial(_prepare_wave, normalise), _wave_model(name, network)
    _require_weights(name, missing, network, "encoder." if kind == "whisper" else f"{kind}.")
    network = network.eval().requires_grad_(False)
    return PretrainedEncoder(network, prepare, _fingerprint(kind, normalise, network))


@functools.lru_cache(maxsize=1)
def _hiss() -> Tensor:
    return _HISS * torch.randn(WINDOW, generator=torch.Generator().manual_seed(0))


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra(
            'Pretrained speech encoders need transformers: pip install "speech2lip[hf]"'
        ) from error
    transformers.logging.set_verbosity_error()
    return transformers


def _opened(transformers: Any, name: str, where: str, *, local: bool) -> tuple[str, Any, list[str]]:
    """Return a model's kind, the model, and the weights that were not found."""
    # AutoConfig would guess the kind from the name of the folder where the file does not tell it.
    plain, _ = transformers.PretrainedConfig.get_config_dict(where, local_files_only=local)
    kind = plain.get("model_type")
    if kind is None:
        raise SettingsError(
            f"hf:{name} has no config.json that tells a model_type; save it with transformers"
        )
    if kind not in _KINDS:
        raise SettingsError(f"hf:{name} is a model of kind {kind!r}; {', '.join(_KINDS)} are known")
    network, info = transformers.AutoModel.from_pretrained(
        where,
        use_safetensors=True,
        local_files_only=local,
        output_loading_info=True,
        dtype=torch.float32,
    )
    return str(kind), network, list(info["missing_keys"])


def _why_not(name: str, tried: bool, error: Exception) -> str:
    """Say why a model that is a folder, or that was asked of the hub, or neither (`tried`), is not there."""
    reason = " ".join(str(error).split())[:160]
    if not tried:
        return f"hf:{name} is not on this machine; fetch it with `hf download {name}` ({reason})"
    return f"hf:{name} cannot be loaded as safetensors ({type(error).__name__}: {reason})"


def _require_weights(name: str, missing: list[str], network: nn.Module, prefix: str) -> None:
    """Raise SettingsError where weights that are run were not found."""
    names = [key.removeprefix("model.").removeprefix(prefix) for key in missing]
    needed = [key for key in names if key in network.state_dict() and "masked_spec_embed" not in key]
    if needed:
        raise SettingsError(
            f"hf:{name} lacks {len(needed)} weights ({needed[0]}, ...); save it again with transformers"
        )


def _wave_model(name: str, network: Any) -> nn.Module:
    """Leave out what is not run."""
    config = network.config
    stride = math.prod(config.conv_stride)
    if stride != TOKEN:
        raise SettingsError(f"hf:{name} gives a feature every {stride} samples; {TOKEN} are needed")
    if getattr(config, "add_adapter", False):
        raise SettingsError(f"hf:{name} has an adapter that drops features; models without one are needed")
    layers = network.encoder.layers
    network.encoder.layers = layers[: max(1, round(_LAYERS * len(layers)))]
    return network


def _whisper(name: str, network: Any) -> nn.Module:
    """Take the encoder, and of its 30 s of positions those of a window: 48 of 1,500, 31 times as cheap.

    Whisper was trained on sound filled up to 30 s with silence; its encoder can be run on less, as
    whisper.cpp's `audio_ctx` does.
    """
    encoder = network.encoder
    count = WINDOW // TOKEN
    known = encoder.embed_positions.weight
    if len(known) < count:
        raise SettingsError(f"hf:{name} hears {len(known) / 50:.2f} s at once; {count / 50:.2f} s are needed")
    encoder.embed_positions = nn.Embedding(count, known.shape[1], _weight=known[:count].detach().clone())
    encoder.config.max_source_positions = count
    return encoder


def _prepare_whisper(extractor: Any, block: Tensor) -> Tensor:
    made = extractor(
        block.cpu().numpy(), sampling_rate=SAMPLE_RATE, padding="longest", return_tensors="pt"
    ).input_features
    return made.to(block.device)


def _prepare_wave(normalise: bool, block: Tensor) -> Tensor:
    if not normalise:
        return block
    return (block - block.mean(1, keepdim=True)) / block.std(1, correction=0, keepdim=True)


def _wants_normalised(transformers: Any, where: str, local: bool) -> bool:
    """Read from the model's own preparation whether waves are normalised; they are where nothing is said."""
    try:
        preparation, _ = transformers.FeatureExtractionMixin.get_feature_extractor_dict(
            where, local_files_only=local
        )
    except OSError:
        return True
    return bool(preparation.get("do_normalize", True))


def _fingerprint(kind: str, normalise: bool, network: nn.Module) -> bytes:
    """Tell weights apart by the first numbers of each."""
    mark = hashlib.sha256(json.dumps([kind, normalise, PAST, STEP, AFTER, _HISS]).encode())
    for name, value in sorted(network.state_dict().items()):
        mark.update(f"{name} {list(value.shape)}".encode())
        mark.update(value.detach().flatten()[:64].float().cpu().numpy().tobytes())
    return mark.digest()


COMPONENTS = 64
"""Principal components of the features that are kept."""
PLACE = "SPEECH2LIP_HF"
"""Variable of the environment that names the folder of an avatar's encoder where it has moved."""
PAST_SECONDS = (PAST + STEP) / SAMPLE_RATE + 0.02
"""Sound before the first feature that a frame hears, at most."""
AHEAD_FRAMES = math.ceil((STEP + AFTER) * MEL_RATE / SAMPLE_RATE) + 1
"""Mel frames by which features hear further than their moment, at most."""
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

    def learn(self, features: Float[Tensor, "N D"], encoder: PretrainedEncoder) -> None:
        """Find the principal components of an encoder's features, scaled to a deviation of 1."""
        mean = features.double().mean(0)
        centred = features.double() - mean
        values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
        values, vectors = values.flip(0)[:COMPONENTS], vectors.flip(1)[:, :COMPONENTS]
        scale = values.clamp_min(float(values[0]) * _LEAST_SHARE).clamp_min(1e-12).rsqrt()
        components = torch.zeros(COMPONENTS, features.shape[1], dtype=torch.float64, device=features.device)
        components[: len(values)] = (vectors * scale).T
        self.mean, self.components = mean.float(), components.float()
        self.fingerprint = torch.tensor(list(encoder.fingerprint), dtype=torch.uint8)

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
            done: is called now and then with how many seconds have been heard.
        """
        windows, steps = step_windows(wave), needed_steps(wave, span)
        tokens = torch.zeros(len(windows), TOKENS, COMPONENTS, device=wave.device)
        for start in range(steps.start, steps.stop, _BLOCK):
            stop = min(start + _BLOCK, steps.stop)
            tokens[start:stop] = self._heard(windows[start:stop]).to(wave.device)
            if done is not None:
                done((stop - steps.start) * STEP / SAMPLE_RATE)
        return at_mel_rate(tokens.flatten(0, 1).T, len(wave) // MEL_HOP + 1)

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
