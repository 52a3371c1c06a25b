"""One process at a time works on a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speech2lip.errors import OutputError
from speech2lip.storage import output_errors

LOCK = ".lock"
"""The file in a folder by which it is locked; the system unlocks it however the process ends."""


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
