"""Files and folders that appear whole or not at all, and that never take the place of somebody else's."""

from __future__ import annotations

import ctypes
import errno
import fnmatch
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech2lip.errors import OutputError, Speech2LipError

if TYPE_CHECKING:
    from torch import Tensor

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_IN_THE_WAY = {errno.EEXIST, errno.ENOTDIR}
_LEFT_BY_SYSTEMS = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
_MOST_JSON_BYTES = 64 * 2**20
_umask_lock = threading.Lock()

LOCK = ".lock"
"""The file in a folder by which it is locked; the system unlocks it however the process ends."""


@dataclass(frozen=True)
class FolderKind:
    """A folder format of ours: how it is told from folders of other people."""

    name: str
    """With its article, for messages: "an avatar"."""
    manifest: str
    """The JSON file that every such folder has."""
    key: str
    """A key that the manifest has."""
    files: tuple[str, ...]
    """Patterns of all files that may be in it, relative to the folder."""


def output_error(error: OSError, path: Path) -> OutputError | None:
    """The one line for a fault of the place written to, or None when the error is about something else."""
    if error.errno in _FULL:
        folder = path.absolute().parent
        return OutputError(
            f"No room left while writing {path}: free some space in {folder}, or write elsewhere."
        )
    if error.errno in _FORBIDDEN:
        return OutputError(f"Cannot write {path}: permission denied. Choose a folder that you may write to.")
    if error.errno in _IN_THE_WAY:
        return OutputError(f"Cannot write {path}: a file is in the way. Choose another name.")
    return None


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn a full disk, a missing permission or a file in the way into an OutputError about `path`."""
    try:
        yield
    except OSError as error:
        raise (output_error(error, path) or error) from error


def check_output(path: Path, *, overwrite: bool = False, kind: FolderKind | None = None) -> None:
    """Raise OutputError now if `path` could not be written later: call it before long work.

    Args:
        path: the file or folder to be made.
        overwrite: whether one that is there may be replaced.
        kind: of a folder: only one of this kind is ever replaced.
    """
    if len(os.fsencode(path.name)) > 255:
        raise OutputError(f"Cannot write {path}: the name is too long. Choose a shorter one.")
    folder = _resolved(path).parent
    if not folder.is_dir():
        raise OutputError(
            f"Cannot write {path}: the folder {folder} does not exist. Make it first, or choose another."
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"Cannot write {path}: the folder {folder} is not writable. Choose another.")
    if path.exists():
        if not overwrite:
            raise _exists_already(path)
        if kind is not None:
            require_kind(path, kind)
        elif path.is_dir():
            raise OutputError(f"Cannot write {path}: it is a folder. Choose another name.")


def require_kind(path: Path, kind: FolderKind) -> None:
    """Raise OutputError unless all that is in a folder is of a kind, so that it may be replaced.

    An empty folder may be; a file, or a folder with anything else in it, may not.
    """
    if not path.is_dir():
        raise OutputError(f"{path} is a file, not {kind.name}; it is left alone: choose another name.")
    if not any(path.iterdir()):
        return
    try:
        known = kind.key in read_json(path / kind.manifest)
    except Speech2LipError:
        known = False
    if not known:
        raise OutputError(
            f"{path} is not {kind.name} (it has no {kind.manifest} of ours); it is left alone: choose "
            "another name, or remove it yourself."
        )
    for file in path.rglob("*"):
        name = file.relative_to(path).as_posix()
        folder = file.is_dir() and not file.is_symlink()
        expected = file.name in _LEFT_BY_SYSTEMS or any(fnmatch.fnmatchcase(name, p) for p in kind.files)
        if not folder and not expected:
            raise OutputError(
                f"{path} also holds {name}, which is no part of {kind.name} and would be lost; move it "
                "away, or choose another name."
            )


@contextmanager
def write_atomically(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path to write to; it becomes `path` when the block ends well, and vanishes otherwise.

    Where `path` is a link, what it points to is written.

    Raises:
        OutputError: folder missing or not writable, disk full, or `path` exists and `overwrite` is off.
    """
    check_output(path, overwrite=overwrite)
    with _temporary_beside(path) as (temporary, target):
        yield temporary
        _make_lasting(temporary)
        if overwrite:
            temporary.replace(target)
        else:
            _rename_new(temporary, target, path)


