"""The built-in ear: what a speech encoder knows before it hears the person.

It has learned to tell the phones of 200 minutes of random words, spoken by synthetic voices and varied as in
training (`training/make_ear.py` makes it, docs/speech.md tells what it is worth). No lips were seen.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from speech2lip.synthesis.speech import SpeechEncoder

EAR = Path(__file__).with_name("ear.safetensors")


@functools.lru_cache(maxsize=1)
def read_ear() -> dict[str, Tensor]:
    """Read the weights of the built-in ear, named as in `SpeechEncoder`."""
    return {name: value.float() for name, value in load_file(EAR).items()}


def give_ear(encoder: SpeechEncoder) -> bool:
    """Let an encoder begin with the built-in ear; tell whether it fits.

    It fits an encoder that hears mel and has the default sizes; what such an encoder hears beside mel begins
    anew.
    """
    ear, own = read_ear(), encoder.state_dict()
    if any(name not in own or own[name].shape != value.shape for name, value in ear.items()):
        return False
    with torch.no_grad():
        for name, value in ear.items():
            own[name].copy_(value)
    return True


def ear_fingerprint() -> str:
    """Return what tells this ear from another one."""
    return hashlib.sha256(EAR.read_bytes()).hexdigest()
