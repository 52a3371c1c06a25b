"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import OutputError, Speech2LipError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def output_error(error: OSError, path: Path) -> OutputError | None:
    """The one line for a fault of the place written to, or None when the error is about something else."""
    if error.errno in _FULL:
        folder = path.absolute().parent
        return OutputError(
            f"No room left while writing {path}: free some space in {folder}, or write elsewhere."
        )
    if error.errno in _FORBIDDEN:
        return OutputError(f"Cannot write {path}: permission denied. Choose a folder that you may write to.")
    return None


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a missing permission inside the block into an OutputError about `path`."""
    try:
        yield
    except OSError as error:
        told = output_error(error, path)
        if told is None:
            raise
        raise told from error


def check_output(path: Path, *, overwrite: bool = False) -> None:
    """Raise OutputError now if `path` could not be written later: call it before long work."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise OutputError(
            f"Cannot write {path}: the folder {folder} does not exist. Make it first, or choose another."
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"Cannot write {path}: the folder {folder} is not writable. Choose another.")
    if path.exists() and not overwrite:
        raise OutputError(
            f"{path} exists already. Choose another name, or allow it to be overwritten (--overwrite)."
        )


def temporary_sibling(path: Path) -> Path:
    """A hidden, unused name beside `path`, with its suffix: renaming it into place is one step."""
    return path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}.part{path.suffix}")


@contextmanager
def write_atomically(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path to write to; it becomes `path` when the block ends well, and vanishes otherwise.

    Raises:
        OutputError: folder missing or not writable, disk full, or `path` exists and `overwrite` is off.
    """
    check_output(path, overwrite=overwrite)
    if path.is_dir():
        raise OutputError(f"Cannot write {path}: it is a folder. Choose another name.")
    temporary = temporary_sibling(path)
    try:
        with output_errors(path):
            yield temporary
            _flush_to_disk(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder_atomically(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder to fill; it becomes `path` when the block ends well, and vanishes otherwise.

    With `overwrite` an existing folder stays in place until the new one is complete.

    Raises:
        OutputError: as `write_atomically`.
    """
    check_output(path, overwrite=overwrite)
    temporary = temporary_sibling(path)
    try:
        with output_errors(path):
            temporary.mkdir()
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    _flush_to_disk(file)
            _put_folder_in_place(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON object for people to read, whole or not at all; refuse numbers that are not finite."""
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path, *, error: type[Speech2LipError] = Speech2LipError) -> dict[str, Any]:
    """Read a JSON object; raise `error` with one line when the file is missing, unreadable or damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as fault:
        raise error(f"{path} is missing.") from fault
    except (UnicodeDecodeError, json.JSONDecodeError) as fault:
        raise error(f"{path} is damaged: it is not JSON ({fault}).") from fault
    except OSError as fault:
        raise error(f"{path} cannot be read: {fault.strerror}.") from fault
    if not isinstance(values, dict):
        raise error(f"{path} is damaged: it should hold a JSON object, not a {type(values).__name__}.")
    return values


def _put_folder_in_place(temporary: Path, path: Path) -> None:
    """Rename `temporary` to `path`; an older folder steps aside first and is removed only afterwards."""
    if not path.exists():
        temporary.rename(path)
        return
    old = temporary_sibling(path)
    path.rename(old)
    try:
        temporary.rename(path)
    except OSError:
        old.rename(path)
        raise
    if old.is_dir():
        shutil.rmtree(old)
    else:
        old.unlink()


def _flush_to_disk(file: Path) -> None:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())
