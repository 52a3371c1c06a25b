"""Avatars and footage that older versions wrote load, speak and can be trained on, from now on."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speech2lip.avatar import read_avatar
from speech2lip.config import ModelSettings, SpeakSettings, TrainSettings
from speech2lip.decomposition.footage import read_footage
from speech2lip.inference.speak import speak
from speech2lip.training.train import train

DATA = Path(__file__).parent / "data"
VERSIONS = sorted(path.name for path in DATA.glob("version_*"))
SMALL = ModelSettings(
    code_size=8,
    encoder_width=8,
    shape_size=4,
    field_width=4,
    field_cells=(6, 8),
    point_width=16,
    blend_width=2,
)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_avatar_loads(version: str) -> None:
    avatar = read_avatar(DATA / version / "presenter.avatar")
    assert [base.name for base in avatar.bases] == ["a", "b"]
    assert [len(base.times) for base in avatar.bases] == [28, 22]
    assert (avatar.bases[0].width, avatar.bases[0].height, avatar.bases[0].fps) == (160, 160, Fraction(25))
    assert avatar.bases[0].head.k[0, 0] == pytest.approx(2.1135 * 160)
    assert avatar.canonical.patch.size == (16, 16)
    assert avatar.model.settings == SMALL


@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_avatar_speaks(version: str, tmp_path: Path) -> None:
    sound = tmp_path / "words.wav"
    soundfile.write(sound, np.random.default_rng(0).normal(0, 0.1, 3200).astype(np.float32), 16_000)
    spoken = speak(
        sound,
        avatar=DATA / version / "presenter.avatar",
        output=tmp_path / "spoken.mp4",
        settings=SpeakSettings(device="cpu", precision="fp32"),
    )
    assert spoken.frames == 5
    assert (tmp_path / "spoken.mp4").is_file()


@pytest.mark.parametrize("version", VERSIONS)
def test_old_footage_loads(version: str) -> None:
    footage = read_footage(DATA / version / "presenter.footage")
    assert [take.name for take in footage.takes] == ["a", "b"]
    assert [len(take.times) for take in footage.takes] == [28, 22]
    assert [take.focal for take in footage.takes] == pytest.approx([2.1135, 2.1135])
    assert all(take.kept.all() for take in footage.takes)
    assert all(np.isfinite(take.lip_opening).all() for take in footage.takes)
    assert (footage.canonical.take, footage.canonical.frame_index) == ("a", 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_old_footage_is_trained_on(version: str, tmp_path: Path) -> None:
    settings = TrainSettings(
        steps=8,
        batch=2,
        shape_batch=4,
        crop_points=8,
        speech_batch=4,
        expert_batch=4,
        sync_clips=1,
        device="cpu",
        precision="fp32",
        model=SMALL,
    )
    avatar = train(
        footage=DATA / version / "presenter.footage",
        avatar=tmp_path / "new.avatar",
        settings=settings,
    )
    assert sorted(base.name for base in avatar.bases) == ["a", "b"]
