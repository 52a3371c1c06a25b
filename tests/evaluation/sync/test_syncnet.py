"""SyncNet: shapes, names, refusals, scoring; without its public weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from speech2lip.errors import SettingsError
from speech2lip.evaluation.sync.syncnet import SyncNet, load_syncnet, mfcc, score_embeddings, syncnet_score


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def test_encoders_give_1024_numbers() -> None:
    expert = SyncNet().eval()
    with torch.inference_mode():
        assert expert.encode_sound(torch.zeros(2, 1, 13, 20)).shape == (2, 1024)
        assert expert.encode_face(torch.zeros(1, 3, 5, 224, 224)).shape == (1, 1024)


def test_tensors_have_the_public_names() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in SyncNet().state_dict().items()}
    assert shapes["netcnnaud.18.weight"] == (512, 256, 5, 4)
    assert shapes["netcnnaud.5.running_mean"] == (192,)
    assert shapes["netcnnlip.0.weight"] == (96, 3, 5, 7, 7)
    assert shapes["netcnnlip.18.weight"] == (512, 256, 1, 6, 6)
    assert shapes["netfclip.3.bias"] == (1024,)


def test_weights_come_from_safetensors_alone(tmp_path: Path) -> None:
    written = SyncNet()
    save_file(written.state_dict(), tmp_path / "expert.safetensors")
    read = load_syncnet(tmp_path / "expert.safetensors")
    assert not read.training
    assert torch.equal(read.state_dict()["netfclip.3.weight"], written.state_dict()["netfclip.3.weight"])
    with pytest.raises(SettingsError, match="no SyncNet weights"):
        load_syncnet(tmp_path / "missing.safetensors")
    (tmp_path / "pickle.model").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(SettingsError, match="safetensors"):
        load_syncnet(tmp_path / "pickle.model")
    save_file({"other": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(SettingsError, match="syncnet_v2"):
        load_syncnet(tmp_path / "other.safetensors")


@pytest.mark.parametrize("late", [-6, 0, 4])
def test_late_sound_is_positive(late: int, random: np.random.Generator) -> None:
    codes = random.normal(size=(120, 16))
    score = score_embeddings(codes[20:100], codes[20 - late : 100 - late])
    assert score.offset_frames == late
    assert score.confidence > 3
    assert score.distance < 1.5


def test_swapped_sound_has_low_confidence(random: np.random.Generator) -> None:
    score = score_embeddings(random.normal(size=(80, 16)), random.normal(size=(80, 16)))
    assert score.confidence < 1


def test_score_of_a_clip_runs(random: np.random.Generator) -> None:
    torch.manual_seed(0)
    faces = random.integers(0, 256, (8, 224, 224, 3)).astype(np.uint8)
    score = syncnet_score(SyncNet().eval(), faces, random.normal(0, 0.1, 6400).astype(np.float32), batch=2)
    assert -15 <= score.offset_frames <= 15
    assert np.isfinite([score.distance, score.confidence]).all()


def test_mfcc_of_a_tone() -> None:
    t = np.arange(16000) / 16000
    cepstra = mfcc((0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32))
    assert cepstra.shape == (13, 99)
    assert np.allclose(cepstra[:, 20], cepstra[:, 60], atol=0.5)
    louder = mfcc((np.sin(2 * np.pi * 440 * t)).astype(np.float32))
    assert louder[0, 50] - cepstra[0, 50] == pytest.approx(np.log(4), abs=1e-3)
    assert np.allclose(louder[1:, 50], cepstra[1:, 50], atol=1e-3)  # loudness is in the first number alone
