"""Scores of phones, once learned, are the same live, offline and in an export."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import speech2lip
from speech2lip.avatar import read_avatar
from speech2lip.config import SpeakSettings
from speech2lip.conventions import SAMPLE_RATE
from speech2lip.inference.engine import Engine
from speech2lip.inference.speaker import Speaker
from speech2lip.inference.stream import stream
from speech2lip.model import SpeechFeatures
from speech2lip.synthesis.speech import log_mel, mel_windows
from tests.made_face import TINY, made_avatar
from tests.synthesis.made_recogniser import made_recogniser

PLAIN = SpeakSettings(device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def avatar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = dataclasses.replace(TINY, speech="mel+phonetic")
    folder = made_avatar(tmp_path_factory.mktemp("avatar") / "a.avatar", settings=settings, frames=6)
    model = read_avatar(folder).model
    scores = model.encoder.scores
    assert scores is not None
    scores.learn(made_recogniser(), _windows(_speech(3.0, seed=5), np.arange(0.5, 2.5, 0.1), folder))
    assert model.encoder.phones is not None
    # As much as training would make of it.
    torch.nn.init.normal_(model.encoder.phones.weight, std=0.3)
    save_file(model.state_dict(), folder / "weights.safetensors")
    return folder


def _speech(seconds: float, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (random.normal(0, 0.1, len(time)) * (1 + np.sin(time * 9))).astype(np.float32)


def _windows(wave: np.ndarray, times: np.ndarray, folder: Path) -> torch.Tensor:
    offsets = Engine(read_avatar(folder), device="cpu", precision="fp32").offsets
    return mel_windows(log_mel(torch.from_numpy(wave)), torch.from_numpy(times), offsets)


def test_phones_are_heard_live_as_in_the_whole_sound(avatar: Path) -> None:
    wave = _speech(1.2)
    with Speaker(avatar, settings=PLAIN) as speaker:
        codes: list[torch.Tensor] = []
        engine = speaker.engine
        speak_coded = engine.speak_coded

        def watch(pictures, places, spoken: SpeechFeatures, **more):  # type: ignore[no-untyped-def]
            codes.append(spoken.code)
            return speak_coded(pictures, places, spoken, **more)

        engine.speak_coded = watch  # type: ignore[method-assign]
        with stream(speaker) as speech:
            for block in np.array_split(wave, 17):
                speech.push(block)
                while speech.pull() is not None:
                    pass
            speech.finish()
            while speech.pull() is not None:
                pass
        filled = torch.from_numpy(np.pad(wave, SAMPLE_RATE))
        times = [1 + i / 25 for i in range(len(codes))]
        whole = engine.encode_speech(engine.mel_features(filled), times).code
    found = torch.cat(codes)
    assert len(found) == 30
    assert (found - whole).abs().max() < 1e-3 < 0.05 * whole.std()


def test_scores_are_exported(avatar: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: pip install 'speech2lip[onnx]'")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    folder = speech2lip.export(avatar, onnx=tmp_path / "a.onnx")
    session = runtime.InferenceSession(folder / "listen.onnx", providers=["CPUExecutionProvider"])
    windows = _windows(_speech(2.0, seed=3), np.array([0.5, 0.9, 1.3]), avatar)
    code, _ = session.run(None, {"windows": windows.numpy()})
    person = read_avatar(avatar)
    truth = Engine(person, device="cpu", precision="fp32").model.encode_speech(windows).code.detach()
    assert np.abs(code - truth.numpy()).max() < 1e-3
    scores = person.model.encoder.scores
    assert scores is not None
    scores.weights.zero_()
    without = person.model.eval().encode_speech(windows).code.detach()
    assert (truth - without).abs().max() > 0.01
