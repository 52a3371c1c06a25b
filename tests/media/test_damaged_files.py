"""Files damaged at random end in a right result or in one line: truncated, bits flipped, headers swapped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speech2lip.errors import Speech2LipError
from speech2lip.media.sound import SoundReader, resample_blocks
from speech2lip.media.video import probe_video, read_coded, read_frames
from tests.media.made import RATE, VideoMaker, clicks

_HEADER = 1024
MOST_SECONDS = 700.0
"""Of sound that may come out: a second was put in, and gaps are bounded."""


@pytest.fixture(scope="module")
def sound_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("sound")
    wave = clicks(0.5, [0.1, 0.3])
    for name, how in (("a.wav", "PCM_16"), ("b.wav", "FLOAT"), ("a.flac", "PCM_16"), ("a.ogg", "VORBIS")):
        soundfile.write(folder / name, wave, RATE, subtype=how)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def video_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    make = VideoMaker(tmp_path_factory.mktemp("video"))
    wave = clicks(0.3, [0.1])
    for name in ("a.mp4", "a.mkv"):
        make(name, size=(32, 32), frames=6, pix_fmt="yuv420p", wave=wave)
    for name in ("a.mpg", "a.avi"):
        make(name, size=(32, 32), frames=6, pix_fmt="yuv420p", codec="mpeg2video")
    return sorted(make.folder.iterdir())


def damaged(content: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """Damage a file in one way: cut it, flip bits at its start or anywhere, or swap its header."""
    data = np.frombuffer(content, np.uint8).copy()
    way = random.integers(5)
    if way == 0:
        return content[: random.integers(len(content))]
    if way == 1:
        header = int(random.integers(16, _HEADER))
        return other[:header] + content[header:]
    if way == 2:  # whole numbers at the extremes, which sizes and times are made of
        for _ in range(random.integers(1, 4)):
            place = random.integers(max(1, min(len(data), _HEADER) - 4))
            data[place : place + 4] = random.choice([0, 0x7F, 0x80, 0xFF], 4)
        return data.tobytes()
    reach = min(_HEADER, len(data)) if way == 3 else len(data)
    places = random.integers(reach, size=random.integers(1, 20))
    data[places] ^= (1 << random.integers(8, size=len(places))).astype(np.uint8)
    return data.tobytes()


def read_sound(path: Path) -> None:
    reader = SoundReader(path)
    assert reader.seconds is None or reader.seconds > 0
    samples = 0
    for block in resample_blocks(reader, reader.sample_rate):
        assert block.dtype == np.float32
        assert np.isfinite(block).all()
        samples += len(block)
    assert samples < MOST_SECONDS * RATE


def read_video(path: Path) -> None:
    info = probe_video(path)
    assert info.seconds >= 0
    assert 1 <= info.fps <= 1000
    frames = list(read_frames(path))
    times = [frame.time for frame in frames]
    assert times == sorted(set(times))
    assert all(frame.rgb.shape == (info.height, info.width, 3) for frame in frames)
    assert len(list(read_frames(path, start_frame=2, stop_frame=4))) <= 2
    assert len(read_coded(path, start_frame=1, stop_frame=3)) <= 2


@pytest.mark.parametrize(("kind", "rounds"), [("sound", 150), ("video", 150)])
def test_any_damage(request: pytest.FixtureRequest, tmp_path: Path, kind: str, rounds: int) -> None:
    files: list[Path] = request.getfixturevalue(f"{kind}_files")
    random = np.random.default_rng(7)
    good, told = 0, []
    for number in range(rounds):
        file, other = (files[i] for i in random.integers(len(files), size=2))
        path = tmp_path / f"{number}{file.suffix}"
        path.write_bytes(damaged(file.read_bytes(), other.read_bytes(), random))
        for read in (read_sound, read_video) if kind == "video" else (read_sound,):
            try:
                read(path)
                good += 1
            except Speech2LipError as error:
                told.append(str(error))
        path.unlink()
    assert not any("\n" in line for line in told)
    assert good > rounds // 10, "most files were damaged beyond reading: nothing was tried"
