"""Footage in, an avatar out: what a user sees of it, whatever happens in between."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from speech2lip.atomic import locked
from speech2lip.config import TrainSettings
from speech2lip.decomposition.footage import Footage, read_footage
from speech2lip.errors import FootageError, OutputError
from speech2lip.formats import SoundOffset
from speech2lip.training import dataset
from speech2lip.training import train as training
from speech2lip.training.checkpoint import footage_fingerprint, state_folder, state_path
from speech2lip.training.loop import TrainingRun
from speech2lip.training.sync import SyncExpert
from speech2lip.training.train import _write_bases, footage_beside, train
from tests.evaluation.made_footage import write_footage
from tests.made_face import TINY, head_pose
from tests.messages import heard

SETTINGS = TrainSettings(
    steps=5,
    batch=2,
    shape_batch=4,
    speech_batch=4,
    expert_batch=8,
    crop_points=8,
    precision="fp32",
    device="cpu",
    encoder_init="nothing",
    save_seconds=0.0,
    model=TINY,
)


class Killed(Exception):
    """Training ends as if by a signal."""


@pytest.fixture(scope="module")
def whole_footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_footage(tmp_path_factory.mktemp("footage") / "a.footage", ("a",))


@pytest.fixture
def footage(whole_footage: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole_footage, tmp_path / "a.footage"))


def _train(footage: Path, settings: TrainSettings = SETTINGS) -> list[str]:
    with heard() as said:
        train(avatar=footage.with_name("ana.avatar"), footage=footage, settings=settings)
    return said


def _stop_at(monkeypatch: pytest.MonkeyPatch, phase: int, step: int = 1) -> None:
    """Let training be killed when it has saved after a step."""
    save = TrainingRun._save

    def saving(run: TrainingRun, *given: Any, **named: Any) -> None:
        save(run, *given, **named)
        if (run.state.phase, run.state.step) >= (phase, step):
            raise Killed

    monkeypatch.setattr(TrainingRun, "_save", saving)


def _stopped(footage: Path, settings: TrainSettings = SETTINGS, *, phase: int = 2) -> list[str]:
    """Train until a phase has begun, that of the lips; return what was said."""
    with pytest.MonkeyPatch.context() as patched, heard() as said:
        _stop_at(patched, phase)
        with pytest.raises(Killed):
            train(avatar=footage.with_name("ana.avatar"), footage=footage, settings=settings)
    return said


def _kept(footage: Path) -> set[str]:
    part = footage.with_name(".ana.avatar.training")
    return {path.name for path in part.glob("state.*")} if part.exists() else set()


def test_a_finished_avatar_leaves_nothing_else(footage: Path) -> None:
    said = _train(footage)
    assert {path.name for path in footage.parent.iterdir()} == {"a.footage", "ana.avatar"}
    assert any("frames" in line and "held out" in line for line in said)
    about = json.loads((footage.with_name("ana.avatar") / "avatar.json").read_text())
    assert about["bases"] == ["a"]
    assert about["precision"] == "fp32"


def test_footage_that_was_copied_is_gone_on_with(footage: Path) -> None:
    _stopped(footage)
    moved = Path(shutil.copytree(footage, footage.with_name("copy.footage"), copy_function=shutil.copyfile))
    shutil.rmtree(footage)
    said = _train(moved)
    assert any(line.startswith("going on after") for line in said)


def _other_poses(footage: Path) -> None:
    path = footage / "takes" / "a" / "poses.safetensors"
    poses = load_file(path)
    poses["camera_from_head"][:, 0, 3] += 0.01
    save_file(poses, path)


def _other_times(footage: Path) -> None:
    path = footage / "takes" / "a" / "track.safetensors"
    track = load_file(path)
    track["times"] = track["times"] + 1e-3 * np.arange(len(track["times"]))
    save_file(track, path)


def _other_depth(footage: Path) -> None:
    path = footage / "canonical.safetensors"
    canonical = load_file(path)
    canonical["depth"] = canonical["depth"] * np.float32(1.001)
    save_file(canonical, path)


def _other_sound(footage: Path) -> None:
    path = footage / "takes" / "a" / "sound.flac"
    path.write_bytes(path.read_bytes() + b"\0")


def _other_picture(footage: Path) -> None:
    """Of the same size."""
    path = footage / "takes" / "a" / "picture.mp4"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def _sound_corrected(footage: Path) -> None:
    path = footage / "footage.json"
    offset = asdict(SoundOffset(40.0, 1.0, 0.5, "take", True))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sound_offsets": {"a": offset}}))


@pytest.mark.parametrize(
    "change", [_other_poses, _other_times, _other_depth, _other_sound, _other_picture, _sound_corrected]
)
def test_training_does_not_go_on_with_other_footage(footage: Path, change: Callable[[Path], None]) -> None:
    before = footage_fingerprint(read_footage(footage))
    assert footage_fingerprint(read_footage(footage)) == before
    change(footage)
    assert footage_fingerprint(read_footage(footage)) != before


def test_a_missing_picture_is_one_line(footage: Path) -> None:
    (footage / "takes" / "a" / "picture.mp4").unlink()
    with pytest.raises(FootageError, match=r"picture\.mp4"):
        _train(footage)


def test_other_footage_sets_the_old_training_aside(footage: Path) -> None:
    _stopped(footage)
    _other_poses(footage)
    said = _stopped(footage)
    assert [line for line in said if "the footage changed" in line and "set aside" in line]
    assert not any(line.startswith("going on") for line in said)
    assert len(_kept(footage)) == 2


def test_another_setting_is_told_and_loses_nothing(footage: Path) -> None:
    _stopped(footage)
    said = _stopped(footage, replace(SETTINGS, batch=4))
    assert [line for line in said if "--batch was 2, is 4" in line and "training begins anew" in line]
    said = _train(footage)
    assert any(line.startswith("going on after") for line in said)
    # What was begun with the other setting is kept, and the user is told where.
    part = footage.with_name(".ana.avatar.training")
    assert [line for line in said if f"training with other settings is kept in {part}" in line]
    assert len(_kept(footage)) == 1


def test_more_time_goes_on_as_it_was_begun(footage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below ten minutes half as many voices change; more time later is the same training all the same."""
    changes: list[float | None] = []
    run = TrainingRun.run

    def running(one: TrainingRun) -> object:
        changes.append(one.settings.voice_changes)
        return run(one)

    monkeypatch.setattr(TrainingRun, "run", running)
    timed = replace(SETTINGS, steps=None)
    _stopped(footage, replace(timed, minutes=9.0), phase=0)
    said = _stopped(footage, replace(timed, minutes=15.0), phase=0)
    assert any(line.startswith("going on after") for line in said)
    assert not any("set aside" in line for line in said)
    assert changes == [0.35, 0.35]
    said = _stopped(footage, replace(timed, minutes=15.0, voice_changes=0.7), phase=0)
    assert any("--voice-changes" in line for line in said)