@contextmanager
def new_folder_atomically(path: Path, *, replaces: FolderKind | None = None) -> Iterator[Path]:
    """Yield a temporary folder to fill; it becomes `path` when the block ends well, and vanishes otherwise.

    Args:
        path: the folder to be made; where it is a link, what it points to.
        replaces: a folder of this kind that is there is replaced, in one step, when the new one is complete.

    Raises:
        OutputError: as `write_atomically`, or what is there is not of that kind.
    """
    check_output(path, overwrite=replaces is not None, kind=replaces)
    with _temporary_beside(path) as (temporary, target):
        recover_folder(target)
        temporary.mkdir()
        yield temporary
        inside = sorted(temporary.rglob("*"), reverse=True)  # a folder after what is in it
        for part in [*inside, temporary]:
            _make_lasting(part)
        if replaces is not None and target.exists():  # also where it has come in the meantime
            require_kind(path, replaces)
            _replace_folder(temporary, target)
        else:
            _rename_new(temporary, target, path)


@contextmanager
def _temporary_beside(path: Path) -> Iterator[tuple[Path, Path]]:
    """Yield a temporary name, under which nothing is left in the end, and what the path leads to."""
    target = _resolved(path)
    _remove_stale_parts(target)
    temporary = temporary_sibling(target)
    try:
        with output_errors(path):
            yield temporary, target
            sync(target.parent)
    finally:
        _remove(temporary)


def _replace_folder(new: Path, target: Path) -> None:
    """Put a complete folder in the place of another one, which is then removed.

    Where the system can swap two names the target is never missing. Elsewhere the old folder steps aside
    for a moment; `recover_folder` brings it back should the process be killed just then.
    """
    if not _rename(new, target, _EXCHANGE):
        aside = replaced_name(target)
        target.rename(aside)
        try:
            new.rename(target)
        except OSError:
            aside.rename(target)
            raise
        new = aside
    shutil.rmtree(new)


def recover_folder(path: Path) -> None:
    """Bring back a folder that had stepped aside when its replacement was killed."""
    path = _resolved(path)
    aside = replaced_name(path)
    if aside.is_dir():
        if path.exists():
            shutil.rmtree(aside)
        else:
            aside.rename(path)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON object for people to read, whole or not at all; refuse numbers that are not finite."""
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        content = text.encode()
    except UnicodeEncodeError:  # a path whose name is no text: escapes can say it
        content = json.dumps(values, indent=2, allow_nan=False).encode()
    with write_atomically(path) as temporary:
        temporary.write_bytes(content + b"\n")


def read_json(path: Path, *, error: type[Speech2LipError] = Speech2LipError) -> dict[str, Any]:
    """Read a JSON object; raise `error` with one line when the file is missing, unreadable or damaged."""
    try:
        if path.stat().st_size > _MOST_JSON_BYTES:
            raise error(f"{path} is damaged: {path.stat().st_size} bytes are too many for it.")
        values = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError as fault:
        raise error(f"{path} is missing.") from fault
    except RecursionError as fault:
        raise error(f"{path} is damaged: it is nested too deeply.") from fault
    except ValueError as fault:  # no UTF-8, no JSON, numbers of thousands of digits
        reason = " ".join(str(fault).split())[:160]
        raise error(f"{path} is damaged: it is not JSON ({reason}).") from fault
    except OSError as fault:
        raise error(f"{path} cannot be read: {fault.strerror}.") from fault
    if not isinstance(values, dict):
        raise error(f"{path} is damaged: it should hold a JSON object, not a {type(values).__name__}.")
    return values


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def save_tensors(path: Path, tensors: Mapping[str, Any], *, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file whole or not at all, readable for everybody whom the umask allows.

    Args:
        path: the file.
        tensors: numpy arrays or torch tensors, on any device.
        metadata: text by name.

    Raises:
        OutputError: as `write_atomically`.
    """
    import numpy as np
    from safetensors.numpy import save

    plain = {name: one.detach().cpu() if hasattr(one, "detach") else one for name, one in tensors.items()}
    arrays = {name: np.ascontiguousarray(one) for name, one in plain.items()}
    # A number has no dimension, which `ascontiguousarray` would give it.
    content = save({name: array.reshape(np.shape(plain[name])) for name, array in arrays.items()}, metadata)
    with write_atomically(path) as temporary:
        temporary.write_bytes(content)


