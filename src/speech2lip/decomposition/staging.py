"""Where new footage is kept until it is complete: what was good before stays usable until then.

ana.footage/
  .work/    takes and files being prepared, named as in the footage folder; it outlives a stopped `prepare`
  .done/    the same, complete: it only has to be moved into place, by whoever comes first
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from speech2lip.atomic import FolderKind, locked, output_errors, read_json, require_kind, sync
from speech2lip.errors import FootageError, OutputError, Speech2LipError

WORK, DONE = ".work", ".done"
_OLD = "old"
TAKE_KIND = FolderKind(
    "a take of footage",
    manifest="take.json",
    key="source",
    files=("take.json", "picture.mp4", "sound.flac", "track.safetensors", "poses.safetensors"),
)
"""What preparing a take anew may replace."""


class Staging:
    """Work on a footage folder that appears in it in one step.

    Args:
        footage: a folder that `claim_folder` has accepted and that is locked.
    """

    def __init__(self, footage: Path) -> None:
        finish_move(footage)
        self.footage = footage
        self.folder = footage / WORK
        with output_errors(footage):
            (self.folder / "takes").mkdir(parents=True, exist_ok=True)

    def take(self, name: str) -> Path:
        """The folder of a take that is being prepared."""
        return self.folder / "takes" / name

    def track(self, name: str) -> Path:
        """The folder in which the latest first pass over a take is kept: staged, or in place."""
        staged = self.take(name)
        return staged if (staged / "take.json").is_file() else self.footage / "takes" / name

    def begin_fit(self) -> None:
        """Forget what a fit that was stopped has left; first passes over takes stay."""
        for take in (self.folder / "takes").iterdir():
            if take.is_dir() and not (take / "take.json").is_file():
                shutil.rmtree(take)
        for name in ("canonical.safetensors", "footage.json"):
            (self.folder / name).unlink(missing_ok=True)

    def remove_if_empty(self) -> None:
        """Remove the folder unless first passes over takes are kept in it."""
        if not any((self.folder / "takes").iterdir()):
            shutil.rmtree(self.folder)

    def check(self, names: Iterable[str]) -> None:
        """Raise OutputError where a take would replace a folder that is no take of ours."""
        for name in names:
            place = self.footage / "takes" / name
            if place.exists():
                require_kind(place, TAKE_KIND)

    def finish(self) -> None:
        """Let all that was staged take its place."""
        with output_errors(self.footage):
            self.check(take.name for take in (self.folder / "takes").iterdir() if take.is_dir())
            sync(self.folder)
            self.folder.rename(self.footage / DONE)
            sync(self.footage)
        finish_move(self.footage)


def finish_move(footage: Path) -> None:
    """Move what is complete into place, if anything is; killed at any moment, the same call goes on."""
    done = footage / DONE
    if not done.is_dir():
        return
    with output_errors(footage):
        (footage / "takes").mkdir(exist_ok=True)
        old = done / _OLD
        old.mkdir(exist_ok=True)
        for take in sorted((done / "takes").iterdir()) if (done / "takes").is_dir() else ():
            place = footage / "takes" / take.name
            if (take / "take.json").is_file():
                if place.exists():
                    place.rename(old / f"{take.name}-{len(list(old.iterdir()))}")
                take.rename(place)
            else:
                for file in take.iterdir():
                    file.replace(place / file.name)
        sync(footage / "takes")
        for name in ("canonical.safetensors", "footage.json"):
            if (done / name).is_file():
                (done / name).replace(footage / name)
        sync(footage)
        shutil.rmtree(done)


def finish_move_for_reading(footage: Path) -> None:
    """Do as `finish_move` before footage is read, where a `prepare` was killed in its last moment.

    Raises:
        FootageError: a process is at it just now, or the folder may not be written to.
    """
    if not (footage / DONE).is_dir():
        return
    try:
        with locked(footage):
            finish_move(footage)
    except OutputError as error:
        raise FootageError(f"{footage} is just being changed ({error}); try again") from error


def claim_folder(footage: Path) -> None:
    """Make the footage folder, or make sure that one which is there is ours.

    Raises:
        OutputError: it holds something else, or cannot be written to.
    """
    if footage.exists() and not footage.is_dir():
        raise OutputError(f"{footage} is a file; name a folder for the footage")
    if footage.is_dir() and any(footage.iterdir()) and not _is_ours(footage):
        raise OutputError(f"{footage} holds something else; name a new or a footage folder")
    with output_errors(footage):
        (footage / WORK / "takes").mkdir(parents=True, exist_ok=True)


def _is_ours(footage: Path) -> bool:
    if (footage / WORK).is_dir() or (footage / DONE).is_dir():
        return True
    try:
        return "format" in read_json(footage / "footage.json")
    except Speech2LipError:
        return False
