"""The frame that sounds most alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from speech2lip.avatar import read_avatar
from speech2lip.composition.paste import Paster
from speech2lip.decomposition.footage import read_footage
from speech2lip.evaluation.methods import NearestLips, speech_keys
from speech2lip.synthesis.speech import log_mel
from tests.evaluation.made_footage import write_avatar, write_footage


@pytest.fixture(scope="module")
def nearest(tmp_path_factory: pytest.TempPathFactory) -> tuple[NearestLips, Path]:
    folder = tmp_path_factory.mktemp("nearest")
    footage = read_footage(write_footage(folder / "made.footage"))
    avatar = read_avatar(write_avatar(folder / "made.avatar", held_out={"c": [20, 40]}))
    return NearestLips(avatar, footage, Paster(footage.canonical)), footage.folder


def test_a_training_frame_finds_itself(nearest: tuple[NearestLips, Path]) -> None:
    lips, folder = nearest
    take = next(take for take in read_footage(folder).takes if take.name == "a")
    mel = log_mel(torch.from_numpy(take.wave()))
    found = lips.find(mel, take.times[[3, 20, 39]])
    assert [(take.name, index) for take, index in found] == [("a", 3), ("a", 20), ("a", 39)]
    patches = lips.patches(mel, take.times[[3, 20]])
    assert patches.shape[:2] == (2, 3)
    assert 0 < float(patches.mean()) < 1


def test_what_is_held_out_or_left_out_is_never_shown(nearest: tuple[NearestLips, Path]) -> None:
    lips, folder = nearest
    assert len(lips) == 40 + 39 + 10  # take c: 20 held out, 10 more beside them
    for name, index in (("c", 30), ("b", 7)):
        take = next(take for take in read_footage(folder).takes if take.name == name)
        mel = log_mel(torch.from_numpy(take.wave()))
        (found,) = lips.find(mel, take.times[[index]])
        assert (found[0].name, found[1]) != (name, index)


def test_keys_tell_sounds_apart() -> None:
    random = np.random.default_rng(0)
    mel = log_mel(torch.from_numpy(random.normal(0, 0.1, 16_000).astype(np.float32)))
    keys = speech_keys(mel, np.array([0.3, 0.3, 0.7]))
    assert keys.shape == (3, 112)
    assert torch.allclose(keys[0], keys[1], atol=1e-5)
    assert (keys[0] - keys[2]).abs().max() > 0.01
