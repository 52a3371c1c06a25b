"""Reads the acoustic model of a speech recogniser: what each phone sounds like, in Gaussians.

The model is the American English one that comes with pocketsphinx (BSD licence): a semi-continuous Markov
model with a codebook of Gaussians for each phone. Formats: CMU Sphinx, "Acoustic model files"
(https://cmusphinx.github.io/wiki/acousticmodelformat/), and the sendump file's description of itself.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speech2lip.arrays import Floats
from speech2lip.errors import SettingsError

_ORDER = 0x11223344
"""Tells the order of bytes in a file."""
_LOG_STEP = 1024 * np.log(1.0001)
"""Mixture weights are kept as whole numbers of this, negated, in natural logarithms."""
_LEAST_VARIANCE = 1e-4
STATES = 3
"""Beginning, middle and end of a phone: each sounds different."""


@dataclass(frozen=True)
class Recogniser:
    """Gaussians of C phones in S streams (cepstra, their slope, their curvature) of D numbers; G each."""

    means: Floats
    """[C, S, G, D]."""
    variances: Floats
    """[C, S, G, D]."""
    weights: Floats
    """[C, S, G, 3] of the phone's three states, adding up to about 1 over G."""


def find_recogniser() -> Path:
    """Return the folder of the acoustic model that comes with pocketsphinx.

    Raises:
        SettingsError: pocketsphinx is not installed.
    """
    try:
        import pocketsphinx
    except ImportError:
        raise SettingsError(
            "phonetic speech is trained with the acoustic model in pocketsphinx, which is not installed: "
            'pip install "pocketsphinx>=5,<6", or train with --model.speech mel'
        ) from None
    return Path(pocketsphinx.get_model_path()) / "en-us" / "en-us"


def read_recogniser(folder: Path) -> Recogniser:
    """Read the acoustic model in a folder.

    Raises:
        SettingsError: a file is missing or is not what it should be.
    """
    try:
        means, variances = _gaussians(folder / "means"), _gaussians(folder / "variances")
        weights = _weights(folder / "sendump", streams=means.shape[1])
    except (OSError, ValueError, struct.error) as error:
        raise SettingsError(
            f"{folder} does not hold an acoustic model that can be read: {' '.join(str(error).split())}"
        ) from None
    phones, _, gaussians, _ = means.shape
    if means.shape != variances.shape or weights.shape[1] != gaussians or weights.shape[2] < STATES * phones:
        raise SettingsError(f"the acoustic model in {folder} has parts that do not belong together")
    # The phones' own states come first, in their order; those of phones amid others are not needed.
    own = weights[:, :, : STATES * phones].reshape(*weights.shape[:2], phones, STATES)
    return Recogniser(means, np.maximum(variances, _LEAST_VARIANCE), own.transpose(2, 0, 1, 3))


def _gaussians(path: Path) -> Floats:
    """Read means or variances; [C, S, G, D]."""
    raw = path.read_bytes()
    at = raw.index(b"endhdr\n") + len(b"endhdr\n")
    order, phones, streams, gaussians = struct.unpack_from("<4i", raw, at)
    if order != _ORDER:
        raise ValueError(f"{path.name} is written in another order of bytes")
    sizes = struct.unpack_from(f"<{streams}i", raw, at + 16)
    if len(set(sizes)) != 1:
        raise ValueError(f"the streams of {path.name} differ in size: {sizes}")
    numbers = np.frombuffer(raw, "<f4", phones * gaussians * sum(sizes), at + 16 + 4 * streams + 4)
    return numbers.reshape(phones, streams, gaussians, sizes[0])


def _weights(path: Path, *, streams: int) -> Floats:
    """Read mixture weights; [S, G, states of phones alone and amid others]."""
    raw = path.read_bytes()
    at = 0
    while length := struct.unpack_from("<i", raw, at)[0]:
        at += 4 + length
    gaussians, states = struct.unpack_from("<2i", raw, at + 4)
    kept = np.frombuffer(raw, np.uint8, streams * gaussians * states, at + 12)
    weights: Floats = np.exp(-_LOG_STEP * kept.reshape(streams, gaussians, states)).astype(np.float32)
    return weights
