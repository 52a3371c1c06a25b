"""Landmarks in files: exact, and never all of them in memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from speech2lip.decomposition.tracking.landmarks import (
    BLOCK,
    KeptLandmarks,
    pack_landmarks,
    squeeze_landmarks,
)

FRAMES = 2 * BLOCK + 30


@pytest.fixture(scope="module")
def points() -> NDArray[np.float32]:
    random = np.random.default_rng(0)
    found = random.uniform(-200, 900, (FRAMES, 478, 3)).astype(np.float32)
    found[4:9] = np.nan
    return found


def kept(path: Path, tensors: dict[str, NDArray[Any]], frames: int = FRAMES) -> KeptLandmarks:
    save_file(tensors, path)
    return KeptLandmarks(path, frames=frames, longer_side=640)


def test_they_keep_a_fiftieth_of_a_pixel_and_missing_faces(
    tmp_path: Path, points: NDArray[np.float32]
) -> None:
    found = np.asarray(kept(tmp_path / "t.safetensors", squeeze_landmarks(pack_landmarks(points, 640))))
    assert found.dtype == np.float32
    assert np.isnan(found[4:9]).all()
    assert np.nanmax(np.abs(found - points)) < 0.02


@pytest.mark.parametrize(
    "key",
    [
        0, -1, BLOCK, slice(None), slice(BLOCK - 3, BLOCK + 3), slice(5, 5), slice(None, None, 100), ...,
        [FRAMES - 1, 0, BLOCK, 1], (3, [1, 7], slice(2)), (slice(2), [1, 7], 0), (..., slice(2)),
    ],
)  # fmt: skip
def test_they_are_looked_up_as_in_an_array(tmp_path: Path, points: NDArray[np.float32], key: Any) -> None:
    found = kept(tmp_path / "t.safetensors", squeeze_landmarks(pack_landmarks(points, 640)))
    assert np.array_equal(found[key], found[:][key], equal_nan=True)


def test_masks_choose_frames(tmp_path: Path, points: NDArray[np.float32]) -> None:
    found = kept(tmp_path / "t.safetensors", squeeze_landmarks(pack_landmarks(points, 640)))
    mask = np.isfinite(points[:, 0, 0])
    assert found[mask].shape == (FRAMES - 5, 478, 3)
    with pytest.raises(IndexError):
        found[FRAMES]


def test_a_take_without_frames_has_no_landmarks(tmp_path: Path) -> None:
    nothing = squeeze_landmarks(np.zeros((0, 478, 3), np.int16))
    assert kept(tmp_path / "t.safetensors", nothing, frames=0)[:].shape == (0, 478, 3)


def test_a_long_take_needs_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    still = squeeze_landmarks(np.tile(np.arange(478 * 3, dtype=np.int16).reshape(1, 478, 3), (BLOCK, 1, 1)))
    peaks = []
    for blocks in (4, 60):  # 15,000 frames: 88 MB when unpacked
        bounds = np.arange(blocks + 1) * len(still["landmarks"])
        tensors = {"landmarks": np.tile(still["landmarks"], blocks), "landmark_blocks": bounds}
        found = kept(tmp_path / f"{blocks}.safetensors", tensors, frames=blocks * BLOCK)
        tracemalloc.start()
        for frame in range(0, len(found), 100):
            assert found[frame, 1, 0] == found[0, 1, 0]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
    assert peaks[1] < 20e6
