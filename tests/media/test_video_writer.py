"""Videos go out with true colours and times, whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from speech2lip.errors import OutputError
from speech2lip.media.sound import SoundReader, read_wave
from speech2lip.media.video import VideoReader, probe_video, read_frames
from speech2lip.media.video_writer import VideoFormat, VideoWriter
from tests.media.made import clicks, number_of, picture


def write(path: Path, *, frames: int = 30, fps: Fraction = Fraction(25), **more: Any) -> Path:
    with VideoWriter(path, VideoFormat(width=64, height=48, fps=fps), **more) as writer:
        for number in range(frames):
            writer.write(picture(number))
    return path


@pytest.mark.parametrize("colour", [(200, 60, 90), (255, 255, 255), (0, 0, 0), (30, 200, 40), (20, 40, 250)])
def test_colours_survive(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    path = tmp_path / "flat.mp4"
    flat = np.empty((48, 64, 3), np.uint8)
    flat[:] = colour
    with VideoWriter(path, VideoFormat(width=64, height=48, fps=Fraction(25))) as writer:
        for _ in range(3):
            writer.write(flat)
    for frame in read_frames(path):
        assert np.abs(frame.rgb.astype(int) - colour).max() <= 3
    with av.open(str(path)) as container:
        tags = container.streams.video[0].codec_context
        assert (tags.colorspace, tags.color_primaries, tags.color_trc, tags.color_range) == (1, 1, 1, 1)
        assert tags.pix_fmt == "yuv420p"


@pytest.mark.parametrize(
    "fps", [Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(2997, 100)]
)
def test_the_rate_is_exact(tmp_path: Path, fps: Fraction) -> None:
    path = write(tmp_path / "a.mp4", fps=fps)
    info = probe_video(path)
    assert info.fps == fps
    assert info.frame_count == 30
    assert info.seconds == pytest.approx(float(30 / fps), abs=1e-3)
    assert [frame.time for frame in read_frames(path)] == pytest.approx(
        [float(n / fps) for n in range(30)], abs=1e-5
    )


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_uneven_times_survive(tmp_path: Path, suffix: str) -> None:
    times = [0.0, 0.033, 0.04, 0.2, 0.21, 0.5]
    path = tmp_path / f"vfr{suffix}"
    with VideoWriter(path, VideoFormat(width=64, height=48, fps=Fraction(25))) as writer:
        for number, time in enumerate(times):
            writer.write(picture(number), time=time)
    frames = list(read_frames(path))
    tolerance = 1e-3 if suffix == ".mkv" else 1e-4
    assert [frame.time for frame in frames] == pytest.approx(times, abs=tolerance)
    assert [number_of(frame.rgb) for frame in frames] == list(range(6))


def test_every_start_is_exact(tmp_path: Path) -> None:
    reader = VideoReader(write(tmp_path / "a.mp4", frames=60))
    for start in (1, 24, 25, 26, 35, 59):
        assert number_of(next(reader.frames(start_frame=start)).rgb) == start % 50


@pytest.mark.parametrize("rate", [16_000, 44_100, 10_000])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_stays_in_step(tmp_path: Path, rate: int, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    wave = clicks(2.0, [0.5, 1.5], rate=rate)
    with VideoWriter(path, VideoFormat(width=64, height=48, fps=Fraction(25), sample_rate=rate)) as writer:
        for number in range(50):
            writer.write(picture(number))
            writer.write_sound(wave[number * rate // 25 : (number + 1) * rate // 25])
    back = np.abs(read_wave(path))
    for time in (0.5, 1.5):
        near = back[round((time - 0.2) * 16000) : round((time + 0.2) * 16000)]
        onset = int(np.argmax(near > 0.3)) / 16000 - 0.2
        assert abs(onset) < 0.004, f"the click at {time} s is {onset * 1000:.1f} ms away"
    assert len(back) / 16000 == pytest.approx(2.0, abs=0.1)


def test_stereo_is_kept_and_one_channel_fills_two(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    left = np.stack([clicks(1.0, [0.2, 0.6]), np.zeros(16000, np.float32)], axis=1)
    with VideoWriter(
        path, VideoFormat(width=64, height=48, fps=Fraction(25), sample_rate=16000, channels=2)
    ) as writer:
        writer.write(picture(0))
        writer.write_sound(left)
        writer.write_sound(clicks(1.0, [0.2]))
    sound = np.concatenate(list(SoundReader(path)))
    assert sound.shape[1] == 2
    assert np.abs(sound[:14000, 0]).max() > 0.3 > 0.1 > np.abs(sound[:14000, 1]).max()
    assert np.abs(sound[17000:, 1]).max() > 0.3


def test_sound_and_picture_lie_side_by_side(tmp_path: Path) -> None:
    """A player must not seek: in the file no picture is more than two seconds from its sound."""
    path = tmp_path / "a.mp4"
    with VideoWriter(path, VideoFormat(width=64, height=48, fps=Fraction(25), sample_rate=16000)) as writer:
        for number in range(250):
            if number % 25 == 0:
                writer.write_sound(np.zeros(16000, np.float32))
            writer.write(picture(number))
    last = {"audio": 0.0, "video": 0.0}
    with av.open(str(path)) as container:
        packets = sorted((p for p in container.demux() if p.size), key=lambda p: p.pos or 0)
        for packet in packets:
            last[packet.stream.type] = float((packet.dts or 0) * packet.time_base)
            assert abs(last["audio"] - last["video"]) < 2.0
        assert path.read_bytes().index(b"moov") < path.read_bytes().index(b"mdat"), "the index comes first"


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_metadata_is_readable(tmp_path: Path, suffix: str) -> None:
    path = write(
        tmp_path / f"a{suffix}", metadata={"comment": "synthetic lips, speech2lip 0.1.0", "title": "Ana"}
    )
    with av.open(str(path)) as container:
        told = {key.lower(): value for key, value in container.metadata.items()}
    assert told["comment"] == "synthetic lips, speech2lip 0.1.0"
    assert told["title"] == "Ana"


def _write_twice_at(writer: VideoWriter, time: float) -> None:
    writer.write(picture(0), time=time)
    writer.write(picture(0), time=time)


def _write_and_fail(writer: VideoWriter, fault: type[BaseException]) -> None:
    writer.write(picture(0))
    raise fault


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt])
def test_a_fault_leaves_the_old_file_alone(tmp_path: Path, fault: type[BaseException]) -> None:
    path = tmp_path / "a.mp4"
    path.write_text("good")
    with (
        pytest.raises(fault),
        VideoWriter(
            path, VideoFormat(width=64, height=48, fps=Fraction(25), sample_rate=16000), overwrite=True
        ) as writer,
    ):
        _write_and_fail(writer, fault)
    assert path.read_text() == "good"
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_places_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "there.mp4").touch()
    for name, told in (
        ("there.mp4", "exists already"),
        ("none/a.mp4", "does not exist"),
        ("a.gif", "ends in .mp4"),
    ):
        with pytest.raises(OutputError, match=told):
            write(tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == ["there.mp4"]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk."""
    program = """
import resource, signal, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from speech2lip.errors import OutputError
from speech2lip.media.video_writer import VideoFormat, VideoWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
random = np.random.default_rng(0)
try:
    with VideoWriter(Path(sys.argv[1]), VideoFormat(width=320, height=240, fps=Fraction(25))) as writer:
        for _ in range(60):
            writer.write(random.integers(0, 255, (240, 320, 3), dtype=np.uint8))
except OutputError as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a.mp4")], capture_output=True, text=True, check=False
    )
    assert result.stdout.startswith("No room left while writing"), result.stdout + result.stderr
    assert result.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_wrong_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be even"):
        VideoWriter(tmp_path / "a.mp4", VideoFormat(width=63, height=48, fps=Fraction(25)))
    with pytest.raises(ValueError, match="cannot hold"):
        VideoWriter(
            tmp_path / "a.mp4", VideoFormat(width=64, height=48, fps=Fraction(25)), metadata={"mood": "good"}
        )
    with (
        pytest.raises(ValueError, match="expected uint8"),
        VideoWriter(tmp_path / "a.mp4", VideoFormat(width=64, height=48, fps=Fraction(25))) as writer,
    ):
        writer.write(np.zeros((48, 64, 3), np.float32))
    with (
        pytest.raises(ValueError, match="not later"),
        VideoWriter(tmp_path / "a.mp4", VideoFormat(width=64, height=48, fps=Fraction(25))) as writer,
    ):
        _write_twice_at(writer, 0.5)
    with (
        pytest.raises(ValueError, match="no picture"),
        VideoWriter(tmp_path / "a.mp4", VideoFormat(width=64, height=48, fps=Fraction(25))),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
