"""What rows hear: the spectrum, and with it what one avatar's pretrained encoder hears."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from speech2lip.errors import SettingsError
from speech2lip.evaluation.methods import RealVideo, Spoken, mel_features
from speech2lip.synthesis.speech import log_mel

WAVE = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)


def _avatar(listener: object) -> Spoken:
    def more(wave: torch.Tensor) -> torch.Tensor:
        return torch.cat([log_mel(wave), torch.ones(64, len(wave) // 160 + 1)])

    return Spoken(cast(Any, SimpleNamespace(listener=listener, mel_features=more)), np.ones(3, np.float32))


def test_rows_hear_the_spectrum_and_what_the_avatar_hears() -> None:
    assert torch.equal(mel_features([RealVideo(), _avatar(None)], WAVE), log_mel(torch.from_numpy(WAVE)))
    assert mel_features([RealVideo(), _avatar(None), _avatar("encoder")], WAVE).shape[0] == 80 + 64


def test_two_avatars_with_pretrained_encoders_are_refused() -> None:
    with pytest.raises(SettingsError, match="cannot be judged at once"):
        mel_features([_avatar("one"), _avatar("other")], WAVE)
