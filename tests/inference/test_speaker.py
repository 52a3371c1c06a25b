"""A base video that is cut short, missing or another one is told in one line, wherever it is read."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from speech2lip.avatar import BaseVideo, read_avatar
from speech2lip.errors import AvatarError
from speech2lip.inference.speaker import BaseVideoReader
from speech2lip.media.video_writer import VideoFormat, VideoWriter
from tests.made_face import SIZE, made_avatar


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_avatar(tmp_path_factory.mktemp("a") / "a.avatar")


@pytest.fixture
def base(whole: Path, tmp_path: Path) -> BaseVideo:
    return read_avatar(Path(shutil.copytree(whole, tmp_path / "a.avatar"))).bases[0]


def _write(path: Path, size: tuple[int, int], frames: int) -> None:
    with VideoWriter(
        path, VideoFormat(width=size[1], height=size[0], fps=Fraction(25)), overwrite=True
    ) as writer:
        for _ in range(frames):
            writer.write(np.full((*size, 3), 90, np.uint8))


def _told(base: BaseVideo) -> list[str]:
    """What reading every frame says, coded and as RGB."""
    with BaseVideoReader(base) as pictures, pytest.raises(AvatarError) as coded:
        [pictures[index] for index in range(len(base.times))]
    with pytest.raises(AvatarError) as rgb:
        list(base.frames(0, len(base.times)))
    return [str(coded.value), str(rgb.value)]


@pytest.mark.parametrize("fault", ["short", "cut", "missing", "other", "nonsense"])
def test_a_faulty_base_video_is_one_line(base: BaseVideo, fault: str) -> None:
    path = base.picture_path
    content = path.read_bytes()
    if fault == "short":
        _write(path, SIZE, len(base.times) - 5)
    elif fault == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif fault == "missing":
        path.unlink()
    elif fault == "other":
        _write(path, (64, 64), len(base.times))
    else:
        path.write_bytes(b"nonsense" * 1000)
    for told in _told(base):
        assert str(path) in told
        assert "\n" not in told


def test_a_good_one_is_read_to_its_end(base: BaseVideo) -> None:
    with BaseVideoReader(base) as pictures:
        for index in range(len(base.times)):
            assert pictures[index].shape == (base.height * 3 // 2, base.width)
    assert len(list(base.frames(0, len(base.times)))) == len(base.times)
