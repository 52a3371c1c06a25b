"""The paper's networks speak as ours do."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speech2lip.avatar import read_avatar
from speech2lip.config import SpeakSettings
from speech2lip.inference.engine import Engine
from speech2lip.inference.speak import speak
from speech2lip.media.video import read_coded
from speech2lip.synthesis.speech import log_mel
from tests.made_face import TINY, made_avatar


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = dataclasses.replace(TINY, field="paper", blend="paper")
    return made_avatar(tmp_path_factory.mktemp("avatar") / "paper.avatar", settings=settings)


def test_the_papers_avatar_speaks(messages: list[str], paper: Path, tmp_path: Path) -> None:
    sound = tmp_path / "s.wav"
    soundfile.write(sound, np.random.default_rng(0).normal(0, 0.1, 2000), 16_000)
    spoke = speak(
        sound,
        avatar=paper,
        output=tmp_path / "o.mp4",
        settings=SpeakSettings(device="cpu", precision="fp32"),
    )
    assert spoke.frames == 4
    assert any("compiled kernels" in line for line in messages)


def test_its_lips_follow_speech_and_nothing_else_changes(paper: Path) -> None:
    person = read_avatar(paper)
    engine = Engine(person, device="cpu", precision="fp32")
    (frame,) = read_coded(person.bases[0].picture_path, start_frame=0, stop_frame=1)
    head = person.bases[0].head[[0, 0]]
    wave = torch.cat([torch.zeros(16_000), torch.randn(16_000, generator=torch.Generator().manual_seed(0))])
    spoken = engine.encode_speech(log_mel(wave), [0.5, 1.5])
    patches = engine.renderer.draw(spoken, head)
    assert patches.shape[-1] == 120
    assert not torch.allclose(patches[0], patches[1])
    silent, loud = engine.renderer.speak([frame, frame], head, spoken)
    assert not np.array_equal(silent, loud)
    height = frame.shape[0] * 2 // 3
    x0, y0, x1, y1 = engine.paster.regions(head, (height, frame.shape[1]))[0]
    outside = np.ones((height, frame.shape[1]), bool)
    outside[y0:y1, x0:x1] = False
    assert np.array_equal(silent[:height][outside], frame[:height][outside])
    assert outside.any()
