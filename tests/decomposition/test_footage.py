"""The footage folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from speech2lip.decomposition.footage import read_footage
from speech2lip.errors import FootageError
from tests.evaluation.made_footage import write_footage


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


def test_a_damaged_track_is_told_in_one_line(tmp_path: Path) -> None:
    folder = write_footage(tmp_path / "made.footage")
    (folder / "takes" / "b" / "track.safetensors").write_bytes(b"nothing")
    with pytest.raises(FootageError, match="is damaged"):
        read_footage(folder)