def test_networks_of_another_version_begin_anew(footage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade that changes shapes at equal settings is no traceback."""
    _stopped(footage)
    plain = SyncExpert
    monkeypatch.setattr(training, "SyncExpert", lambda: plain(width=8))
    said = _stopped(footage)
    assert [line for line in said if "what is learned changed" in line and "set aside" in line]


def test_other_frames_of_the_same_footage_begin_anew(footage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that chooses its frames otherwise does not go on with what was learned of others."""
    _stopped(footage)
    monkeypatch.setattr(dataset, "MAX_FRAMES", 25)
    said = _stopped(footage)
    assert [line for line in said if "the frames trained on changed" in line and "set aside" in line]


def test_a_damaged_state_begins_anew(footage: Path) -> None:
    _stopped(footage)
    state = footage.with_name(".ana.avatar.training") / "state.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    said = _train(footage)
    assert any("is damaged" in line and "training begins anew" in line for line in said)
    assert _kept(footage) == set()
    assert footage.with_name("ana.avatar").is_dir()


def test_footage_that_changes_under_training_makes_no_avatar(
    footage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = TrainingRun.run

    def running(one: TrainingRun) -> object:
        state = run(one)
        _other_poses(footage)
        return state

    monkeypatch.setattr(TrainingRun, "run", running)
    with pytest.raises(FootageError, match="has changed while it was trained on, so no avatar is written"):
        _train(footage)
    assert not footage.with_name("ana.avatar").exists()
    assert _kept(footage) == {"state.safetensors"}


def test_killed_before_the_state_was_removed_it_is_complete(
    footage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(training, "remove_state", _killed)
        with pytest.raises(Killed):
            _train(footage)
    avatar = footage.with_name("ana.avatar")
    before = (avatar / "avatar.json").read_bytes()
    assert any("is complete" in line for line in _train(footage))
    assert (avatar / "avatar.json").read_bytes() == before
    assert not state_path(avatar).exists()
    with pytest.raises(OutputError, match="exists already"):
        _train(footage)


def _killed(*_: object) -> None:
    raise Killed


def test_the_state_stays_until_the_avatar_was_read_back(
    messages: list[str], footage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(_: Path) -> None:
        raise OutputError("cannot be read back")

    with monkeypatch.context() as patched:
        patched.setattr(training, "read_avatar", unreadable)
        with pytest.raises(OutputError, match="cannot be read back"):
            _train(footage)
    assert _kept(footage) == {"state.safetensors"}
    avatar = footage.with_name("ana.avatar")
    (avatar / "weights.safetensors").write_bytes(b"damaged")
    train(
        avatar=avatar, footage=footage, settings=SETTINGS, overwrite=True,
    )  # fmt: skip
    assert any(line.startswith("going on after") for line in messages)
    assert _kept(footage) == set()


def test_two_trainings_of_an_avatar_do_not_share_a_state(footage: Path) -> None:
    part = footage.with_name(".ana.avatar.training")
    part.mkdir()
    with locked(part), pytest.raises(OutputError, match="at work on"):
        _train(footage)
    assert part.is_dir()
    _train(footage)
    assert not part.exists()


def test_what_fails_at_once_leaves_no_folder(footage: Path) -> None:
    with pytest.raises(FootageError, match="are left to train on"):
        _train(footage, replace(SETTINGS, hold_out=0.9))
    assert {path.name for path in footage.parent.iterdir()} == {"a.footage"}


def test_long_names_have_a_state_too(tmp_path: Path) -> None:
    names = [250 * "a", 249 * "a" + "b"]
    found = set()
    for name in names:
        with state_folder(tmp_path / name) as part:
            found.add(part.name)
            assert part.is_dir()
    assert len(found) == 2
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def two_takes(tmp_path_factory: pytest.TempPathFactory) -> Footage:
    return read_footage(write_footage(tmp_path_factory.mktemp("f") / "a.footage", ("a", "b")))


def _turned(footage: Footage, away: slice) -> Footage:
    poses = np.tile(head_pose(), (40, 1, 1))
    poses[away] = head_pose(turn=(0, 1.4, 0))
    return replace(footage, takes=tuple(replace(take, camera_from_head=poses) for take in footage.takes))


def test_runs_end_where_the_head_turns_away(two_takes: Footage, tmp_path: Path) -> None:
    assert _write_bases(tmp_path, _turned(two_takes, slice(24, 30)), 60.0) == ["a", "b"]
    kept = {name: load_file(tmp_path / name / "track.safetensors") for name in ("a", "b")}
    assert {name: len(track["times"]) for name, track in kept.items()} == {"a": 24, "b": 16}
    assert all(np.allclose(track["camera_from_head"], head_pose()) for track in kept.values())


def test_a_head_that_always_looks_away_has_a_base_all_the_same(two_takes: Footage, tmp_path: Path) -> None:
    assert _write_bases(tmp_path, _turned(two_takes, slice(0, 40)), 60.0) == ["a", "b"]


@pytest.mark.parametrize(
    ("avatar", "footage"),
    [("ana.avatar", "ana.footage"), ("ana.v1", "ana.v1.footage"), ("ana.v2", "ana.v2.footage")],
)
def test_every_avatar_has_footage_of_its_own(avatar: str, footage: str) -> None:
    assert footage_beside(Path("people") / avatar) == Path("people") / footage


def test_a_folder_of_videos_is_no_avatar_to_overwrite(tmp_path: Path) -> None:
    takes = tmp_path / "takes"
    takes.mkdir()
    (takes / "monday.mp4").write_text("video")
    with pytest.raises(OutputError, match=r"is not an avatar.*left alone"):
        train([takes / "monday.mp4"], avatar=takes, overwrite=True)
    assert [path.name for path in takes.iterdir()] == ["monday.mp4"]
