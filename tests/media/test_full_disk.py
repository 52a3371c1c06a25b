"""A disk that is full is one line, wherever sound or video is written."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speech2lip.errors import OutputError
from speech2lip.media.sound import read_wave, write_flac
from speech2lip.media.video_writer import VideoFormat, VideoWriter
from tests.media.made import RATE


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 kB; tests that ask for it are skipped where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)],
            capture_output=True,
            check=False,
        )
    except OSError as error:
        pytest.skip(f"no small disk: {error}")
    if made.returncode:
        pytest.skip(f"no small disk: {made.stderr.decode(errors='replace').strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def noise(seconds: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.random.default_rng(0).uniform(-1, 1, round(seconds * RATE)).astype(np.float32)


def test_sound(small_disk: Path) -> None:
    with pytest.raises(OutputError, match="No room left while writing"):
        write_flac(small_disk / "sound.flac", noise(10))


def _write(path: Path, pictures: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    with VideoWriter(path, VideoFormat(width=160, height=120, fps=Fraction(25))) as writer:
        for picture in pictures:
            writer.write(picture)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_video(small_disk: Path, suffix: str) -> None:
    """In the middle of it, and at its end, when its index is written."""
    random = np.random.default_rng(0)
    for frames in (60, 2):
        (small_disk / "filler").write_bytes(b"x" * (120_000 if frames == 2 else 0))
        pictures = random.integers(0, 255, (frames, 120, 160, 3), np.uint8)
        with pytest.raises(OutputError, match="No room left while writing") as error:
            _write(small_disk / f"a{suffix}", pictures)
        assert "\n" not in str(error.value)
        assert [file.name for file in small_disk.iterdir()] == ["filler"]


def test_sound_on_a_disk_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No room left while writing"):
        write_flac(tmp_path / "sound.flac", noise(1))


def test_sound_is_what_libsndfile_writes(tmp_path: Path) -> None:
    wave = 0.5 * noise(1)
    write_flac(tmp_path / "a.flac", wave)
    soundfile.write(tmp_path / "b.flac", wave, RATE, format="FLAC", subtype="PCM_16")
    assert (tmp_path / "a.flac").read_bytes() == (tmp_path / "b.flac").read_bytes()
    assert np.abs(read_wave(tmp_path / "a.flac") - wave).max() < 1e-4
