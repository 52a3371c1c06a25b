"""Files and folders appear whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from speech2lip import atomic
from speech2lip.atomic import (
    FolderKind,
    check_output,
    kept_tensors,
    locked,
    new_folder_atomically,
    read_json,
    recover_folder,
    save_tensors,
    temporary_sibling,
    write_atomically,
    write_json,
)
from speech2lip.errors import AvatarError, OutputError

KIND = FolderKind("an example", manifest="a.json", key="format", files=("a.json", "base/*/x"))


def make(folder: Path, content: str) -> None:
    folder.mkdir(exist_ok=True)
    write_json(folder / "a.json", {"format": content})


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

    def write() -> None:
        with write_atomically(target) as temporary:
            temporary.write_text("half")
            raise fault

    with pytest.raises(fault):
        write()
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
    make(target, "old")

    def replace(*, fault: bool) -> None:
        with new_folder_atomically(target, replaces=KIND) as temporary:
            make(temporary, "new")
            if fault:
                raise RuntimeError

    with pytest.raises(RuntimeError):
        replace(fault=True)
    assert read_json(target / "a.json")["format"] == "old"
    replace(fault=False)
    assert read_json(target / "a.json")["format"] == "new"
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


def test_what_is_not_ours_is_never_replaced(tmp_path: Path) -> None:
    videos = tmp_path / "takes"
    videos.mkdir()
    (videos / "monday.mp4").write_text("video")
    with pytest.raises(OutputError, match=r"is not an example.*left alone"):
        check_output(videos, overwrite=True, kind=KIND)
    with pytest.raises(OutputError, match="left alone"), new_folder_atomically(videos, replaces=KIND):
        raise AssertionError("the block must not run")
    assert names(videos) == ["monday.mp4"]


@pytest.mark.parametrize("strange", ["notes.txt", "base/x", "base/one/y", ".hidden"])
def test_strange_files_in_a_folder_of_ours_are_not_lost(tmp_path: Path, strange: str) -> None:
    target = tmp_path / "ana.avatar"
    make(target, "old")
    (target / strange).parent.mkdir(parents=True, exist_ok=True)
    (target / strange).write_text("mine")
    with pytest.raises(OutputError, match=f"also holds {strange}"):
        check_output(target, overwrite=True, kind=KIND)


def test_strange_files_that_come_while_it_is_made_are_not_lost(tmp_path: Path) -> None:
    target = tmp_path / "ana.avatar"
    make(target, "old")

    def replace() -> None:
        with new_folder_atomically(target, replaces=KIND) as temporary:
            make(temporary, "new")
            (target / "mine").touch()

    with pytest.raises(OutputError, match="also holds mine"):
        replace()
    assert names(target) == ["a.json", "mine"]


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with new_folder_atomically(tmp_path / "a", replaces=KIND) as temporary:
        make(temporary, "new")
    assert names(tmp_path / "a") == ["a.json"]


def no_system_call() -> None:
    """A system that can neither swap names nor take a free one in one step."""
    return


@pytest.fixture(params=["in one step", "plain"])
def renaming(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "plain":
        monkeypatch.setattr(atomic, "_system_call", no_system_call)
    return str(request.param)


def test_replacing_works_on_every_system(tmp_path: Path, renaming: str) -> None:
    make(tmp_path / "a", "old")
    with new_folder_atomically(tmp_path / "a", replaces=KIND) as temporary:
        make(temporary, "new")
    assert read_json(tmp_path / "a" / "a.json")["format"] == "new"
    assert names(tmp_path) == ["a"]


def test_a_file_that_came_in_the_meantime_is_kept(tmp_path: Path, renaming: str) -> None:
    target = tmp_path / "a.mp4"

    def write() -> None:
        with write_atomically(target, overwrite=False) as part:
            part.write_text("ours")
            target.write_text("somebody else's")

    with pytest.raises(OutputError, match="exists already"):
        write()
    assert target.read_text() == "somebody else's"
    assert names(tmp_path) == ["a.mp4"]


def test_a_folder_that_came_in_the_meantime_is_kept(tmp_path: Path, renaming: str) -> None:
    target = tmp_path / "a"

    def write() -> None:
        with new_folder_atomically(target) as temporary:
            make(temporary, "ours")
            make(target, "somebody else's")

    with pytest.raises(OutputError, match="exists already"):
        write()
    assert read_json(target / "a.json")["format"] == "somebody else's"
    assert names(tmp_path) == ["a"]


def test_a_folder_that_stepped_aside_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the process had been killed between the two renames of a system that cannot swap names."""
    monkeypatch.setattr(atomic, "_system_call", no_system_call)
    target = tmp_path / "a"
    make(target, "old")
    aside = atomic.replaced_name(target)
    target.rename(aside)
    recover_folder(target)
    assert names(tmp_path) == ["a"]
    make(aside, "old")
    recover_folder(target)  # killed before the old one was removed
    assert names(tmp_path) == ["a"]


