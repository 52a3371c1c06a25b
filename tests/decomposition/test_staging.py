"""New footage takes the place of the old one in one step, whenever the process is killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from speech2lip.atomic import read_json, write_json
from speech2lip.decomposition.staging import DONE, WORK, Staging, claim_folder, finish_move
from speech2lip.errors import OutputError


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def whole_take(folder: Path, content: str) -> None:
    folder.mkdir(parents=True)
    write_json(folder / "take.json", {"source": content})
    (folder / "poses.safetensors").write_text(content)


def old_footage(folder: Path) -> None:
    for name in ("kept", "again"):
        whole_take(folder / "takes" / name, "old")
    (folder / "canonical.safetensors").write_text("old")
    write_json(folder / "footage.json", {"format": 1, "made": "old"})


def stage(folder: Path) -> Staging:
    """New poses for one take, another take anew, and one more."""
    staging = Staging(folder)
    staging.take("kept").mkdir()
    (staging.take("kept") / "poses.safetensors").write_text("new")
    whole_take(staging.take("again"), "new")
    whole_take(staging.take("more"), "new")
    (staging.folder / "canonical.safetensors").write_text("new")
    write_json(staging.folder / "footage.json", {"format": 1, "made": "new"})
    return staging


def state(folder: Path) -> dict[str, str]:
    names = ("takes/kept/poses.safetensors", "takes/again/poses.safetensors", "canonical.safetensors")
    found = {name: (folder / name).read_text() for name in names}
    return found | {"footage.json": read_json(folder / "footage.json")["made"]}


def kill_at(monkeypatch: pytest.MonkeyPatch, moment: int) -> Callable[[], int]:
    """Let the rename or replacement number `moment`, from 0, kill the process; return how many there were."""
    calls = 0

    def counted(name: str) -> Callable[..., Any]:
        original = getattr(Path, name)

        def call(self: Path, target: Path) -> Any:
            nonlocal calls
            calls += 1
            if calls - 1 == moment:
                raise Killed
            return original(self, target)

        return call

    for name in ("rename", "replace"):
        monkeypatch.setattr(Path, name, counted(name))
    return lambda: calls


@pytest.mark.parametrize("moment", range(8))
def test_killed_at_any_rename_it_is_all_old_or_all_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    old_footage(tmp_path)
    staging = stage(tmp_path)
    with monkeypatch.context() as patch:
        calls = kill_at(patch, moment)
        if moment == 7:
            staging.finish()
            assert calls() == 7
        else:
            with pytest.raises(Killed):
                staging.finish()
    finish_move(tmp_path)  # what the next reader or `prepare` does
    expected = "old" if moment == 0 else "new"
    assert set(state(tmp_path).values()) == {expected}
    assert (tmp_path / "takes" / "more").is_dir() == (moment > 0)
    assert not (tmp_path / DONE).exists()
    assert (tmp_path / WORK).exists() == (moment == 0)


def test_a_fit_begins_without_what_another_one_left(tmp_path: Path) -> None:
    old_footage(tmp_path)
    staging = stage(tmp_path)
    staging.begin_fit()
    left = [path for path in staging.folder.rglob("*") if path.is_file()]
    assert {path.parent.name for path in left} == {"again", "more"}
    assert not staging.take("kept").exists()
    assert staging.track("more") == staging.take("more")
    assert staging.track("kept") == tmp_path / "takes" / "kept"


def test_videos_that_came_into_a_take_meanwhile_are_not_lost(tmp_path: Path) -> None:
    old_footage(tmp_path)
    staging = stage(tmp_path)
    (tmp_path / "takes" / "again" / "mine.mp4").write_text("video")
    with pytest.raises(OutputError, match=r"also holds mine\.mp4"):
        staging.finish()
    assert set(state(tmp_path).values()) == {"old"}
    assert (tmp_path / WORK).is_dir()


@pytest.mark.parametrize(
    ("files", "ours"),
    [
        ([], True),
        (["takes/a/take.json"], False),
        (["takes/a/a.mp4"], False),
        (["takes/a/take.json", "takes/a/a.mp4"], False),
        (["takes/a/take.json", "notes.txt"], False),
        (["takes/a.mp4"], False),
        (["notes.txt"], False),
        ([".work/takes/x", "notes.txt"], True),
        (["footage.json", "notes.txt"], True),
    ],
)
def test_only_footage_folders_are_worked_on(tmp_path: Path, files: list[str], ours: bool) -> None:
    footage = tmp_path / "p"
    footage.mkdir()
    for name in files:
        (footage / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".json"):
            write_json(footage / name, {"source": "a", "format": 1})
        else:
            (footage / name).write_text("mine")
    if ours:
        claim_folder(footage)
    else:
        with pytest.raises(OutputError, match="holds something else"):
            claim_folder(footage)
        assert not (footage / WORK).exists()
