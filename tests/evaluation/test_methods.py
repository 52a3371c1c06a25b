"""Methods show what `speak` shows: coded pictures, as they were filmed where the head has turned away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from speech2lip.avatar import Avatar, read_avatar
from speech2lip.decomposition.footage import Footage, Take, read_footage
from speech2lip.errors import SettingsError
from speech2lip.evaluation import runner, speech_labels
from speech2lip.evaluation.accumulate import Accumulator
from speech2lip.evaluation.cross_driven import driven_openings
from speech2lip.evaluation.held_out import CodedFrame, Span
from speech2lip.evaluation.methods import (
    AvatarLips,
    Method,
    NearestSound,
    all_methods,
    mel_features,
    speech_keys,
)
from speech2lip.evaluation.metrics.mouth import OpeningScale
from speech2lip.evaluation.runner import Runner
from speech2lip.head_track import HeadTrack
from speech2lip.inference.engine import Engine
from speech2lip.media.picture import rgb_from_coded
from speech2lip.media.video import read_coded
from speech2lip.synthesis.speech import log_mel
from tests.evaluation.made_footage import FakeDetector, write_avatar, write_footage
from tests.made_face import head_pose
from tests.reference.inference.renderer import PlainRenderer

AWAY = slice(16, 24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shown")


@pytest.fixture(scope="module")
def footage(folder: Path) -> Footage:
    return read_footage(write_footage(folder / "a.footage", ("a", "b")))


@pytest.fixture(scope="module")
def person(folder: Path) -> Avatar:
    person = read_avatar(write_avatar(folder / "a.avatar", held_out={"a": [0, 40]}))
    last = person.model.grid_field.colour[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.normal_(last.weight, std=0.5)
    return person


@pytest.fixture(scope="module")
def engine(person: Avatar) -> Engine:
    return Engine(person, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def rows(person: Avatar, footage: Footage, engine: Engine) -> dict[str, Method]:
    return all_methods(engine, footage)


def _turned(take: Take) -> Take:
    poses = take.camera_from_head.copy()
    poses[AWAY] = head_pose(turn=(0, 1.4, 0))
    folder = take.folder.with_name("turned")
    if not folder.exists():
        folder.symlink_to(take.folder)
    return replace(take, folder=folder, camera_from_head=poses)


def _frames(take: Take) -> list[CodedFrame]:
    return [frame for batch in Span(take, 0, 40).batches() for frame in batch]


def test_frames_are_those_of_the_video(footage: Footage) -> None:
    take = footage.takes[0]
    truth = list(take.frames(3, 14))
    found = [frame for batch in Span(take, 3, 14).batches() for frame in batch]
    assert [frame.index for frame in found] == [frame.index for frame in truth]
    assert [frame.time for frame in found] == pytest.approx([frame.time for frame in truth])
    coded = read_coded(take.picture_path, start_frame=3, stop_frame=14)
    for one, picture in zip(found, coded, strict=True):
        assert np.array_equal(one.coded, picture)
        assert np.array_equal(one.rgb, rgb_from_coded(picture))


def test_our_row_shows_what_speak_shows(
    rows: dict[str, Method], footage: Footage, person: Avatar, engine: Engine
) -> None:
    take, mel, moments = footage.takes[0], torch.randn(80, 300), np.array([0.5, 1.0])
    frames = _frames(take)[:2]
    spoken = engine.encode_speech(mel, moments)
    skin_colour = np.array(person.info.median_skin_colour, np.float32)
    head = HeadTrack.of_take(take, person.canonical, skin_colour)[[0, 1]]
    coded = engine.renderer.speak([frame.coded for frame in frames], head, spoken)
    made = rows["ours"].make(take, frames, mel, moments)
    for picture, one, frame in zip(made, coded, frames, strict=True):
        assert np.array_equal(picture, rgb_from_coded(one))
        assert not np.array_equal(picture, frame.rgb)
    plain = PlainRenderer(engine).speak([frame.rgb for frame in frames], head, spoken)
    apart = np.abs(np.stack(plain).astype(int) - np.stack(made))
    assert apart.max() > 0  # what is shown has been coded
    assert apart.mean() < 1


@pytest.mark.parametrize("name", ["static_lips", "nearest", "ours"])
def test_frames_that_look_away_are_shown_as_filmed(
    rows: dict[str, Method], footage: Footage, name: str
) -> None:
    take = _turned(footage.takes[0])
    frames = _frames(take)
    made = rows[name].make(take, frames, torch.randn(80, 300), take.times)
    same = {i for i, frame in enumerate(frames) if np.array_equal(made[i], frame.rgb)}
    shares = rows[name].shares(take)
    assert same == set(np.flatnonzero(shares == 0))
    assert set(range(*AWAY.indices(40))) <= same
    assert set(np.flatnonzero(shares < 1)) - same


def test_they_are_counted_and_not_judged(
    rows: dict[str, Method], footage: Footage, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LandmarkDetector", FakeDetector)
    monkeypatch.setattr(speech_labels, "phones_of", lambda *_, **__: None)
    take = _turned(footage.takes[0])
    gathered = {name: Accumulator(OpeningScale(0.0, 0.2)) for name in rows}
    run = Runner(footage, engine.paster, rows, gathered)
    assert len(list(run.follow(Span(take, 0, 40)))) == 40
    away = int((rows["ours"].shares(take) < 1).sum())
    assert away >= 8
    for one in gathered.values():
        row = one.row()
        assert row["frames_not_spoken_over"] == away
        assert row["frames"] == 40 - away


def test_silence_is_not_judged_by_lips_that_were_filmed(
    rows: dict[str, Method], footage: Footage, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = _turned(footage.takes[0])
    span = Span(take, 0, 40)
    monkeypatch.setattr(runner, "LandmarkDetector", FakeDetector)
    ours = {"ours": rows["ours"]}
    openings = driven_openings(ours, span, torch.zeros(80, 300), take.times, footage)["ours"]
    assert np.array_equal(np.isnan(openings), rows["ours"].shares(take) < 1)


WAVE = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)


def _avatar(listener: object) -> AvatarLips:
    def more(wave: torch.Tensor) -> torch.Tensor:
        return torch.cat([log_mel(wave), torch.ones(64, len(wave) // 160 + 1)])

    return AvatarLips(cast(Any, SimpleNamespace(listener=listener, mel_features=more)))


def test_rows_hear_the_spectrum_and_what_the_avatar_hears() -> None:
    assert torch.equal(mel_features([Method(), _avatar(None)], WAVE), log_mel(torch.from_numpy(WAVE)))
    assert mel_features([Method(), _avatar(None), _avatar("encoder")], WAVE).shape[0] == 80 + 64


def test_two_avatars_with_pretrained_encoders_are_refused() -> None:
    with pytest.raises(SettingsError, match="cannot be judged at once"):
        mel_features([_avatar("one"), _avatar("other")], WAVE)


@pytest.fixture(scope="module")
def nearest(tmp_path_factory: pytest.TempPathFactory) -> tuple[NearestSound, Path]:
    folder = tmp_path_factory.mktemp("nearest")
    footage = read_footage(write_footage(folder / "made.footage"))
    avatar = read_avatar(write_avatar(folder / "made.avatar", held_out={"c": [20, 40]}))
    return NearestSound(Engine(avatar, device="cpu", precision="fp32"), footage), footage.folder


def test_a_training_frame_finds_itself(nearest: tuple[NearestSound, Path]) -> None:
    lips, folder = nearest
    take = next(take for take in read_footage(folder).takes if take.name == "a")
    mel = log_mel(torch.from_numpy(take.wave()))
    found = lips.find(mel, take.times[[3, 20, 39]])
    assert [(take.name, index) for take, index in found] == [("a", 3), ("a", 20), ("a", 39)]
    patch = lips.lips(take, 20)
    assert patch.shape[0] == 3
    assert 0 < float(patch.mean()) < 1


def test_what_is_held_out_or_left_out_is_never_shown(nearest: tuple[NearestSound, Path]) -> None:
    lips, folder = nearest
    assert len(lips.frames) == 40 + 39 + 10  # take c: 20 held out, 10 more beside them
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
