"""Small videos made on the fly, for every test of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.media.made import VideoMaker


@pytest.fixture
def make_video(tmp_path: Path) -> VideoMaker:
    return VideoMaker(tmp_path)
