"""Live and offline speech hear with a pretrained encoder what the whole sound would hear."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from speech2lip.config import SpeakSettings
from speech2lip.conventions import SAMPLE_RATE
from speech2lip.inference.audio_buffer import HeardWindows
from speech2lip.inference.speak import audio_chunks
from speech2lip.inference.speaker import Speaker
from speech2lip.inference.stream import stream
from speech2lip.media.sound import SoundReader
from speech2lip.synthesis.pretrained import PretrainedEncoder, Projection, load_pretrained, step_windows
from tests.made_face import TINY, made_avatar
from tests.synthesis.tiny_encoders import tiny_encoder

FPS = Fraction(30_000, 1001)


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Speaker]:
    folder = tmp_path_factory.mktemp("avatar")
    encoder = load_pretrained(str(tiny_encoder(folder / "hubert", "hubert")))
    projection = Projection()
    wave = torch.from_numpy(_speech(6, seed=5))
    projection.learn(encoder.features(step_windows(wave).contiguous()).flatten(0, 1), encoder)
    settings = dataclasses.replace(TINY, speech=f"mel+hf:{folder / 'hubert'}")
    avatar = made_avatar(folder / "a.avatar", settings=settings, fps=FPS)
    weights = load_file(avatar / "weights.safetensors")
    weights |= {f"encoder.pretrained.{name}": value for name, value in projection.state_dict().items()}
    save_file(weights, avatar / "weights.safetensors")
    with Speaker(avatar, settings=SpeakSettings(device="cpu", precision="fp32")) as speaker:
        yield speaker


def _speech(seconds: float, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (random.normal(0, 0.1, len(time)) * (1 + np.sin(time * 9))).astype(np.float32)


def _whole_codes(speaker: Speaker, wave: np.ndarray, frames: int) -> torch.Tensor:
    engine = speaker.engine
    # What speaking hears before the sound and after it is silence.
    before = 2 * SAMPLE_RATE // 1280 * 1280
    filled = torch.from_numpy(np.pad(wave, (before, SAMPLE_RATE)))
    times = [before / SAMPLE_RATE + float(i / FPS) for i in range(frames)]
    return engine.encode_speech(engine.mel_features(filled), times).code


def test_offline_speech_hears_what_the_whole_sound_would(speaker: Speaker, tmp_path: Path) -> None:
    wave, engine = _speech(3.3), speaker.engine
    soundfile.write(tmp_path / "s.wav", wave, SAMPLE_RATE, subtype="FLOAT")
    codes = []
    windows = HeardWindows.of(engine.model.settings, FPS)
    for stretch in audio_chunks(SoundReader(tmp_path / "s.wav"), windows, batch=7):
        heard = engine.mel_features(torch.from_numpy(stretch.wave), stretch.moments)
        codes.append(engine.encode_speech(heard, stretch.moments).code)
    found = torch.cat(codes)
    expected = _whole_codes(speaker, wave, len(found))
    assert len(found) == 99
    assert float(expected.std(0).mean()) > 0.01
    assert torch.allclose(found, expected, atol=1e-4)


def test_live_speech_hears_what_the_whole_sound_would(
    speaker: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    wave, engine = _speech(2.1, seed=2), speaker.engine
    codes: list[torch.Tensor] = []
    plain = engine.renderer.speak

    def watch(pictures, places, spoken, **more):  # type: ignore[no-untyped-def]
        codes.append(spoken.code)
        return plain(pictures, places, spoken, **more)

    monkeypatch.setattr(engine.renderer, "speak", watch)
    heard, features = list[int](), PretrainedEncoder.features

    def counted(self: PretrainedEncoder, windows: torch.Tensor) -> torch.Tensor:
        heard.append(len(windows))
        return features(self, windows)

    monkeypatch.setattr(PretrainedEncoder, "features", counted)
    random = np.random.default_rng(3)
    with stream(speaker) as speech:
        rest = wave
        while len(rest):
            size = int(random.integers(1, 3000))
            speech.push(rest[:size])
            rest = rest[size:]
            while speech.pull():
                pass
        early = speech.frames
        speech.finish()
        while speech.pull():
            pass
    found = torch.cat(codes)
    assert len(found) == 63
    assert 50 < early < 63
    # A step of 0.08 s is heard once, however many frames hear it.
    assert sum(heard) <= 2.1 / 0.08 + 12
    assert torch.allclose(found, _whole_codes(speaker, wave, len(found)), atol=1e-4)
