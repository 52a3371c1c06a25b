"""Training with a pretrained encoder: heard once, kept, and spoken as it was trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speech2lip.avatar import read_avatar
from speech2lip.config import SpeakSettings, TrainSettings
from speech2lip.conventions import MEL_BANDS, MEL_RATE, SAMPLE_RATE
from speech2lip.decomposition.footage import read_footage
from speech2lip.errors import SettingsError
from speech2lip.inference.engine import Engine
from speech2lip.inference.speak import speak
from speech2lip.synthesis.pretrained import COMPONENTS, PretrainedEncoder, PretrainedListener, load_pretrained
from speech2lip.synthesis.speech import log_mel
from speech2lip.training.dataset import TrainingSet, build_training_set
from speech2lip.training.pretrained_sound import HEARD_VERSIONS, hear_takes
from speech2lip.training.train import train
from tests.evaluation.made_footage import write_footage
from tests.made_face import TINY
from tests.synthesis.tiny_encoders import tiny_encoder

SPOKEN = SpeakSettings(device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("hf") / "hubert", "hubert")


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_footage(tmp_path_factory.mktemp("footage") / "a.footage")


def _settings(encoder: Path) -> TrainSettings:
    return TrainSettings(
        steps=20,
        batch=4,
        shape_batch=8,
        speech_batch=8,
        expert_batch=8,
        crop_points=16,
        precision="fp32",
        device="cpu",
        model=replace(TINY, speech=f"mel+hf:{encoder}"),
    )


def _data(footage: Path, encoder: Path) -> TrainingSet:
    return build_training_set(read_footage(footage), {}, _settings(encoder).model)


def _count_windows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    heard, plain = list[int](), PretrainedEncoder.features

    def counted(self: PretrainedEncoder, windows: torch.Tensor) -> torch.Tensor:
        heard.append(len(windows))
        return plain(self, windows)

    monkeypatch.setattr(PretrainedEncoder, "features", counted)
    return heard


def test_the_wave_lies_where_the_spectrum_does(footage: Path, encoder_folder: Path) -> None:
    data = _data(footage, encoder_folder)
    assert data.wave is not None
    assert len(data.wave) == data.mel.shape[1] * SAMPLE_RATE // MEL_RATE
    again = log_mel(data.wave)[:, : data.mel.shape[1]]
    # Where one take ends and silence begins a window may see both.
    assert ((again - data.mel).abs().amax(0) > 1e-3).sum() <= 4 * len(read_footage(footage).takes)
    assert build_training_set(read_footage(footage), {}, TINY).wave is None


def test_versions_of_the_sound_are_heard_at_the_same_moments(
    footage: Path, encoder_folder: Path, tmp_path: Path
) -> None:
    data, encoder = _data(footage, encoder_folder), load_pretrained(str(encoder_folder))
    wave, frames = data.wave, data.mel.shape[1]
    assert wave is not None
    projection = hear_takes(data, encoder, seed=0, cache=tmp_path / "heard.safetensors")
    assert data.wave is None
    assert data.heard is not None
    assert data.quiet is not None
    assert data.heard.shape == (MEL_BANDS + COMPONENTS, HEARD_VERSIONS * frames)
    assert data.quiet.shape[0] == MEL_BANDS + COMPONENTS
    parts = data.heard.split(frames, dim=1)
    assert all(torch.equal(part[:MEL_BANDS], data.mel) for part in parts)
    own = PretrainedListener(encoder, projection).rows(wave)[:, :frames]
    assert torch.allclose(parts[0][MEL_BANDS:], own, atol=2e-2)
    loud = own.std(0) > 0
    for part in parts[1:]:
        assert not torch.allclose(part[MEL_BANDS:][:, loud], own[:, loud], atol=0.1)


def test_what_was_heard_is_kept(
    footage: Path, encoder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, cache = load_pretrained(str(encoder_folder)), tmp_path / "heard.safetensors"
    heard = _count_windows(monkeypatch)
    first = _data(footage, encoder_folder)
    one = hear_takes(first, encoder, seed=0, cache=cache)
    count = len(heard)
    again = _data(footage, encoder_folder)
    other = hear_takes(again, encoder, seed=0, cache=cache)
    assert count > 0
    assert len(heard) == count
    assert first.heard is not None
    assert again.heard is not None
    assert torch.allclose(first.heard, again.heard, atol=2e-2)
    assert torch.equal(one.components, other.components)
    assert torch.equal(one.fingerprint, other.fingerprint)
    hear_takes(_data(footage, encoder_folder), encoder, seed=1, cache=cache)
    assert len(heard) > count
    cache.write_bytes(b"torn")
    hear_takes(_data(footage, encoder_folder), encoder, seed=1, cache=cache)


@pytest.mark.parametrize("kind", ["hubert", "whisper"])
def test_an_avatar_is_trained_and_speaks(
    messages: list[str], footage: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = tiny_encoder(tmp_path / kind, kind)
    folder = tmp_path / "a.avatar"
    person = train(avatar=folder, footage=footage, settings=_settings(encoder))
    assert any("heard the takes in" in line for line in messages)
    assert not list(tmp_path.glob(".a.avatar.training"))
    trained = person.model.encoder
    assert trained.features is not None
    assert trained.pretrained is not None
    assert trained.pretrained.components.shape == (COMPONENTS, 32)
    wave = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    soundfile.write(tmp_path / "s.wav", wave, SAMPLE_RATE)
    spoke = speak(tmp_path / "s.wav", avatar=folder, output=tmp_path / "o.mp4", settings=SPOKEN)
    assert spoke.frames == 25
    # The codes hang on what the encoder heard, not on the spectrum alone.
    engine = Engine(read_avatar(folder), device="cpu", precision="fp32")
    sound = engine.mel_features(torch.from_numpy(wave), [0.5])
    spoilt = sound.clone()
    spoilt[MEL_BANDS:] = 0
    assert not torch.allclose(
        engine.encode_speech(sound, [0.5]).code, engine.encode_speech(spoilt, [0.5]).code
    )
    encoder.rename(tmp_path / "moved")
    with pytest.raises(SettingsError, match="neither a folder nor"):
        Engine(read_avatar(folder), device="cpu")
    monkeypatch.setenv("SPEECH2LIP_HF", str(tmp_path / "moved"))
    Engine(read_avatar(folder), device="cpu", precision="fp32")


def test_a_wrong_encoder_is_told_before_footage_is_read(footage: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra `hf` is not installed")
    settings = _settings(tmp_path / "nothing")
    with pytest.raises(SettingsError, match="neither a folder nor"):
        train(avatar=tmp_path / "a.avatar", footage=footage, settings=settings)
    assert not list(tmp_path.iterdir())
