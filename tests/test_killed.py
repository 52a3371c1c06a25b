"""Killed at any moment, the same command goes on and nothing whole was lost; a full disk is one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mediapipe", reason="preparing footage needs mediapipe")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not hasattr(os, "fork") or sys.platform != "linux", reason="needs fork and tmpfs of Linux"
    ),
]


def tried(folder: Path, work: str, how: str, count: int) -> dict[str, Any]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    ended = subprocess.run(
        [sys.executable, "-m", "tests.killing", str(folder), work, how, str(count)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert ended.stdout, ended.stderr
    result: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    assert result["wrong"] == [], ended.stderr
    return result


@pytest.mark.parametrize(("work", "moments"), [("prepare", 12), ("train", 10), ("replace", 10), ("speak", 8)])
def test_killed_at_seeded_moments_nothing_is_lost(tmp_path: Path, work: str, moments: int) -> None:
    result = tried(tmp_path, work, "kill", moments)
    assert result["moments"] == moments
    assert result["killed"] > 0


@pytest.fixture
def tmpfs(tmp_path: Path) -> Path:
    place = tmp_path / "try"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no small disk can be made here: mount needs root")
    subprocess.run(["umount", str(place)], check=True)
    return tmp_path


@pytest.mark.parametrize(("work", "sizes"), [("prepare", 10), ("train", 10), ("replace", 10), ("speak", 8)])
def test_a_full_disk_is_one_line_and_nothing_is_lost(tmpfs: Path, work: str, sizes: int) -> None:
    result = tried(tmpfs, work, "full", sizes)
    assert result["full"] > 0
