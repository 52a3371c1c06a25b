"""What a pretrained encoder hears of the training takes, found once and kept for when training goes on."""

from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from speech2lip.atomic import kept_tensors, save_tensors
from speech2lip.conventions import MEL_HOP, SAMPLE_RATE
from speech2lip.progress import Progress
from speech2lip.synthesis.pretrained import (
    AFTER,
    STEP,
    PretrainedEncoder,
    PretrainedListener,
    Projection,
    step_windows,
)
from speech2lip.synthesis.speech import log_mel
from speech2lip.training.augmentation import quiet_wave, vary_wave
from speech2lip.training.dataset import TrainingSet

_LOG = logging.getLogger(__name__)

HEARD_VERSIONS = 4
"""The sound as it is, and so often in other voices, rooms and noise."""
_LONG_SECONDS = 900.0
"""Longer footage is varied in itself: two versions do."""
_QUIET_PIECES = 24
_LEARNED_FROM = 3000
"""Steps that the projection is learned from, at most."""
_MAKE = 2
"""Counted up whenever the same sound would be heard otherwise."""


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
    began, random = time.monotonic(), np.random.default_rng(seed)
    wave, frames = data.wave.numpy(), data.mel.shape[1]
    count = HEARD_VERSIONS if len(wave) < _LONG_SECONDS * SAMPLE_RATE else 2
    # A version begins some mel frames late, so that the encoder's steps fall elsewhere on the speech; it ends
    # with a step, and with silence, so that nothing is heard of the next one.
    late = [0, *random.integers(0, 8, count - 1).tolist()]
    versions = [wave, *(vary_wave(wave, random) for _ in range(count - 1))]
    begun = [np.pad(one, (n * MEL_HOP, STEP + AFTER)) for n, one in zip(late, versions, strict=True)]
    parts = [np.pad(one, (0, -len(one) % STEP)) for one in begun]
    quiet = quiet_wave(_QUIET_PIECES, random)
    begins = np.cumsum([0, *map(len, parts)]) // MEL_HOP
    rows, projection = _heard(torch.from_numpy(np.concatenate([*parts, quiet])), encoder, seed, cache)
    heard = [rows[:, first : first + frames] for first in begins[:-1] + late]
    data.heard = torch.cat([torch.cat([data.mel, one]) for one in heard], dim=1)
    data.quiet = torch.cat([log_mel(torch.from_numpy(quiet)), rows[:, begins[-1] :]])
    data.wave = None
    _LOG.info(f"the pretrained encoder heard the takes in {time.monotonic() - began:.0f} s")
    return projection


def _heard(wave: Tensor, encoder: PretrainedEncoder, seed: int, cache: Path) -> tuple[Tensor, Projection]:
    """Hear a wave, or read what was heard of it before; the reduced features [64, F], and how."""
    mark = hashlib.sha256(f"{_MAKE} {seed}".encode() + encoder.fingerprint + wave.numpy().tobytes())
    key, projection = mark.hexdigest(), Projection()
    if (kept := kept_tensors(cache, key)) is not None:
        rows = kept.pop("rows").float()
        projection.load_state_dict(kept)
        return rows, projection
    device, windows = next(encoder.network.parameters()).device, step_windows(wave)
    some = torch.randperm(len(windows), generator=torch.Generator().manual_seed(seed))[:_LEARNED_FROM]
    projection.learn(encoder.features(windows[some].to(device)).flatten(0, 1).cpu(), encoder)
    listener = PretrainedListener(encoder, projection.to(device))
    with Progress("Hearing the takes", total=len(wave) / SAMPLE_RATE, unit="s") as progress:
        rows = listener.rows(wave, done=progress.set).half()
    save_tensors(cache, {"rows": rows} | projection.cpu().state_dict(), metadata={"key": key})
    return rows.float(), projection
