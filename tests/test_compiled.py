"""Compiled kernels where nothing can be kept, and where types are checked."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import speech2lip
from speech2lip.compiled import compiled

SOURCE = Path(speech2lip.__file__).parent


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
    assert sorted(set(named) - {"_doctor.py"}) == ["compiled.py"]
