"""Hidden names of files and folders that are being written, and what of them a killed process has left."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import socket
from pathlib import Path

_STEM = 24
_SUFFIX = 16


def part_name(path: Path) -> str:
    """Return a hidden, unused name for what will become `path`, with its suffix, and short."""
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _SUFFIX else ""
    return f"{_prefix(path)}-{os.getpid()}-{secrets.token_hex(4)}.part{suffix}"


def replaced_name(path: Path) -> str:
    """Return the hidden name of a folder that has stepped aside for a moment to be replaced."""
    return f"{_prefix(path, machine=False)}.replaced"


def remove_stale_parts(path: Path) -> None:
    """Remove what processes of this machine that are no longer alive have left of writing `path`."""
    prefix = f"{_prefix(path)}-"
    pattern = re.compile(rf"{re.escape(prefix)}(\d+)-[0-9a-f]{{8}}\.part")
    for sibling in path.parent.glob(f"{prefix}*"):
        found = pattern.match(sibling.name)
        if found is None or _is_alive(int(found.group(1))):
            continue
        if sibling.is_dir() and not sibling.is_symlink():
            shutil.rmtree(sibling, ignore_errors=True)
        else:
            sibling.unlink(missing_ok=True)


def _prefix(path: Path, *, machine: bool = True) -> str:
    stem = re.sub(r"[^A-Za-z0-9_-]", "", path.stem)[:_STEM]
    own = _digest(os.fsencode(path.name), 8)
    where = f"-{_digest(socket.gethostname().encode(), 4)}" if machine else ""
    return f".{stem}.{own}{where}"


def _digest(content: bytes, length: int) -> str:
    return hashlib.sha256(content).hexdigest()[:length]


def _is_alive(process: int) -> bool:
    if process == os.getpid():
        return True
    if os.name != "posix":
        return True  # no signal asks without harm there: what was left stays
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