def kept_tensors(path: Path, key: str) -> dict[str, Tensor] | None:
    """Read what `save_tensors` kept with this `key` among its metadata; None where there is no such file."""
    from safetensors import SafetensorError, safe_open

    with suppress(OSError, SafetensorError), safe_open(path, framework="pt") as file:
        if (file.metadata() or {}).get("key") == key:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from working on a folder, which must exist, while the block runs.

    Raises:
        OutputError: another process works on it.
    """
    from filelock import FileLock, Timeout

    # A lock of its own each time: two threads of one process exclude each other too.
    lock = FileLock(folder / LOCK, timeout=0, is_singleton=False, thread_local=False)
    try:
        with output_errors(folder / LOCK):
            lock.acquire()
    except Timeout as error:
        raise OutputError(
            f"another speech2lip is at work on {folder}; wait for it to end, or stop it"
        ) from error
    try:
        yield
    finally:
        lock.release()


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    if path.is_dir() and os.name != "posix":
        return  # only POSIX opens folders
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system without it
            raise
    finally:
        os.close(handle)


def _make_lasting(path: Path) -> None:
    """Bring a file or folder to the disk; one that a library made for its owner alone gets the usual mode."""
    if path.is_file() and os.name == "posix" and stat.S_IMODE(path.stat().st_mode) == 0o600:
        with _umask_lock:
            mask = os.umask(0o077)
            os.umask(mask)
        path.chmod(0o666 & ~mask)
    sync(path)


def _exists_already(path: Path) -> OutputError:
    return OutputError(
        f"{path} exists already. Choose another name, or allow it to be overwritten (--overwrite)."
    )


def _resolved(path: Path) -> Path:
    return path.resolve() if path.is_symlink() else path.absolute()


def temporary_sibling(path: Path) -> Path:
    """A hidden, unused, short name beside `path`, with its suffix: renaming it into place is one step."""
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= 16 else ""
    return path.with_name(f"{_part_prefix(path)}{os.getpid()}-{secrets.token_hex(4)}.part{suffix}")


def replaced_name(path: Path) -> Path:
    """The hidden name of a folder that has stepped aside for a moment to be replaced."""
    return path.with_name(f"{_prefix(path)}.replaced")


def _remove_stale_parts(path: Path) -> None:
    """Remove what processes of this machine that are no longer alive have left of writing `path`."""
    prefix = _part_prefix(path)
    pattern = re.compile(rf"{re.escape(prefix)}(\d+)-[0-9a-f]{{8}}\.part")
    for sibling in path.parent.glob(f"{prefix}*"):
        found = pattern.match(sibling.name)
        if found is not None and not _is_alive(int(found.group(1))):
            _remove(sibling)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _part_prefix(path: Path) -> str:
    """What the temporary names of a path begin with on this machine."""
    return f"{_prefix(path)}-{_digest(socket.gethostname().encode(), 4)}-"


def _prefix(path: Path) -> str:
    stem = re.sub(r"[^A-Za-z0-9_-]", "", path.stem)[:24]
    return f".{stem}.{_digest(os.fsencode(path.name), 8)}"


def _digest(content: bytes, length: int) -> str:
    return hashlib.sha256(content).hexdigest()[:length]


def _is_alive(process: int) -> bool:
    if process == os.getpid() or os.name != "posix":
        return True  # elsewhere no signal asks without harm: what was left stays
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


_NO_REPLACE, _EXCHANGE = 1, 2
"""Flags of renameat2(2)."""
_NOT_HERE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}
"""Errors of a kernel or file system that cannot do it."""
_AT_FDCWD = -100


def _rename_new(temporary: Path, target: Path, path: Path) -> None:
    """Rename without ever replacing anything.

    Raises:
        OutputError: the target exists; which messages call `path`.
    """
    try:
        if _rename(temporary, target, _NO_REPLACE):
            return
        if not temporary.is_dir():
            try:
                os.link(temporary, target)
            except FileExistsError:
                raise
            except OSError:  # no hard links here: the best that is left is to look first
                pass
            else:
                temporary.unlink()
                return
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        temporary.rename(target)
    except FileExistsError as error:
        raise _exists_already(path) from error


def _rename(source: Path, target: Path, flag: int) -> bool:
    """Rename as a flag says, in one step; False where the system cannot, and nothing has changed."""
    call = _system_call()
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), ctypes.c_uint(flag)) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NOT_HERE:
        return False
    raise OSError(code, os.strerror(code), str(source), None, str(target))


@cache
def _system_call() -> Callable[..., int] | None:
    """Linux's renameat2(2), where there is one."""
    try:
        return ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, TypeError, AttributeError):
        return None
