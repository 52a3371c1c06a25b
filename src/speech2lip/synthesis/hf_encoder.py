"""A pretrained speech encoder (HuBERT, wav2vec 2.0, WavLM, Whisper) that hears a short window at a time."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from speech2lip.conventions import SAMPLE_RATE
from speech2lip.errors import MissingExtra, SettingsError

TOKEN = SAMPLE_RATE // 50
"""Samples from one feature to the next: all these encoders give 50 a second."""
PAST, STEP, AFTER = 40 * TOKEN, 4 * TOKEN, 4 * TOKEN
"""A window is 0.8 s that was, 0.08 s whose features are taken, and 0.08 s after them."""
WINDOW = PAST + STEP + AFTER
TOKENS = STEP // TOKEN
"""Features taken of a window."""
_WAVE_KINDS = ("hubert", "wav2vec2", "wavlm")
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
    filters: Tensor | None
    """[M, 201] Whisper's mel filters; None: the network hears waves."""
    normalise: bool
    """Whether windows are brought to mean 0 and deviation 1, as the network's own preparation says."""
    size: int
    """Numbers in a feature."""
    fingerprint: bytes
    """32 bytes that tell these weights, layers and windows from any others."""

    def to(self, device: torch.device) -> PretrainedEncoder:
        """Move it to a device."""
        self.network.to(device)
        filters = None if self.filters is None else self.filters.to(device)
        return PretrainedEncoder(self.network, filters, self.normalise, self.size, self.fingerprint)

    @torch.no_grad()
    def features(self, windows: Float[Tensor, "N S"]) -> Float[Tensor, "N V D"]:
        """Hear windows of `WINDOW` samples; [N, `TOKENS`, D], the features of each window's step."""
        first = PAST // TOKEN
        heard = [self._hear(block)[:, first : first + TOKENS] for block in torch.split(windows, _BATCH)]
        return torch.cat(heard)

    def _hear(self, block: Tensor) -> Tensor:
        block = block + _hiss().to(block.device)
        if self.filters is not None:
            return self.network(whisper_mel(block, self.filters)).last_hidden_state.float()
        if self.normalise:
            block = (block - block.mean(1, keepdim=True)) / block.std(1, correction=0, keepdim=True)
        return self.network(block).last_hidden_state.float()


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
    where, local = str(folder) if folder.is_dir() else name, True
    try:
        kind, network, lacking = _opened(transformers, name, where, local=local)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if not download or folder.is_dir():
            raise SettingsError(_why_not(name, folder.is_dir(), error)) from error
        local = False
        try:
            kind, network, lacking = _opened(transformers, name, where, local=local)
        except (OSError, ValueError, KeyError, RuntimeError) as again:
            raise SettingsError(_why_not(name, True, again)) from again
    prepared = _whisper(name, network) if kind == "whisper" else _wave_model(name, network)
    missing = [key for key in lacking if _is_used(key, prepared, kind)]
    if missing:
        raise SettingsError(
            f"hf:{name} lacks {len(missing)} weights ({missing[0]}, ...); save it again with transformers"
        )
    prepared = prepared.eval().requires_grad_(False)
    filters = _whisper_filters(network.config.num_mel_bins) if kind == "whisper" else None
    normalise = kind != "whisper" and _wants_normalised(where, local)
    mark = _fingerprint(kind, normalise, prepared)
    return PretrainedEncoder(prepared, filters, normalise, network.config.hidden_size, mark)


def whisper_mel(windows: Float[Tensor, "N S"], filters: Float[Tensor, "M Q"]) -> Float[Tensor, "N M F"]:
    """Return Whisper's log-mel spectrum; the largest of each window is its reference.

    Source: Radford et al. 2022 and its code: 25 ms Hann windows, 10 ms apart, 8 decades at most.
    """
    shape = torch.hann_window(400, device=windows.device)
    spectrum = torch.stft(windows, 400, 160, window=shape, return_complex=True)[..., :-1]
    mel = (filters @ (spectrum.abs() ** 2)).clamp_min(1e-10).log10()
    mel = torch.maximum(mel, mel.amax((1, 2), keepdim=True) - 8)
    return (mel + 4) / 4


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
    kind = _known_kind(name, plain)
    network, told = transformers.AutoModel.from_pretrained(
        where,
        use_safetensors=True,
        local_files_only=local,
        output_loading_info=True,
        dtype=torch.float32,
    )
    return kind, network, list(told["missing_keys"])


def _known_kind(name: str, config: dict[str, Any]) -> str:
    kind = config.get("model_type")
    if kind is None:
        raise SettingsError(
            f"hf:{name} has no config.json that tells a model_type; save it with transformers"
        )
    if kind not in (*_WAVE_KINDS, "whisper"):
        raise SettingsError(
            f"hf:{name} is a model of kind {kind!r}; hubert, wav2vec2, wavlm and whisper are known"
        )
    return str(kind)


def _why_not(name: str, tried: bool, error: Exception) -> str:
    """Say why a model that is a folder, or that was asked of the hub, or neither (`tried`), is not there."""
    reason = " ".join(str(error).split())[:160]
    if not tried:
        return f"hf:{name} is not on this machine; fetch it with `hf download {name}` ({reason})"
    return f"hf:{name} cannot be loaded as safetensors ({type(error).__name__}: {reason})"


def _wave_model(name: str, network: Any) -> nn.Module:
    """Leave out what is not run."""
    config = network.config
    stride = 1
    for one in config.conv_stride:
        stride *= one
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


def _whisper_filters(bands: int) -> Tensor:
    from transformers.audio_utils import mel_filter_bank

    bank = mel_filter_bank(201, bands, 0.0, 8000.0, SAMPLE_RATE, norm="slaney", mel_scale="slaney")
    return torch.from_numpy(bank.T.copy()).float()


def _is_used(key: str, network: nn.Module, kind: str) -> bool:
    """Whether a weight that was not found would be missed."""
    if "masked_spec_embed" in key:
        return False
    name = key.removeprefix("model.")
    if kind == "whisper":
        return name.startswith("encoder.")
    return name.removeprefix(f"{kind}.") in network.state_dict()


def _wants_normalised(where: str, local: bool) -> bool:
    """Read from the model's own preparation whether waves are normalised; they are where nothing is said."""
    from transformers.utils import cached_file

    path = cached_file(
        where,
        "preprocessor_config.json",
        local_files_only=local,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    if path is None:
        return True
    return bool(json.loads(Path(path).read_text(encoding="utf-8")).get("do_normalize", True))


def _fingerprint(kind: str, normalise: bool, network: nn.Module) -> bytes:
    """Tell weights apart by the first numbers of each."""
    mark = hashlib.sha256(json.dumps([kind, normalise, PAST, STEP, AFTER, _HISS]).encode())
    for name, value in sorted(network.state_dict().items()):
        mark.update(f"{name} {list(value.shape)}".encode())
        mark.update(value.detach().flatten()[:64].float().cpu().numpy().tobytes())
    return mark.digest()