def test_links_are_followed(tmp_path: Path) -> None:
    make(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to("real")
    with new_folder_atomically(tmp_path / "link", replaces=KIND) as temporary:
        make(temporary, "new")
    assert (tmp_path / "link").is_symlink()
    assert read_json(tmp_path / "real" / "a.json")["format"] == "new"
    assert names(tmp_path) == ["link", "real"]


def test_long_names_have_short_parts(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 251 + ".mp4")
    with write_atomically(target) as temporary:
        temporary.touch()
        assert temporary.suffix == ".mp4"
    assert names(tmp_path) == [target.name]
    with pytest.raises(OutputError, match="name is too long"):
        check_output(tmp_path / ("n" * 256))


def test_names_that_are_no_text_are_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.json")
    write_json(path, {"path": str(path)})
    assert read_json(path) == {"path": str(path)}


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    alive, dead = temporary_sibling(target), temporary_sibling(target)
    dead = dead.with_name(
        dead.name.replace(f"-{os.getpid()}-", "-4194305-")
    )  # above every process id of Linux
    other = temporary_sibling(tmp_path / "b.mp4")
    for path in (alive, dead, other):
        path.touch()
    with write_atomically(target) as temporary:
        temporary.touch()
    assert names(tmp_path) == sorted(["a.mp4", alive.name, other.name])


def test_tensors_can_be_read_by_everybody(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        save_tensors(
            tmp_path / "a.safetensors", {"x": np.arange(6).reshape(2, 3)[:, ::2]}, metadata={"k": "v"}
        )
        with new_folder_atomically(tmp_path / "a") as temporary:
            save_file({"x": np.zeros(2)}, temporary / "x.safetensors")
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "a" / "x.safetensors").stat().st_mode & 0o777 == 0o644
    np.testing.assert_array_equal(load_file(tmp_path / "a.safetensors")["x"], [[0, 2], [3, 5]])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"x": ' + "9" * 5000 + "}", "not JSON"),
        ('{"x": NaN}', "NaN is no number"),
        ('{"x": -Infinity}', "no number"),
    ],
)
def test_hostile_json_is_one_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(AvatarError, match=told) as caught:
        read_json(tmp_path / "a.json", error=AvatarError)
    assert len(str(caught.value).splitlines()) == 1


def test_json_of_unlikely_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_MOST_JSON_BYTES", 10)
    (tmp_path / "a.json").write_text('{"x": "0123456789"}')
    with pytest.raises(AvatarError, match="too many"):
        read_json(tmp_path / "a.json", error=AvatarError)


def test_kept_tensors_are_those_of_their_key(tmp_path: Path) -> None:
    path = tmp_path / "kept.safetensors"
    assert kept_tensors(path, "a") is None
    save_tensors(path, {"x": np.arange(3)}, metadata={"key": "a"})
    kept = kept_tensors(path, "a")
    assert kept is not None
    assert kept["x"].tolist() == [0, 1, 2]
    assert kept_tensors(path, "b") is None
    path.write_bytes(b"damaged")
    assert kept_tensors(path, "a") is None


def test_a_locked_folder_is_left_to_its_owner(tmp_path: Path) -> None:
    with (
        locked(tmp_path),
        pytest.raises(OutputError, match="another speech2lip is at work"),
        locked(tmp_path),
    ):
        raise AssertionError("the block must not run")
    with locked(tmp_path):
        pass


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from speech2lip.atomic import locked\n"
        "with locked(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert ended.returncode == -9
    with locked(tmp_path):
        pass
