"""The built-in weights fit the default encoder, which then hears what another encoder does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from speech2lip.config import ModelSettings
from speech2lip.synthesis.speech import (
    ENCODER_WEIGHTS,
    SpeechEncoder,
    init_encoder,
    log_mel,
    mel_windows,
    window_offsets,
)
from speech2lip_presenter.speech import SpeechClip, speech_clips


def test_fits_the_default_encoder() -> None:
    encoder = SpeechEncoder(ModelSettings())
    assert init_encoder(encoder)
    weights, own = load_file(ENCODER_WEIGHTS), encoder.state_dict()
    assert weights.keys() == own.keys()
    assert all(torch.equal(own[name], value.float()) for name, value in weights.items())


@pytest.mark.parametrize(
    "settings",
    [ModelSettings(encoder_width=16), ModelSettings(code_size=8), ModelSettings(speech="hf:a/b")],
)
def test_leaves_an_encoder_that_it_does_not_fit(settings: ModelSettings) -> None:
    encoder = SpeechEncoder(settings)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    assert not init_encoder(encoder)
    assert all(torch.equal(encoder.state_dict()[name], value) for name, value in before.items())


def test_fits_beside_a_pretrained_encoder() -> None:
    assert init_encoder(SpeechEncoder(ModelSettings(speech="mel+hf:a/b")))


def heard(encoder: SpeechEncoder, spoken: list[SpeechClip]) -> tuple[Tensor, list[str]]:
    """Return codes, with a one behind them, [T, D + 1], and the phones over some clips."""
    codes, phones = [], []
    for clip in spoken:
        mel = log_mel(torch.from_numpy(clip.wave))
        times = np.arange(0.2, mel.shape[1] / 100 - 0.2, 0.04)
        with torch.no_grad():
            codes.append(encoder(mel_windows(mel, torch.from_numpy(times), window_offsets(ModelSettings()))))
        phones += [clip.phone_at(time).name for time in times]
    return torch.cat([torch.cat(codes), torch.ones(len(phones), 1)], 1), phones


def told(encoder: SpeechEncoder) -> float:
    """Return the share of phones that least squares on some clips tells in another voice's clips."""
    encoder.eval()
    known, names = heard(encoder, speech_clips("a", split="train"))
    kinds = sorted(set(names))
    one_hot = torch.tensor([[float(name == kind) for kind in kinds] for name in names])
    asked, truth = heard(encoder, speech_clips("b", split="unseen"))
    answers = (asked @ torch.linalg.lstsq(known, one_hot).solution).argmax(1)
    return float(np.mean([kinds[i] == name for i, name in zip(answers, truth, strict=True)]))


def test_tells_phones_in_another_voice() -> None:
    torch.manual_seed(0)
    taught, fresh = SpeechEncoder(ModelSettings()), SpeechEncoder(ModelSettings())
    init_encoder(taught)
    assert told(taught) > max(0.5, told(fresh) + 0.2)
