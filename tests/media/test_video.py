"""Pictures come in upright, square and at their true times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from speech2lip.errors import FootageError
from speech2lip.media.video import VideoReader, probe_video, read_frames
from tests.media.made import VideoMaker, number_of

QUARTER_TURNS = {
    # a b c d of the display matrix: x' = a x + c y, y' = b x + d y; and where the red corner must be seen
    "upright": ((1, 0, 0, 1), (0, 0)),
    "clockwise": ((0, 1, -1, 0), (0, -1)),
    "upside down": ((-1, 0, 0, -1), (-1, -1)),
    "counter-clockwise": ((0, -1, 1, 0), (-1, 0)),
    "mirrored": ((-1, 0, 0, 1), (0, -1)),
    "transposed": ((0, 1, 1, 0), (0, 0)),
}


def turn(path: Path, matrix: tuple[int, ...]) -> None:
    """Put the linear part of a display matrix into the track header of an mp4 (ISO/IEC 14496-12, 8.3.2)."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44
    values = np.frombuffer(bytes(content[place : place + 36]), ">i4").copy()
    assert values[0] == values[4] == 65536, "not where the matrix lies"
    values[[0, 1, 3, 4]] = np.array(matrix) * 65536
    content[place : place + 36] = values.astype(">i4").tobytes()
    path.write_bytes(content)


@pytest.mark.parametrize("name", QUARTER_TURNS)
def test_rotation_is_applied(make_video: VideoMaker, name: str) -> None:
    matrix, corner = QUARTER_TURNS[name]
    path = make_video(frames=2)
    turn(path, matrix)
    frame = next(read_frames(path))
    turned = matrix[0] == 0
    assert frame.rgb.shape == ((64, 48, 3) if turned else (48, 64, 3))
    assert frame.rgb.flags.c_contiguous
    assert frame.rgb[corner][0] > 180 > 80 > frame.rgb[corner][1], "the red corner is elsewhere"
    info = probe_video(path)
    assert (info.height, info.width) == frame.rgb.shape[:2]


def test_other_than_square_pixels_are_scaled(make_video: VideoMaker) -> None:
    path = make_video(aspect=Fraction(3, 2), frames=2)
    assert next(read_frames(path)).rgb.shape == (48, 96, 3)


def test_odd_sizes_lose_a_row_and_a_column(make_video: VideoMaker) -> None:
    path = make_video(size=(63, 47), frames=2)
    assert next(read_frames(path)).rgb.shape == (46, 62, 3)


@pytest.mark.parametrize("name", ["vfr.mp4", "vfr.mkv"])
def test_uneven_times_are_kept(make_video: VideoMaker, name: str) -> None:
    stamps = [0, 33, 66, 166, 170, 400, 433]
    path = make_video(name, stamps=stamps, base=Fraction(1, 1000), first=500)
    frames = list(read_frames(path))
    assert [number_of(frame.rgb) for frame in frames] == list(range(7))
    assert [frame.index for frame in frames] == list(range(7))
    assert [frame.time for frame in frames] == pytest.approx([stamp / 1000 for stamp in stamps], abs=1e-3)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mpg", "a.avi"])
def test_any_container_and_any_start(make_video: VideoMaker, name: str) -> None:
    mpeg = name in ("a.mpg", "a.avi")
    path = make_video(name, frames=40, codec="mpeg2video" if mpeg else "libx264", pix_fmt="yuv420p")
    reader = VideoReader(path)
    frames = list(reader.frames())
    assert [number_of(frame.rgb) for frame in frames] == list(range(40))
    for start in (1, 13, 39):
        jumped = next(reader.frames(start_frame=start))
        assert jumped.index == start
        assert number_of(jumped.rgb) == start
        assert jumped.time == pytest.approx(frames[start].time, abs=1e-6)
        assert np.array_equal(jumped.rgb, frames[start].rgb)
    assert [frame.index for frame in reader.frames(start_frame=5, stop_frame=8)] == [5, 6, 7]
    for start in (0, 4):
        some = list(reader.frames(start_frame=start, stop_frame=9, only={4, 7, 99}))
        assert [frame.index for frame in some] == [4, 7]
        assert all(np.array_equal(frame.rgb, frames[frame.index].rgb) for frame in some)
        assert [frame.time for frame in some] == pytest.approx([frames[i].time for i in (4, 7)], abs=1e-6)
    assert list(reader.frames(start_frame=40)) == []
    assert reader.broken_packets == 0


