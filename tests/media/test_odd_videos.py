"""Odd and broken videos: each ends in a right result or in one clear line."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from speech2lip.decomposition.tracking.take import check_take
from speech2lip.errors import FootageError, Speech2LipError
from speech2lip.media.sound import read_wave
from speech2lip.media.video import Frame, VideoReader, probe_video
from tests.media.made import RATE, VideoMaker, clicks, number_of

QUIET = clicks(1, [0.5])


def _is_one_line(call: Callable[[], object]) -> str:
    with pytest.raises(Speech2LipError) as error:
        call()
    told = str(error.value)
    assert told
    assert "\n" not in told
    assert len(told) < 400
    return told


def _whole(path: Path) -> list[int]:
    return [number_of(frame.rgb) for frame in VideoReader(path).frames()]


def test_one_frame_and_tiny_pictures(make_video: VideoMaker) -> None:
    one = make_video("one.mp4", frames=1, wave=QUIET)
    check_take(one)
    assert _whole(one) == [0]
    assert probe_video(one).fps > 0
    tiny = make_video("tiny.mp4", size=(8, 8), frames=3, wave=QUIET)
    assert [frame.rgb.shape for frame in VideoReader(tiny).frames()] == [(8, 8, 3)] * 3


def test_no_frames(make_video: VideoMaker, tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "none.mkv"), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        samples = av.AudioFrame.from_ndarray(np.zeros((1, RATE), np.int16), format="s16", layout="mono")
        samples.sample_rate = RATE
        container.mux(audio.encode(samples))
        container.mux(audio.encode(None))
    assert "none.mkv" in _is_one_line(lambda: check_take(tmp_path / "none.mkv"))
    (tmp_path / "empty.mp4").touch()
    assert "empty.mp4" in _is_one_line(lambda: check_take(tmp_path / "empty.mp4"))


def _fault_or_frames(path: Path) -> tuple[str | None, list[Frame]]:
    try:
        check_take(path)
        return None, list(VideoReader(path).frames())
    except Speech2LipError as error:
        return str(error), []


def test_cut_short_anywhere(make_video: VideoMaker) -> None:
    whole = make_video("whole.mkv", frames=50, wave=clicks(2, [0.5]))
    content = whole.read_bytes()
    for share in (0.02, 0.3, 0.6, 0.95):
        cut = whole.with_name(f"cut{share}.mkv")
        cut.write_bytes(content[: int(len(content) * share)])
        fault, frames = _fault_or_frames(cut)
        if fault is not None:
            assert "\n" not in fault
        else:
            assert 0 < len(frames) <= 50  # at the cut some are missing; the others keep their true times
            assert [round(frame.time * 25) for frame in frames] == [number_of(frame.rgb) for frame in frames]


def test_a_wrong_extension_does_not_matter(make_video: VideoMaker) -> None:
    made = make_video("made.mkv", frames=5, wave=QUIET)
    for name in ("made.mp4", "made.txt", "made"):
        other = made.with_name(name)
        shutil.copyfile(made, other)
        check_take(other)
        assert _whole(other) == list(range(5))


def test_a_header_that_lies_about_the_length(make_video: VideoMaker) -> None:
    made = make_video("made.mp4", frames=10, wave=QUIET)
    content = bytearray(made.read_bytes())
    place = content.index(b"mvhd") + 4
    (scale,) = struct.unpack_from(">I", content, place + 12)
    struct.pack_into(">I", content, place + 16, 3 * 3600 * scale)  # three hours
    made.write_bytes(bytes(content))
    check_take(made)
    assert _whole(made) == list(range(10))
    assert probe_video(made).seconds < 10


def test_sound_longer_shorter_and_late(make_video: VideoMaker) -> None:
    for name, seconds, starts in (("long.mkv", 3.0, 0.0), ("short.mkv", 0.4, 0.0), ("late.mkv", 0.8, 0.3)):
        path = make_video(name, frames=25, wave=clicks(seconds, [0.1]), sound_starts=starts)
        check_take(path)
        wave = read_wave(path)
        assert len(_whole(path)) == 25
        assert len(wave) / RATE == pytest.approx(seconds + starts, abs=0.05)
        assert int(np.abs(wave).argmax()) / RATE == pytest.approx(0.1 + starts, abs=0.012)


def test_no_sound_is_told_before_any_work(make_video: VideoMaker) -> None:
    with pytest.raises(FootageError, match="no sound"):
        check_take(make_video("silent.mp4", frames=3))


def test_a_short_4k_take(make_video: VideoMaker) -> None:
    path = make_video("large.mp4", size=(3840, 2160), frames=2, pix_fmt="yuv420p", wave=QUIET)
    frames = list(VideoReader(path).frames())
    assert [frame.rgb.shape for frame in frames] == [(2160, 3840, 3)] * 2
    assert [number_of(frame.rgb) for frame in frames] == [0, 1]


def test_ten_minutes_at_29_97_do_not_drift(make_video: VideoMaker) -> None:
    """A light changes and a click sounds in the last second; both are found at the same time."""
    rate = Fraction(30_000, 1001)
    frames = round(600 * rate)
    last = frames - 20
    truth = float(last / rate)
    path = make_video(
        "ten.mkv",
        size=(16, 16),
        frames=frames,
        base=1 / rate,
        wave=clicks(601, [1.0, truth]),
        pix_fmt="yuv420p",
    )
    times = [frame.time for frame in VideoReader(path).frames(start_frame=last)]
    wave = read_wave(path)
    late = wave[round(590 * RATE) :]
    heard = 590 + int(np.flatnonzero(np.abs(late) > 0.4)[0]) / RATE
    assert len(times) == 20
    assert abs(times[0] - heard) < 0.010
    assert abs(times[0] - truth) < 0.002
