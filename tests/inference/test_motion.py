from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from speech2lip.avatar import Avatar, read_avatar
from speech2lip.config import SpeakSettings
from speech2lip.errors import SettingsError
from speech2lip.geometry.rigid import head_angles
from speech2lip.inference.motion import Motion, Shown, mixed
from speech2lip.inference.pose_track import PoseTrack, read_driver, read_pose_track, resampled
from speech2lip.media.video import read_coded
from tests.evaluation.made_footage import write_footage
from tests.made_face import head_pose, made_avatar

CPU = torch.device("cpu")


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