def test_probe_tells_size_rate_and_length(make_video: VideoMaker) -> None:
    info = probe_video(make_video(frames=50, wave=np.zeros(32000, np.float32)))
    assert (info.width, info.height, info.fps) == (64, 48, Fraction(25))
    assert (info.frame_count, info.has_sound) == (50, True)
    assert info.seconds == pytest.approx(2.0, abs=0.05)
    assert not probe_video(make_video("silent.mkv", frames=5)).has_sound


def test_broken_packets_are_counted_and_survived(make_video: VideoMaker) -> None:
    path = make_video(frames=40)
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][20]
    content = bytearray(path.read_bytes())
    content[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    path.write_bytes(content)
    reader = VideoReader(path)
    frames = list(reader.frames())
    times = [frame.time for frame in frames]
    assert reader.broken_packets == 1
    assert len(frames) == 39
    assert times == sorted(set(times))
    assert times[-1] == pytest.approx(39 / 25)
    assert next(reader.frames(start_frame=0)).index == 0
    assert reader.broken_packets == 0, "each pass counts anew"


def test_a_file_cut_short_gives_what_is_there(make_video: VideoMaker) -> None:
    path = make_video("cut.mkv", frames=40)
    path.write_bytes(path.read_bytes()[:-600])
    reader = VideoReader(path)
    assert 1 <= len(list(reader.frames())) < 40
    assert probe_video(path).width == 64


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "There is no file"),
        (b"", "is not a video"),
        (b"hello " * 500, "no moving picture|is not a video"),
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "txt"])
def test_what_is_no_video_is_one_line(tmp_path: Path, content: bytes | None, told: str, suffix: str) -> None:
    path = tmp_path / f"take.{suffix}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FootageError, match=told):
        probe_video(path)


def test_a_truncated_mp4_is_one_line(make_video: VideoMaker) -> None:
    path = make_video(frames=40)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(FootageError, match=r"is not a video that can be read|no picture that can be decoded"):
        probe_video(path)


def test_folders_pictures_and_sounds_are_no_videos(tmp_path: Path, make_video: VideoMaker) -> None:
    with pytest.raises(FootageError, match="is a folder"):
        probe_video(tmp_path)
    picture = make_video("one.png", frames=1, codec="png", pix_fmt="rgb24")
    with pytest.raises(FootageError, match="no moving picture"):
        probe_video(picture)


@pytest.mark.parametrize("full", [False, True])
def test_old_colours_and_full_range_are_understood(tmp_path: Path, full: bool) -> None:
    """An untagged small video is BT.601; one in full range says so."""
    path = tmp_path / "flat.mkv"
    flat = np.empty((48, 64, 3), np.uint8)
    flat[:] = (200, 60, 90)
    kind = ColorRange.JPEG if full else ColorRange.MPEG
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.color_range = kind
        frame = VideoReformatter().reformat(
            av.VideoFrame.from_ndarray(flat, format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=kind,
        )
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    got = next(read_frames(path)).rgb.reshape(-1, 3).mean(axis=0)
    assert np.abs(got - (200, 60, 90)).max() < 3


@pytest.mark.footage
def test_real_takes_are_read_to_the_end(real_footage: Path) -> None:
    path = sorted((real_footage / "grid_s1").glob("*.mpg"))[0]
    reader, info = VideoReader(path), probe_video(path)
    frames = list(reader.frames())
    assert (info.width, info.height, info.fps) == (360, 288, Fraction(25))
    assert len(frames) == 75
    assert np.diff([frame.time for frame in frames]) == pytest.approx(0.04)
    assert np.array_equal(next(reader.frames(start_frame=50)).rgb, frames[50].rgb)
