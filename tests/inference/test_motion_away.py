"""Which stretch of a base video is used, and how lips come and go where it turns away."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from speech2lip.avatar import Avatar, read_avatar
from speech2lip.config import SpeakSettings
from speech2lip.inference.engine import Engine
from speech2lip.inference.motion import Motion, Shown, base_of
from speech2lip.media.video import read_coded
from tests.made_face import head_pose, made_avatar


def _turning(folder: Path, degrees: np.ndarray) -> Avatar:
    """Write an avatar whose head turns by these angles over its base video."""
    made_avatar(folder, frames=len(degrees))
    track = load_file(folder / "base/base/track.safetensors")
    track["camera_from_head"] = np.stack([head_pose(turn=(0, np.radians(one), 0)) for one in degrees])
    save_file(track, folder / "base/base/track.safetensors")
    return read_avatar(folder)


def _swinging(*away: tuple[int, int], count: int) -> np.ndarray:
    """Return angles that are 0 but for stretches of 80 degrees."""
    degrees = np.zeros(count)
    for start, stop in away:
        degrees[start:stop] = 80
    return degrees


@pytest.fixture(scope="module")
def looks_away_once(tmp_path_factory: pytest.TempPathFactory) -> Avatar:
    return _turning(tmp_path_factory.mktemp("a") / "a.avatar", _swinging((20, 60), count=200))


@pytest.fixture(scope="module")
def looks_away_often(tmp_path_factory: pytest.TempPathFactory) -> Avatar:
    degrees = _swinging((20, 40), (70, 90), count=110)
    return _turning(tmp_path_factory.mktemp("b") / "b.avatar", degrees)


def _shown(person: Avatar, count: int, **settings: object) -> tuple[Motion, list[Shown]]:
    motion = Motion(person, person.bases[0], SpeakSettings(device="cpu", **settings))  # type: ignore[arg-type]
    return motion, list(itertools.islice(motion.shown(), count))


def test_frames_that_look_away_are_never_shown_where_there_are_enough_others(looks_away_once: Avatar) -> None:
    motion, shown = _shown(looks_away_once, 600)
    assert min(index for one in shown for index in one.indices) > 60
    assert all(one.drawn == 1 for one in shown)
    (line,) = motion.messages()
    assert "of 200 frames of the base video cannot be spoken over (head turned away)" in line
    assert line.endswith("they are skipped")


def test_a_base_video_that_can_all_be_spoken_over_is_told_nothing_of(tmp_path: Path) -> None:
    motion, shown = _shown(_turning(tmp_path / "c.avatar", np.zeros(120)), 300)
    assert motion.messages() == []
    assert all(one.drawn == 1 for one in shown)


def test_where_too_few_others_are_left_lips_fade_out_and_in(looks_away_often: Avatar) -> None:
    motion, shown = _shown(looks_away_often, 400)
    drawn = np.array([one.drawn for one in shown])
    assert {0.0, 1.0} < set(drawn)
    assert np.abs(np.diff(drawn)).max() <= 1 / 4 + 1e-9
    degrees = _swinging((20, 40), (70, 90), count=110)
    assert all(one.drawn == 0 for one in shown if degrees[one.index] > 0 and not one.part)
    assert motion.messages()[0].endswith("their own lips are shown there")


def test_what_is_shown_fades_from_drawn_to_filmed(looks_away_often: Avatar) -> None:
    engine = Engine(looks_away_often, device="cpu", precision="fp32")
    motion, _ = _shown(looks_away_often, 0)
    picture = read_coded(motion.base.folder / "picture.mp4", start_frame=0, stop_frame=1)[0]
    shown = [Shown(0, drawn=share) for share in (1.0, 0.5, 0.0)]
    moments = [0.1, 0.2, 0.3]
    spoken = engine.encode_speech(engine.mel_features(_noise()), moments)
    drawn, half, filmed = motion.speak(engine.renderer, [[picture]] * 3, shown, spoken)
    assert np.array_equal(filmed, picture)
    assert not np.array_equal(drawn, picture)
    full = motion.speak(engine.renderer, [[picture]] * 3, [Shown(0)] * 3, spoken)[1]
    middle = (picture.astype(int) + full) / 2
    assert np.abs(half - middle).max() <= 1
    filmed[:] = 0
    assert picture.any()  # what is handed out is no part of what is kept


def _noise() -> torch.Tensor:
    return torch.randn(16_000, generator=torch.Generator().manual_seed(0)) * 0.1


def test_a_head_that_is_turned_too_far_is_not_spoken_over(tmp_path: Path) -> None:
    person = _turning(tmp_path / "d.avatar", np.zeros(120))
    (tmp_path / "p.csv").write_text("0,0,0,0\n1,0,0,0\n2,85,0,0\n3,85,0,0\n4,0,0,0\n")
    motion, shown = _shown(person, 125, poses=tmp_path / "p.csv")
    drawn = np.array([one.drawn for one in shown])
    assert (drawn[:26] == 1).all()
    assert (drawn[50:75] == 0).all()
    assert drawn[-1] == 1
    assert np.abs(np.diff(drawn)).max() <= 1 / 4 + 1e-9
    line = motion.messages()[0]
    assert "cannot be spoken over (head turned away): their own lips are shown there" in line


def test_the_base_video_that_can_be_spoken_over_for_longest_is_taken(tmp_path: Path) -> None:
    person = _turning(tmp_path / "e.avatar", np.full(120, 80.0))
    other = _turning(tmp_path / "f.avatar", np.zeros(60)).bases[0]
    both = Avatar(person.folder, person.info, person.model, person.canonical, (person.bases[0], other))
    assert base_of(both, None) is other
    assert base_of(both, "base") is person.bases[0]
