"""Renames that the system does in one step: two names swapped, and a name taken only where it is free."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

_NOT_HERE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}
"""Errors of a kernel or file system that cannot do it."""
_AT_FDCWD = -100

Rename = Callable[[bytes, bytes, int], int]


def exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step; False where the system cannot, and nothing has changed.

    Source: renameat2(2) of Linux, renamex_np(2) of macOS.

    Raises:
        OSError: one of them does not exist, or may not be renamed.
    """
    return _rename(first, second, linux=2, mac=2)


def rename_to_free_name(source: Path, target: Path) -> None:
    """Rename without ever replacing anything.

    Raises:
        FileExistsError: `target` exists.
    """
    if _rename(source, target, linux=1, mac=4):
        return
    if source.is_dir():
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        source.rename(target)
        return
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # no hard links here: the best that is left is to look first
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        source.rename(target)
        return
    source.unlink()


def _rename(source: Path, target: Path, *, linux: int, mac: int) -> bool:
    function = _system_call()
    if function is None:
        return False
    flag = mac if sys.platform == "darwin" else linux
    if function(os.fsencode(source), os.fsencode(target), flag) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NOT_HERE:
        return False
    raise OSError(code, os.strerror(code), str(source), None, str(target))


@cache
def _system_call() -> Rename | None:
    try:
        library = ctypes.CDLL(None, use_errno=True)
    except (OSError, TypeError):  # Windows has no library of that name
        return None
    if sys.platform == "darwin" and hasattr(library, "renamex_np"):
        return lambda source, target, flag: int(library.renamex_np(source, target, ctypes.c_uint(flag)))
    if sys.platform == "linux" and hasattr(library, "renameat2"):
        return lambda source, target, flag: int(
            library.renameat2(_AT_FDCWD, source, _AT_FDCWD, target, ctypes.c_uint(flag))
        )
    return None
