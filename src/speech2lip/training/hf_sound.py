"""What a pretrained encoder hears of the training takes, found once and kept for when training goes on."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from speech2lip.conventions import MEL_RATE, SAMPLE_RATE
from speech2lip.progress import Progress
from speech2lip.storage import save_tensors
from speech2lip.synthesis.hf_encoder import PretrainedEncoder
from speech2lip.synthesis.hf_speech import PretrainedListener, Projection, step_windows
from speech2lip.synthesis.speech import log_mel
from speech2lip.training.dataset import TrainingSet
from speech2lip.training.varied_waves import Wave, quiet_wave, vary_wave

VERSIONS = 4
"""The sound as it is, and so often in other voices, rooms and noise."""
_LONG_SECONDS = 900.0
"""Longer footage is varied in itself: two versions do."""
_QUIET_PIECES = 24
_LEARNED_FROM = 3000
"""Steps, about, that the projection is learned from."""
_MAKE = 1
"""Counted up whenever the same sound would be heard otherwise."""
_HOP = SAMPLE_RATE // MEL_RATE


def hear_takes(data: TrainingSet, encoder: PretrainedEncoder, *, seed: int, cache: Path) -> Projection:
    """Let the encoder hear the sound of a training set, in several versions, and what is quiet.

    Fills `heard` and `quiet` of the set and drops its wave.

    Args:
        data: with a wave.
        encoder: on the device where it shall run.
        cache: a file that keeps what was heard.

    Returns:
        How its features are reduced, on the processor.
    """
    assert data.wave is not None
    random = np.random.default_rng(seed)
    waves = _versions(data.wave.numpy(), random)
    quiet = quiet_wave(_QUIET_PIECES, random)
    key = _key(data.wave, encoder, seed)
    projection = Projection()
    rows = _load(cache, key, projection)
    if rows is None:
        rows = _hear([wave for _, wave in waves] + [quiet], encoder, projection, seed)
        tensors = {f"rows.{number}": row.half() for number, row in enumerate(rows)}
        save_tensors(cache, tensors | projection.state_dict(), metadata={"key": key})
    frames = data.mel.shape[1]
    # A version begins some mel frames late, so that the encoder's steps fall elsewhere on the speech.
    features = [row.float()[:, late:][:, :frames] for (late, _), row in zip(waves, rows, strict=False)]
    data.heard = torch.cat([torch.cat([data.mel, row]) for row in features], dim=1)
    data.quiet = torch.cat([log_mel(torch.from_numpy(quiet)), rows[-1].float()])
    data.wave = None
    return projection


def _versions(wave: Wave, random: np.random.Generator) -> list[tuple[int, Wave]]:
    """Return how many mel frames late the versions of a wave begin, and the versions."""
    count = VERSIONS if len(wave) < _LONG_SECONDS * SAMPLE_RATE else 2
    late = [0, *random.integers(0, 8, count - 1).tolist()]
    varied = [wave, *(vary_wave(wave, random) for _ in range(count - 1))]
    return [(n, np.pad(one, (n * _HOP, 0))) for n, one in zip(late, varied, strict=True)]


def _hear(waves: list[Wave], encoder: PretrainedEncoder, projection: Projection, seed: int) -> list[Tensor]:
    windows = [step_windows(torch.from_numpy(wave)) for wave in waves]
    random = torch.Generator().manual_seed(seed)
    device = next(encoder.network.parameters()).device
    some = [
        one[torch.randperm(len(one), generator=random)[: -(-_LEARNED_FROM // len(waves))]]
        for one in windows[:-1]
    ]
    projection.learn(encoder.features(torch.cat(some).to(device)).flatten(0, 1).cpu(), encoder)
    listener = PretrainedListener(encoder, projection.to(device))
    rows, before = [], 0.0
    with Progress("Hearing the takes", total=sum(map(len, waves)) / SAMPLE_RATE, unit="s") as progress:
        for wave in waves:
            rows.append(listener.rows(torch.from_numpy(wave), done=partial(_tell, progress, before)))
            before += len(wave) / SAMPLE_RATE
    projection.cpu()
    return rows


def _tell(progress: Progress, before: float, seconds: float) -> None:
    progress.set(before + seconds)


def _key(wave: Tensor, encoder: PretrainedEncoder, seed: int) -> str:
    mark = hashlib.sha256(f"{_MAKE} {VERSIONS} {_QUIET_PIECES} {seed}".encode())
    mark.update(encoder.fingerprint)
    mark.update(wave.numpy().tobytes())
    return mark.hexdigest()


def _load(cache: Path, key: str, projection: Projection) -> list[Tensor] | None:
    """Read what was heard of the same sound by the same encoder; None where it was not."""
    try:
        with safe_open(cache, framework="pt") as file:
            if (file.metadata() or {}).get("key") != key:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    count = sum(name.startswith("rows.") for name in tensors)
    rows = [tensors.pop(f"rows.{number}") for number in range(count)]
    projection.load_state_dict(tensors)
    return rows
