"""Arrays in files are what they should be, and files lie where they seem to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from speech2lip.checks import Unfit
from speech2lip.errors import AvatarError
from speech2lip.formats import Kept, inside, read_arrays, rigid, rising

KEPT = {
    "times": Kept(np.float64, ("T",), 0, 1e6),
    "light": Kept(np.float32, ("T", 3), 0, 255, missing=True),
    "left_out": Kept(np.uint8, ("T",), 0, 9, optional=True),
}


def _file(path: Path, **more: NDArray[Any]) -> Path:
    save_file({"times": np.arange(4.0), "light": np.ones((4, 3), np.float32), **more}, path)
    return path


def test_arrays_come_as_asked_for_and_sizes_are_found(tmp_path: Path) -> None:
    sizes: dict[str, int] = {}
    path = _file(tmp_path / "a.safetensors", light=np.full((4, 3), np.nan), extra=np.zeros(7))
    found = read_arrays(path, KEPT, sizes)
    assert sizes == {"T": 4}
    assert sorted(found) == ["light", "times"]
    assert found["light"].dtype == np.float32


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"times": np.arange(5.0)}, r"light must be float32 \[5, 3\], not F32 \[4, 3\]"),
        ({"light": np.ones((4, 4), np.float32)}, r"light must be float32 \[4, 3\], not F32 \[4, 4\]"),
        ({"times": np.zeros((4, 1))}, r"times must be float64 \[T\], not F64 \[4, 1\]"),
        ({"times": np.arange(4)}, r"times must be float64 \[T\], not I64 \[4\]"),
        ({"times": np.array([0, 1, np.nan, 3])}, r"times\[2\] must be a number from 0 to 1e\+06, not nan"),
        ({"times": np.array([0, np.inf, 2, 3])}, r"times\[1\] must be a number from 0 to 1e\+06, not inf"),
        ({"light": np.full((4, 3), 300, np.float32)}, r"light\[0, 0\] must be .* 255, not 300"),
        ({"left_out": np.array([0, 1, 200, 0], np.uint8)}, r"left_out\[2\] must be .* 9, not 200"),
    ],
)
def test_what_they_are_not_is_told(tmp_path: Path, arrays: dict[str, NDArray[Any]], told: str) -> None:
    with pytest.raises(Unfit, match=told):
        read_arrays(_file(tmp_path / "a.safetensors", **arrays), KEPT, {})


def test_a_missing_array_and_no_file_of_arrays_are_told(tmp_path: Path) -> None:
    save_file({"times": np.arange(4.0)}, tmp_path / "a.safetensors")
    with pytest.raises(Unfit, match="light is missing"):
        read_arrays(tmp_path / "a.safetensors", KEPT, {})
    (tmp_path / "b.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(Unfit, match="header"):
        read_arrays(tmp_path / "b.safetensors", KEPT, {})


def test_only_rigid_transforms_pass() -> None:
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[1, :3, 3] = (1, 2, 3)
    rigid("poses", poses)
    rigid("pose", poses[1])
    for place, value in (((2, 0, 0), 1.1), ((2, 0, 0), -1.0), ((2, 3, 3), 0.0), ((2, 3, 0), 0.1)):
        wrong = poses.copy()
        wrong[place] = value
        with pytest.raises(Unfit, match=r"poses\[2\] must be a rotation and a shift"):
            rigid("poses", wrong)


def test_times_rise() -> None:
    rising("times", np.array([0.0, 0.1, 0.2]))
    with pytest.raises(Unfit, match=r"times\[2\] must come after times\[1\]"):
        rising("times", np.array([0.0, 0.1, 0.1, 0.3]))
    with pytest.raises(Unfit, match="times is empty"):
        rising("times", np.zeros(0))


def test_files_lie_in_their_folder(tmp_path: Path) -> None:
    folder, outside = tmp_path / "a.avatar", tmp_path / "secret"
    (folder / "base").mkdir(parents=True)
    outside.mkdir()
    (outside / "take.json").write_text("{}")
    (folder / "base" / "take.json").write_text("{}")
    (folder / "linked.json").symlink_to(outside / "take.json")
    (folder / "elsewhere").symlink_to(outside)
    os.mkfifo(folder / "pipe")
    assert inside(folder, "base/take.json", error=AvatarError) == folder / "base" / "take.json"
    for name, told in (
        ("linked.json", "is a link"),
        ("elsewhere/take.json", "is a link"),
        ("base/none.json", "is missing"),
        ("base", "must be a file"),
        ("linked.json/x", "is a link"),
        ("pipe", "must be a file"),
        ("base/take.json/x", "cannot be read: Not a directory"),
    ):
        with pytest.raises(AvatarError, match=told):
            inside(folder, name, error=AvatarError)


def test_the_folder_itself_may_be_reached_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.avatar").mkdir()
    (tmp_path / "real.avatar" / "avatar.json").write_text("{}")
    (tmp_path / "a.avatar").symlink_to(tmp_path / "real.avatar")
    assert inside(tmp_path / "a.avatar", "avatar.json", error=AvatarError).is_file()
