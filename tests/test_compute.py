"""Cores, work done ahead, and compiled kernels where nothing can be kept or types are checked."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import speech2lip
from speech2lip.compute import compiled, prefetch, usable_cores

SOURCE = Path(speech2lip.__file__).parent


def test_cores_that_belong_to_others_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5, 3}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert usable_cores() == [3, 5]


def test_where_affinity_is_unknown_all_cores_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert usable_cores() == [0, 1, 2]


def test_nobody_counts_cores_by_himself() -> None:
    counting = [path.name for path in SOURCE.rglob("*.py") if "cpu_count" in path.read_text()]
    assert counting == ["compute.py"]


def _counting(log: list[str], *, upto: int, fails_at: int = -1) -> Generator[int]:
    try:
        for i in range(upto):
            if i == fails_at:
                raise ValueError("no such item")
            log.append(threading.current_thread().name)
            yield i
    finally:
        log.append("closed")


def test_all_items_come_in_order_from_another_thread() -> None:
    log: list[str] = []
    assert list(prefetch(_counting(log, upto=20))) == list(range(20))
    assert log[-1] == "closed"
    assert threading.current_thread().name not in log
    assert len(log) == 21


def test_none_and_fewer_than_are_looked_ahead() -> None:
    assert list(prefetch(_counting([], upto=0))) == []
    assert list(prefetch(_counting([], upto=2), most=9)) == [0, 1]


def test_an_error_comes_out_after_the_items_before_it() -> None:
    log: list[str] = []
    got: list[int] = []
    with pytest.raises(ValueError, match="no such item"):
        got.extend(prefetch(_counting(log, upto=9, fails_at=3)))
    assert got == [0, 1, 2]
    assert log[-1] == "closed"


def test_closing_stops_the_work() -> None:
    log: list[str] = []
    with closing(prefetch(_counting(log, upto=10_000), most=3)) as items:
        next(items)
    assert log[-1] == "closed"
    assert len(log) < 10


def _square(x: float) -> float:
    return x * x


def test_without_a_place_for_the_cache_everything_is_compiled_anew() -> None:
    """As in a read-only installation without a home folder."""
    program = (
        "import numba.core.caching as caching\n"
        "for kind in (caching.CompileResultCacheImpl, caching.CodeLibraryCacheImpl):\n"
        "    kind._locator_classes = []\n"
        "import numpy as np\n"
        "from speech2lip.inference import kernels\n"
        "from speech2lip_presenter import shading\n"
        "corners = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0]], np.float32)\n"
        "print(shading.vertex_normals(corners, np.array([[0, 1, 2]], np.int32))[:, 2])\n"
    )
    environment = os.environ | {"PYTHONPATH": str(SOURCE.parent)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment
    )
    assert done.stdout.strip() == "[-1. -1. -1.]", done.stderr


def test_a_full_disk_does_not_stop_a_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from numba.core import config
    from numba.core.caching import IndexDataCacheFile

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(IndexDataCacheFile, "save", full)
    square = compiled()(_square)
    assert square(3.0) == 9
    assert square(3) == 9  # another signature, compiled and not kept either


def test_what_was_compiled_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from numba.core import config

    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    assert compiled(fastmath=True)(_square)(3.0) == 9
    assert list(tmp_path.rglob("*.nbi"))


def test_kernels_are_compiled_in_one_way() -> None:
    named = [path.name for path in SOURCE.rglob("*.py") if re.search(r"\bnumba\b", path.read_text())]
    assert sorted(set(named) - {"_doctor.py"}) == ["compute.py"]
