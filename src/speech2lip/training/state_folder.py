"""The folder beside an avatar in which training keeps its state until the avatar is complete."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from speech2lip.avatar import Avatar, read_avatar
from speech2lip.errors import AvatarError
from speech2lip.locks import LOCK, locked
from speech2lip.storage import output_errors, write_atomically

_WRITTEN = "written"
"""The file that names the avatar which was about to take its place: of its avatar.json, the digest."""


def state_path(avatar: Path) -> Path:
    """Return where training of an avatar keeps its state."""
    target = avatar.resolve() if avatar.is_symlink() else avatar
    name = f".{target.name}.training"
    if len(os.fsencode(name)) > 255:
        name = f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:32]}.training"
    return target.with_name(name)


@contextmanager
def state_folder(avatar: Path) -> Iterator[Path]:
    """Yield that folder, for this process alone.

    What is in it stays, for training to go on; without anything it vanishes.

    Raises:
        OutputError: the avatar is being trained by another process.
    """
    part = state_path(avatar)
    with output_errors(part):
        part.mkdir(exist_ok=True)
    with locked(part):
        try:
            yield part
        finally:
            if all(file.name == LOCK for file in part.iterdir()):
                shutil.rmtree(part)


def note_written(part: Path, avatar: Path) -> None:
    """Note which avatar is about to take its place: should the process be killed then, it is known again."""
    with write_atomically(part / _WRITTEN) as temporary:
        temporary.write_text(_digest(avatar))


def finished_before(avatar: Path, *, say: Callable[[str], None]) -> Avatar | None:
    """Return the avatar that is there where its training was killed after it was complete, else None.

    Raises:
        OutputError: another process trains it.
    """
    if not (state_path(avatar) / _WRITTEN).is_file():
        return None
    with state_folder(avatar) as part:
        if not (avatar / "avatar.json").is_file() or (part / _WRITTEN).read_text() != _digest(avatar):
            return None
        try:
            made = read_avatar(avatar)
        except AvatarError:
            return None  # its state can make it once more
        remove_state(part, say)
    say(f"{avatar} is complete: its training was stopped when only its state was left to remove")
    return made


def remove_state(part: Path, say: Callable[[str], None]) -> None:
    """Remove the state of training that is done; states that were set aside for other settings stay."""
    for name in ("state.safetensors", "state.damaged.safetensors", "heard.safetensors", _WRITTEN):
        (part / name).unlink(missing_ok=True)
    others = sorted(file.name for file in part.glob("state.*.safetensors"))
    if others:
        say(f"training with other settings is kept in {part} ({', '.join(others)}): remove it if not needed")


def _digest(avatar: Path) -> str:
    return hashlib.sha256((avatar / "avatar.json").read_bytes()).hexdigest()
