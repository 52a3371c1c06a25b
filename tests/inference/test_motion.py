"""How the head moves under speech, and how lips come and go where it turns away."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from speech2lip.avatar import Avatar, read_avatar
from speech2lip.config import SpeakSettings
from speech2lip.errors import SettingsError
from speech2lip.geometry.rigid import head_angles
from speech2lip.inference.engine import Engine
from speech2lip.inference.motion import Motion, Shown, base_of, mixed
from speech2lip.inference.pose_track import PoseTrack, read_driver, read_pose_track, resampled
from speech2lip.media.video import read_coded
from tests.evaluation.made_footage import write_footage
from tests.made_face import head_pose, made_avatar


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Avatar:
    return read_avatar(made_avatar(tmp_path_factory.mktemp("avatar") / "a.avatar", frames=60))


def _shown(person: Avatar, count: int, **settings: object) -> tuple[Motion, list[Shown]]:
    motion = Motion(person, person.bases[0], SpeakSettings(device="cpu", **settings))  # type: ignore[arg-type]
    return motion, list(islice(motion.shown(), count))


def _angles(person: Avatar, shown: list[Shown]) -> np.ndarray:
    poses = person.bases[0].head.camera_from_head
    own = [poses[s.index] * (1 - s.part) + poses[min(s.index + 1, len(poses) - 1)] * s.part for s in shown]
    return head_angles(
        np.stack([p if s.offset is None else s.offset @ p for s, p in zip(shown, own, strict=True)])
    )


def test_by_default_frames_are_shown_as_they_were_filmed(person: Avatar) -> None:
    motion, shown = _shown(person, 80, start=0.4)
    assert not motion.reposes
    assert motion.warnings() == []
    assert [one.index for one in shown[:3]] == [10, 11, 12]
    coded = read_coded(person.bases[0].folder / "picture.mp4", start_frame=10, stop_frame=11)[0]
    picture, head = motion.picture([coded], shown[0]), motion.heads(shown[:1])
    assert picture is coded
    assert np.allclose(head.camera_from_head[0], person.bases[0].head.camera_from_head[10], atol=1e-6)


def test_places_between_frames_are_mixtures(person: Avatar) -> None:
    motion, shown = _shown(person, 150)
    between = next(one for one in shown if 0.4 < one.part < 0.6)
    assert between.indices == (between.index, between.index + 1)
    folder = person.bases[0].folder / "picture.mp4"
    dark, bright = (np.full_like(read_coded(folder, start_frame=0, stop_frame=1)[0], v) for v in (40, 140))
    picture, head = motion.picture([dark, bright], between), motion.heads([between])
    assert np.abs(picture - (40 + 100 * between.part)).max() <= 1
    poses = person.bases[0].head.camera_from_head
    expected = poses[between.index] + (poses[between.index + 1] - poses[between.index]) * between.part
    assert np.allclose(head.camera_from_head[0], expected, atol=1e-5)
    assert (mixed(dark, bright, 0.0) == dark).all()
    assert (mixed(dark, bright, 1.0) == bright).all()


def test_angles_are_added_to_the_footage(person: Avatar) -> None:
    _, plain = _shown(person, 40)
    motion, shown = _shown(person, 40, yaw_degrees=7.0, roll_degrees=-3.0)
    assert [one.index for one in shown] == [one.index for one in plain]
    assert np.allclose(_angles(person, shown) - _angles(person, plain), [7, 0, -3], atol=1e-6)
    coded = read_coded(person.bases[0].folder / "picture.mp4", start_frame=0, stop_frame=1)[0]
    picture, head = motion.picture([coded], shown[0]), motion.heads(shown[:1])
    assert picture.shape == coded.shape
    assert (picture != coded).mean() > 0.05
    assert np.allclose(head_angles(head.camera_from_head), _angles(person, shown[:1]), atol=1e-3)


def test_a_track_is_followed_smoothly(person: Avatar, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("time,yaw,pitch,roll\n0,0,0,0\n\n1,10,-2,0\n1.6,10,-2,4\n")
    _, plain = _shown(person, 60)
    _, shown = _shown(person, 60, poses=tmp_path / "p.csv")
    added = _angles(person, shown) - _angles(person, plain)
    assert np.allclose(added[[0, 25, 40, 59]], [[0, 0, 0], [10, -2, 0], [10, -2, 4], [10, -2, 4]], atol=1e-6)
    assert (np.diff(added[:, 0]) >= -1e-6).all()  # nothing overshoots
    assert np.abs(np.diff(added[:, 0], 2)).max() < 0.1


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "empty"),
        ("time,yaw,pitch,roll\n", "empty"),
        ("0,1,2\n", "line 1: '0,1,2'"),
        ("0,1,2,3\n1,a,2,3\n", "line 2"),
        ("0,1,2,3\n1,nan,2,3\n", "line 2"),
        ("0,1,2,3\n\n0,1,2,3\n", "line 3: time 0 does not come after 0"),
    ],
)
def test_a_bad_track_is_told_in_one_line(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(SettingsError, match=fault):
        read_pose_track(tmp_path / "p.csv")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_pose_track(tmp_path / "none.csv")


def test_one_line_of_a_track_holds_for_ever() -> None:
    assert PoseTrack(np.zeros(1), np.array([[1.0, 2, 3]])).at(99.0).tolist() == [1, 2, 3]


def test_a_still_head_moves_a_little(person: Avatar) -> None:
    _, base = _shown(person, 200)
    motion, still = _shown(person, 200, motion="still")
    moved, held = _angles(person, base).std(0), _angles(person, still).std(0)
    assert motion.reposes
    assert 0.1 * moved[0] < held[0] < 0.5 * moved[0]
    assert len({one.index for one in still}) > 20  # eyes live on
    assert np.linalg.norm(np.diff(_angles(person, still), 2, axis=0), axis=1).max() < 0.5


def test_another_head_is_followed(person: Avatar, tmp_path: Path) -> None:
    driver = made_avatar(tmp_path / "b.avatar", frames=60)
    _, shown = _shown(person, 120, motion=str(driver))
    assert _angles(person, shown)[:, 0].std() > 2
    wanted = head_angles(read_avatar(driver).bases[0].head.camera_from_head)[:, 0]
    found = _angles(person, shown)[:, 0]
    assert np.ptp(found) == pytest.approx(np.ptp(wanted), rel=0.15)
    jumps = np.linalg.norm(np.diff(_angles(person, shown), axis=0), axis=1)
    assert jumps.max() < 2 * np.abs(np.diff(wanted)).max()


def test_movement_comes_from_footage_and_avatars_only(person: Avatar, tmp_path: Path) -> None:
    footage = write_footage(tmp_path / "f.footage", ("a", "b"))
    assert read_driver(footage, fps=25.0).shape == (40, 4, 4)
    with pytest.raises(SettingsError, match="base, still, or a footage or avatar folder"):
        _shown(person, 1, motion="sideways")


def test_other_frame_rates_are_resampled() -> None:
    poses = np.stack([head_pose(turn=(0, 0.01 * i, 0), shift=(0.1 * i, 0, 5)) for i in range(31)])
    found = resampled(poses, np.arange(31) / 30, fps=25.0)
    assert len(found) == 26
    assert np.allclose(found[10], head_pose(turn=(0, 0.12, 0), shift=(1.2, 0, 5)), atol=1e-6)


def test_turning_far_beyond_the_footage_is_told(person: Avatar) -> None:
    assert _shown(person, 1, yaw_degrees=12.0)[0].warnings() == []
    told = _shown(person, 1, yaw_degrees=-25.0)[0].warnings()
    assert len(told) == 1
    assert told[0].startswith("yaw is turned")
    assert "what the footage shows" in told[0]


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
