"""The encoder weights can be made again: phones stand where they are spoken, and telling them is learned."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tools.pretrain_encoder import PHONES, Arguments, Corpus, pretrain_encoder
from tools.synthetic_speech import FLITE_PITCH, Clip, Texts, speak_clips


def tones(seed: int) -> Clip:
    """Return 3 s in which a deep tone is called aa and a high one iy, half a second each."""
    names = np.random.default_rng(seed).permutation(["aa", "iy", "pau"] * 2)
    times = np.arange(8000) / 16000
    pitch = {"aa": 400.0, "iy": 2500.0, "pau": 0.0}
    wave = np.concatenate([0.3 * np.sin(2 * np.pi * pitch[name] * times) for name in names])
    phones = [(str(name), 0.5 * i, 0.5 * (i + 1)) for i, name in enumerate(names)]
    return wave.astype(np.float32), phones


def test_phones_stand_where_they_are_spoken() -> None:
    clips = [tones(0), tones(1)]
    corpus = Corpus.of(clips, room=45)
    for clip, first in zip(clips, (0, 301 + 80), strict=True):
        moments = torch.tensor([[first + 25.0, first + 125.0, first + 275.0]])
        told = corpus.spoken_at(moments, torch.ones(1))[0, :, 2]
        assert [PHONES[i] for i in told] == [clip[1][i][0] for i in (0, 2, 5)]
    edge = corpus.spoken_at(torch.tensor([[47.0]]), torch.ones(1))[0, 0]
    assert [PHONES[i] for i in edge] == [clips[0][1][i][0] for i in (0, 0, 0, 1, 1)]


def test_learns_to_tell_phones() -> None:
    clips = [tones(seed) for seed in range(100)]
    few = Arguments(steps=2, stretches=16, varied=0.0, bf16=False)
    many = Arguments(steps=60, stretches=16, varied=0.0, bf16=False)
    assert pretrain_encoder(clips, many).right() > max(0.8, pretrain_encoder(clips, few).right() + 0.2)


def test_makes_up_phrases_of_words(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("Use granted, use! xqzt", encoding="utf-8")
    texts = Texts([text], seed=0)
    assert texts.frequent == ["use", "granted"]
    assert texts.phrase() != texts.phrase()
    assert Texts([text], seed=0).phrase() == Texts([text], seed=0).phrase()
    assert 4 <= len(texts.phrase().split()) <= 9


@pytest.mark.skipif(shutil.which("flite") is None, reason="needs the Debian package flite")
def test_voices_speak_phrases() -> None:
    clips = speak_clips(Texts([], seed=0), flite=4, ked=0)
    assert len(clips) <= len(FLITE_PITCH)
    for wave, phones in clips:
        assert {name for name, _, _ in phones} <= set(PHONES)
        assert phones[-1][2] == pytest.approx(len(wave) / 16_000, abs=0.2)
