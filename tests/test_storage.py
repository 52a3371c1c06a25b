"""Files and folders appear whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from speech2lip.errors import AvatarError, OutputError
from speech2lip.storage import check_output, new_folder_atomically, read_json, write_atomically, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_its_name_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with write_atomically(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.suffix == ".txt"
    assert target.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt])
def test_a_fault_leaves_the_old_file(tmp_path: Path, fault: type[BaseException]) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(fault), write_atomically(target) as temporary:
        temporary.write_text("half")
        raise fault
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_existing_file_is_kept_unless_told(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(OutputError, match="exists already"), write_atomically(target, overwrite=False):
        raise AssertionError("the block must not run")


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        check_output(tmp_path / "none" / "a.txt")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OutputError, match="it is a folder"), write_atomically(tmp_path / "a"):
        raise AssertionError("the block must not run")


def test_an_unwritable_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(OutputError, match="not writable"):
        check_output(tmp_path / "a.txt")


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"No room left.*free some space"), write_atomically(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == []


def test_other_faults_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), write_atomically(tmp_path / "a"):
        (tmp_path / "missing").read_text()


def test_a_folder_takes_its_name_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "ana.avatar"
    with new_folder_atomically(target) as temporary:
        (temporary / "deep").mkdir()
        (temporary / "deep" / "x").write_text("1")
        assert not target.exists()
    assert (target / "deep" / "x").read_text() == "1"
    assert names(tmp_path) == ["ana.avatar"]


def test_an_old_folder_is_replaced_whole_or_kept(tmp_path: Path) -> None:
    target = tmp_path / "ana.avatar"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(RuntimeError), new_folder_atomically(target, overwrite=True) as temporary:
        (temporary / "new").touch()
        raise RuntimeError
    assert names(target) == ["old"]
    with new_folder_atomically(target, overwrite=True) as temporary:
        (temporary / "new").touch()
    assert names(target) == ["new"]
    assert names(tmp_path) == ["ana.avatar"]
    with pytest.raises(OutputError, match="exists already"), new_folder_atomically(target):
        raise AssertionError("the block must not run")


def test_json_comes_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"größe": [1, 2.5], "name": None})
    assert read_json(tmp_path / "a.json") == {"größe": [1, 2.5], "name": None}


def test_json_refuses_numbers_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "is missing"), (b"{", "not JSON"), (b"\xff\xfe", "not JSON"), (b"[1]", "JSON object")],
)
def test_damaged_json_is_one_line(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "avatar.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AvatarError, match=told) as caught:
        read_json(path, error=AvatarError)
    assert str(path) in str(caught.value)
