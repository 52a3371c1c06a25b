"""Formats: old ones are brought up to date, newer ones say what to do, strange names do no harm."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from speech2lip.avatar import read_avatar
from speech2lip.decomposition.footage import read_footage
from speech2lip.errors import AvatarError, FootageError
from speech2lip.formats import AVATAR, FOOTAGE, AvatarInfo, Broken, FootageInfo, Format, Plain

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
    kind = Format(
        "an avatar", "avatar.json", 3, AvatarError, "train it again", {1: _rename_focal, 2: _rename_lens}
    )
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
    kind = Format("an avatar", "avatar.json", 2, AvatarError, "train it again", {1: _break})
    with pytest.raises(AvatarError, match=r"train it again: a.json has format 1; the lip field was another"):
        kind.up_to_date({"format": 1}, Path("a.json"))


def test_what_a_migration_cannot_read_is_damaged() -> None:
    kind = Format("an avatar", "avatar.json", 2, AvatarError, "train it again", {1: _rename_focal})
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
