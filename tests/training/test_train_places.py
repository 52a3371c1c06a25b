"""Where training puts things."""

from __future__ import annotations

from pathlib import Path

import pytest

from speech2lip.errors import OutputError
from speech2lip.training.train import footage_beside, train


@pytest.mark.parametrize(
    ("avatar", "footage"),
    [("ana.avatar", "ana.footage"), ("ana.v1", "ana.v1.footage"), ("ana.v2", "ana.v2.footage")],
)
def test_every_avatar_has_footage_of_its_own(avatar: str, footage: str) -> None:
    assert footage_beside(Path("people") / avatar) == Path("people") / footage


def test_a_folder_of_videos_is_no_avatar_to_overwrite(tmp_path: Path) -> None:
    takes = tmp_path / "takes"
    takes.mkdir()
    (takes / "monday.mp4").write_text("video")
    with pytest.raises(OutputError, match=r"is not an avatar.*left alone"):
        train([takes / "monday.mp4"], avatar=takes, overwrite=True)
    assert [path.name for path in takes.iterdir()] == ["monday.mp4"]
