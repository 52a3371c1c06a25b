"""What an avatar carries to speak over is chosen among frames that can be spoken over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from speech2lip.decomposition.footage import Footage, read_footage
from speech2lip.training.train import _write_bases
from tests.evaluation.made_footage import write_footage
from tests.made_face import head_pose


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Footage:
    return read_footage(write_footage(tmp_path_factory.mktemp("f") / "a.footage", ("a", "b")))


def _turned(footage: Footage, away: slice) -> Footage:
    poses = np.tile(head_pose(), (40, 1, 1))
    poses[away] = head_pose(turn=(0, 1.4, 0))
    return replace(footage, takes=tuple(replace(take, camera_from_head=poses) for take in footage.takes))


def test_runs_end_where_the_head_turns_away(footage: Footage, tmp_path: Path) -> None:
    assert _write_bases(tmp_path, _turned(footage, slice(24, 30)), 60.0) == ["a", "b"]
    kept = {name: load_file(tmp_path / name / "track.safetensors") for name in ("a", "b")}
    assert {name: len(track["times"]) for name, track in kept.items()} == {"a": 24, "b": 16}
    assert all(np.allclose(track["camera_from_head"], head_pose()) for track in kept.values())


def test_a_head_that_always_looks_away_has_a_base_all_the_same(footage: Footage, tmp_path: Path) -> None:
    assert _write_bases(tmp_path, _turned(footage, slice(0, 40)), 60.0) == ["a", "b"]
