from pathlib import Path

import numpy as np
import pytest

from speech2lip.decomposition.footage import pack_landmarks, read_footage, squeeze_landmarks, unpack_landmarks
from speech2lip.errors import FootageError


def test_packed_landmarks_keep_a_fiftieth_of_a_pixel_and_missing_faces() -> None:
    points = np.random.default_rng(0).uniform(-100, 600, (5, 478, 3)).astype(np.float32)
    points[2] = np.nan
    found = unpack_landmarks(pack_landmarks(points, 512), {"width": 512, "height": 300})
    assert np.isnan(found[2]).all()
    assert np.nanmax(np.abs(found - points)) < 0.02


def test_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FootageError, match="speech2lip prepare"):
        read_footage(tmp_path / "none.footage")


def test_an_unfinished_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "takes").mkdir()
    with pytest.raises(FootageError, match="not finished"):
        read_footage(tmp_path)


def test_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "footage.json").write_text('{"format": 99}')
    with pytest.raises(FootageError, match="99"):
        read_footage(tmp_path)


def test_squeezed_landmarks_come_back_exactly() -> None:
    random = np.random.default_rng(0)
    points = random.uniform(-200, 900, (30, 478, 3)).astype(np.float32)
    points[4:9] = np.nan
    packed = pack_landmarks(points, 640)
    take = {"width": 640, "height": 480}
    assert np.array_equal(
        unpack_landmarks(squeeze_landmarks(packed), take), unpack_landmarks(packed, take), equal_nan=True
    )
    assert unpack_landmarks(squeeze_landmarks(packed[:0]), take).shape == (0, 478, 3)
