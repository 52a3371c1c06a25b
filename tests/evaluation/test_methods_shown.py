"""Rows show what `speak` shows: coded pictures, as they were filmed where the head has turned away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from speech2lip.avatar import Avatar, read_avatar
from speech2lip.decomposition.footage import Footage, Take, read_footage
from speech2lip.evaluation import runner as judging
from speech2lip.evaluation import speech_labels as listening
from speech2lip.evaluation.accumulate import Tally
from speech2lip.evaluation.cross_driven import driven_openings
from speech2lip.evaluation.held_out import CodedFrame, Span
from speech2lip.evaluation.methods import Maker, makers, usual_light_of
from speech2lip.evaluation.metrics.closure import OpeningScale
from speech2lip.evaluation.runner import Judge
from speech2lip.head_track import HeadTrack
from speech2lip.inference.engine import Engine
from speech2lip.media.picture import rgb_from_coded
from speech2lip.media.video import read_coded
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
def rows(person: Avatar, footage: Footage, engine: Engine) -> dict[str, Maker]:
    return makers(person, footage, engine, {})


def _turned(take: Take) -> Take:
    poses = take.camera_from_head.copy()
    poses[AWAY] = head_pose(turn=(0, 1.4, 0))
    return replace(take, name="turned", camera_from_head=poses)


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
    rows: dict[str, Maker], footage: Footage, person: Avatar, engine: Engine
) -> None:
    take, mel, moments = footage.takes[0], torch.randn(80, 300), np.array([0.5, 1.0])
    frames = _frames(take)[:2]
    spoken = engine.encode_speech(mel, moments)
    head = HeadTrack.of_take(take, person.canonical, usual_light_of(person))[[0, 1]]
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
    rows: dict[str, Maker], footage: Footage, name: str
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
    rows: dict[str, Maker], footage: Footage, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "LandmarkDetector", FakeDetector)
    monkeypatch.setattr(listening, "phones_of", lambda *_, **__: None)
    take = _turned(footage.takes[0])
    tallies = {name: Tally(OpeningScale(0.0, 0.2)) for name in rows}
    judge = Judge(footage, engine.paster, rows, tallies)
    assert sum(judge.follow(Span(take, 0, 40))) == 40
    away = int((rows["ours"].shares(take) < 1).sum())
    assert away >= 8
    for tally in tallies.values():
        row = tally.row()
        assert row["frames_not_spoken_over"] == away
        assert row["frames"] == 40 - away


def test_silence_is_not_judged_by_lips_that_were_filmed(rows: dict[str, Maker], footage: Footage) -> None:
    take = _turned(footage.takes[0])
    span = Span(take, 0, 40)
    openings = driven_openings(rows["ours"], span, torch.zeros(80, 300), take.times, FakeDetector())  # type: ignore[arg-type]
    assert np.array_equal(np.isnan(openings), rows["ours"].shares(take) < 1)
