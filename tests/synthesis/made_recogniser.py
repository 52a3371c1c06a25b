"""A made recogniser, for tests of phonetic speech that need no acoustic model."""

from __future__ import annotations

import numpy as np

from speech2lip.synthesis.phonetic import KEPT, PHONES
from speech2lip.synthesis.recogniser import Recogniser


def made_recogniser() -> Recogniser:
    """Return Gaussians that lie where cepstra of speech may lie."""
    random = np.random.default_rng(0)
    shape = (PHONES, 3, KEPT, 13)
    weights = random.uniform(0.1, 1.0, size=(PHONES, 3, KEPT, 3))
    return Recogniser(
        (8 * random.normal(size=shape)).astype(np.float32),
        random.uniform(20, 60, size=shape).astype(np.float32),
        (weights / weights.sum(2, keepdims=True)).astype(np.float32),
    )
