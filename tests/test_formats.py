"""Formats: old ones are brought up to date, newer ones say what to do, wrong values and arrays one line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from speech2lip.avatar import read_avatar
from speech2lip.checks import Unfit
from speech2lip.decomposition.footage import read_footage
from speech2lip.errors import AvatarError, FootageError
from speech2lip.formats import (
    AVATAR,
    FOOTAGE,
    AvatarInfo,
    Broken,
    FootageInfo,
    Format,
    Kept,
    Plain,
    inside,
    read_arrays,
    rigid,
    rising,
)

DATA = Path(__file__).parent / "data" / "version_1"
AVATAR_JSON, FOOTAGE_JSON = DATA / "presenter.avatar/avatar.json", DATA / "presenter.footage/footage.json"


def avatar_info(path: Path) -> AvatarInfo:
    return AVATAR.read(AvatarInfo, path.parent, path.name)


def footage_info(path: Path) -> FootageInfo:
    return FOOTAGE.read(FootageInfo, path.parent, path.name)


def _changed(path: Path, target: Path, change: Callable[[Plain], Any]) -> Path:
    plain = json.loads(path.read_text())
    change(plain)
    target.write_text(json.dumps(plain))
    return target


def _rename_focal(plain: Plain) -> Plain:
    return {name: value for name, value in plain.items() if name != "focal"} | {"lens": plain["focal"]}


def _rename_lens(plain: Plain) -> Plain:
    return {name: value for name, value in plain.items() if name != "lens"} | {"focal": 2 * plain["lens"]}


def _break(plain: Plain) -> Plain:
    raise Broken("the lip field was another one")


def test_today_is_format_2() -> None:
    """A number that is raised comes with a migration; what version 1 wrote lies in tests/data."""
    assert (AVATAR.number, FOOTAGE.number) == (2, 2)


@pytest.mark.parametrize("kind", [AVATAR, FOOTAGE])
def test_every_older_format_has_its_migration(kind: Format) -> None:
    assert sorted(kind.migrations) == list(range(1, kind.number))


def test_migrations_are_taken_one_after_the_other() -> None:
    kind = Format("avatar.json", 3, AvatarError, "train it again", {1: _rename_focal, 2: _rename_lens})
    found = kind.up_to_date({"format": 1, "focal": 1.5}, Path("avatar.json"))
    assert found == {"format": 3, "focal": 3.0}
    assert kind.up_to_date({"format": 2, "lens": 2}, Path("avatar.json")) == {"format": 3, "focal": 4}
    assert kind.up_to_date({"format": 3, "a": 1}, Path("avatar.json")) == {"format": 3, "a": 1}


def test_an_old_avatar_is_read_through_its_migration() -> None:
    plain = json.loads(AVATAR_JSON.read_text())
    assert plain["format"] == 1
    assert avatar_info(AVATAR_JSON).median_skin_colour == tuple(plain["usual_light"])


@pytest.mark.parametrize(
    ("model", "told"),
    [({"speech": "mel+phonetic"}, "it hears scores of phones"), ({"blend": "colour"}, "it has a Blend-Net")],
)
def test_an_avatar_whose_networks_are_gone_says_to_train_again(
    tmp_path: Path, model: Plain, told: str
) -> None:
    old = _changed(AVATAR_JSON, tmp_path / "avatar.json", lambda plain: plain["model"].update(model))
    with pytest.raises(AvatarError, match=f"^train it again: .*avatar.json has format 1; {told}"):
        avatar_info(old)


def test_old_footage_tells_what_was_left_out(tmp_path: Path) -> None:
    told = {"left_out_takes": {"b": "no face"}, "left_out_frames": {"a": {"heavy blur": 3}}}
    old = _changed(FOOTAGE_JSON, tmp_path / "footage.json", lambda plain: plain.update(told))
    found = footage_info(old)
    assert (found.rejected_takes, found.rejected_frames) == tuple(told.values())


def test_a_break_says_so_in_its_own_line() -> None:
    kind = Format("avatar.json", 2, AvatarError, "train it again", {1: _break})
    with pytest.raises(AvatarError, match=r"train it again: a.json has format 1; the lip field was another"):
        kind.up_to_date({"format": 1}, Path("a.json"))


def test_what_a_migration_cannot_read_is_damaged() -> None:
    kind = Format("avatar.json", 2, AvatarError, "train it again", {1: _rename_focal})
    with pytest.raises(AvatarError, match="is damaged: format 1: KeyError 'focal'"):
        kind.up_to_date({"format": 1}, Path("a.json"))


@pytest.mark.parametrize("number", [None, "1", 0, -1, 1.0, True, [1]])
def test_a_format_that_is_no_number_is_damaged(number: object) -> None:
    with pytest.raises(FootageError, match="is damaged: format must be a whole number from 1"):
        FOOTAGE.up_to_date({"format": number}, Path("a.json"))


def test_a_newer_version_is_told_and_not_called_damaged(tmp_path: Path) -> None:
    later = _changed(AVATAR_JSON, tmp_path / "avatar.json", lambda plain: plain.update(format=3))
    with pytest.raises(AvatarError) as told:
        avatar_info(later)
    assert str(told.value) == (
        f"{later} was made by a newer version of speech2lip (format 3, this version reads up to 2): "
        "update speech2lip"
    )
    later = _changed(FOOTAGE_JSON, tmp_path / "footage.json", lambda plain: plain.update(format=7))
    with pytest.raises(FootageError, match=r"by a newer version of speech2lip .*: update speech2lip"):
        footage_info(later)


def test_a_model_setting_of_a_newer_version_says_to_update(tmp_path: Path) -> None:
    later = _changed(AVATAR_JSON, tmp_path / "avatar.json", lambda plain: plain["model"].update(eyes=2))
    with pytest.raises(AvatarError, match=r"newer version .* knows no model setting 'eyes'\): update"):
        avatar_info(later)


def test_names_that_are_not_known_do_no_harm(tmp_path: Path) -> None:
    def add(plain: Plain) -> None:
        plain |= {"mood": "good"}
        plain["canonical"]["mood"] = plain["settings"]["mood"] = [1, 2]

    found = avatar_info(_changed(AVATAR_JSON, tmp_path / "avatar.json", add))
    assert found == replace(avatar_info(AVATAR_JSON), settings=found.settings)
    found_footage = footage_info(_changed(FOOTAGE_JSON, tmp_path / "footage.json", add))
    assert found_footage == footage_info(FOOTAGE_JSON)


def test_what_may_be_missing_takes_its_default(tmp_path: Path) -> None:
    def strip(plain: Plain) -> None:
        for name in set(plain) - {"format", "canonical", "focal", "bases", "takes", "model"}:
            del plain[name]
        if "model" in plain:
            plain["model"] = {}

    found = avatar_info(_changed(AVATAR_JSON, tmp_path / "avatar.json", strip))
    assert found.model.speech == "mel"
    assert (found.history, found.held_out, found.seconds_trained) == ((), {}, 0.0)
    footage = footage_info(_changed(FOOTAGE_JSON, tmp_path / "footage.json", strip))
    assert (footage.sound_offsets, footage.prepare_fps) == ({}, None)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("focal", "wide", r"focal must be a number from 0\.05 to 1,000, not 'wide'"),
        ("bases", ["../x"], r"bases\[0\] must be the plain name of a folder, not '../x'"),
        ("bases", ["/etc"], r"bases\[0\] must be the plain name of a folder, not '/etc'"),
        ("held_out", {"b": [9, 3]}, r"held_out\.b must be a first frame and an end, not \[9, 3\]"),
        ("model", [], "model must be an object"),
        ("model", {"past_seconds": "x"}, r"model\.past_seconds must be a number from 0 to 5, not 'x'"),
        ("model", {"encoder_width": 12_000}, r"model\.encoder_width must be .* from 1 to 1,024, not 12000"),
        ("model", {"speech": 5}, r"model\.speech must be mel, mel"),
    ],
)
def test_a_wrong_field_is_told_with_file_field_and_value(
    tmp_path: Path, name: str, value: Any, told: str
) -> None:
    path = _changed(AVATAR_JSON, tmp_path / "avatar.json", lambda plain: plain.update({name: value}))
    with pytest.raises(AvatarError, match=f"avatar.json is damaged: {told}"):
        avatar_info(path)


@pytest.mark.parametrize("fps", ["25", "30000/1001", "24975/1000"])
def test_rates_are_read(tmp_path: Path, fps: str) -> None:
    folder = tmp_path / "a.footage"
    shutil.copytree(DATA / "presenter.footage", folder)
    path = folder / "takes/a/take.json"
    _changed(path, path, lambda plain: plain.update(fps=fps))
    assert read_footage(folder).takes[0].fps == Fraction(fps)


@pytest.mark.parametrize("fps", ["0", "25/0", "1e9", "9" * 5000, 25, "-25", "nan", "1/100000"])
def test_rates_that_are_none_are_told(tmp_path: Path, fps: Any) -> None:
    folder = tmp_path / "a.avatar"
    shutil.copytree(DATA / "presenter.avatar", folder)
    path = folder / "base/a/take.json"
    _changed(path, path, lambda plain: plain.update(fps=fps))
    with pytest.raises(AvatarError, match=r"take.json is damaged: fps must be a rate such as 25"):
        read_avatar(folder)


KEPT = {
    "times": Kept(np.float64, ("T",), 0, 1e6),
    "light": Kept(np.float32, ("T", 3), 0, 255, missing=True),
    "left_out": Kept(np.uint8, ("T",), 0, 9, optional=True),
}


def _file(path: Path, **more: NDArray[Any]) -> Path:
    save_file({"times": np.arange(4.0), "light": np.ones((4, 3), np.float32), **more}, path)
    return path


def test_arrays_come_as_asked_for_and_sizes_are_found(tmp_path: Path) -> None:
    sizes: dict[str, int] = {}
    path = _file(tmp_path / "a.safetensors", light=np.full((4, 3), np.nan), extra=np.zeros(7))
    found = read_arrays(path, KEPT, sizes)
    assert sizes == {"T": 4}
    assert sorted(found) == ["light", "times"]
    assert found["light"].dtype == np.float32


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"times": np.arange(5.0)}, r"light must be float32 \[5, 3\], not F32 \[4, 3\]"),
        ({"light": np.ones((4, 4), np.float32)}, r"light must be float32 \[4, 3\], not F32 \[4, 4\]"),
        ({"times": np.zeros((4, 1))}, r"times must be float64 \[T\], not F64 \[4, 1\]"),
        ({"times": np.arange(4)}, r"times must be float64 \[T\], not I64 \[4\]"),
        ({"times": np.array([0, 1, np.nan, 3])}, r"times\[2\] must be a number from 0 to 1e\+06, not nan"),
        ({"times": np.array([0, np.inf, 2, 3])}, r"times\[1\] must be a number from 0 to 1e\+06, not inf"),
        ({"light": np.full((4, 3), 300, np.float32)}, r"light\[0, 0\] must be .* 255, not 300"),
        ({"left_out": np.array([0, 1, 200, 0], np.uint8)}, r"left_out\[2\] must be .* 9, not 200"),
    ],
)
def test_what_they_are_not_is_told(tmp_path: Path, arrays: dict[str, NDArray[Any]], told: str) -> None:
    with pytest.raises(Unfit, match=told):
        read_arrays(_file(tmp_path / "a.safetensors", **arrays), KEPT, {})


def test_a_missing_array_and_no_file_of_arrays_are_told(tmp_path: Path) -> None:
    save_file({"times": np.arange(4.0)}, tmp_path / "a.safetensors")
    with pytest.raises(Unfit, match="light is missing"):
        read_arrays(tmp_path / "a.safetensors", KEPT, {})
    (tmp_path / "b.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(Unfit, match="header"):
        read_arrays(tmp_path / "b.safetensors", KEPT, {})


def test_only_rigid_transforms_pass() -> None:
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[1, :3, 3] = (1, 2, 3)
    rigid("poses", poses)
    rigid("pose", poses[1])
    for place, value in (((2, 0, 0), 1.1), ((2, 0, 0), -1.0), ((2, 3, 3), 0.0), ((2, 3, 0), 0.1)):
        wrong = poses.copy()
        wrong[place] = value
        with pytest.raises(Unfit, match=r"poses\[2\] must be a rotation and a shift"):
            rigid("poses", wrong)


def test_times_rise() -> None:
    rising("times", np.array([0.0, 0.1, 0.2]))
    with pytest.raises(Unfit, match=r"times\[2\] must come after times\[1\]"):
        rising("times", np.array([0.0, 0.1, 0.1, 0.3]))
    with pytest.raises(Unfit, match="times is empty"):
        rising("times", np.zeros(0))


def test_files_lie_in_their_folder(tmp_path: Path) -> None:
    folder, outside = tmp_path / "a.avatar", tmp_path / "secret"
    (folder / "base").mkdir(parents=True)
    outside.mkdir()
    (outside / "take.json").write_text("{}")
    (folder / "base" / "take.json").write_text("{}")
    (folder / "linked.json").symlink_to(outside / "take.json")
    (folder / "elsewhere").symlink_to(outside)
    os.mkfifo(folder / "pipe")
    assert inside(folder, "base/take.json", error=AvatarError) == folder / "base" / "take.json"
    for name, told in (
        ("linked.json", "is a link"),
        ("elsewhere/take.json", "is a link"),
        ("base/none.json", "is missing"),
        ("base", "must be a file"),
        ("linked.json/x", "is a link"),
        ("pipe", "must be a file"),
        ("base/take.json/x", "cannot be read: Not a directory"),
    ):
        with pytest.raises(AvatarError, match=told):
            inside(folder, name, error=AvatarError)


def test_the_folder_itself_may_be_reached_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.avatar").mkdir()
    (tmp_path / "real.avatar" / "avatar.json").write_text("{}")
    (tmp_path / "a.avatar").symlink_to(tmp_path / "real.avatar")
    assert inside(tmp_path / "a.avatar", "avatar.json", error=AvatarError).is_file()
