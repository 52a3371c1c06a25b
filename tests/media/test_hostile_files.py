"""Names and contents made to reach other places, or to ask for too much, end in one line."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from speech2lip.config import PrepareSettings
from speech2lip.decomposition.tracking.take import track_take
from speech2lip.errors import FootageError, SoundError, Speech2LipError
from speech2lip.media import container, picture
from speech2lip.media.sound import SoundReader, check_speech, read_wave
from speech2lip.media.video import VideoReader, probe_video, read_frames
from tests.media.made import RATE, VideoMaker, clicks, number_of

QUIET = clicks(1, [0.5])


class Listener:
    """A server on this machine that counts who comes, and sends everybody away."""

    def __init__(self) -> None:
        self.visitors = 0
        self._ends = False
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            self._socket.accept()[0].close()
            if self._ends:
                return
            self.visitors += 1

    def close(self) -> None:
        self._ends = True
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    server = Listener()
    yield server
    server.close()


def told_by(call: Callable[[], object], kind: type[Speech2LipError] = Speech2LipError) -> str:
    with pytest.raises(kind) as error:
        call()
    told = str(error.value)
    assert "\n" not in told
    assert len(told) < 400
    return told


@pytest.mark.parametrize("name", ["http:127.0.0.1:{port}?x.mp4", "tcp:127.0.0.1:{port}?x.mp4"])
def test_a_name_is_no_address(
    make_video: VideoMaker, monkeypatch: pytest.MonkeyPatch, listener: Listener, name: str
) -> None:
    """A file that is named so is read; nobody is asked for it."""
    made = make_video(frames=3, wave=QUIET)
    path = Path(name.format(port=listener.port))
    monkeypatch.chdir(made.parent)
    shutil.copyfile(made, path)
    assert len(list(read_frames(path))) == 3
    assert len(read_wave(path)) > 0
    path.unlink()
    told_by(lambda: probe_video(path))
    told_by(lambda: SoundReader(path))
    assert listener.visitors == 0


@pytest.mark.parametrize(
    "name",
    ["take:1.mp4", "concat:a.mp4|a.mp4", "subfile,,start,0,end,9,,:a.mp4", "pipe:0", "file:a.mp4", "a%d.mp4"],
)
def test_names_mean_nothing(make_video: VideoMaker, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    made = make_video(frames=3, wave=QUIET)
    monkeypatch.chdir(made.parent)
    shutil.copyfile(made, name)
    make_video("a.mp4", frames=9)
    assert len(list(read_frames(Path(name)))) == 3
    assert len(read_wave(Path(name))) / RATE == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("take.mp4", "ffconcat version 1.0\nfile secret.mkv\n"),
        ("take.ffconcat", "ffconcat version 1.0\nfile secret.mkv\n"),
        ("take.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\nsecret.mkv\n#EXT-X-ENDLIST\n"),
        ("take.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\nsecret.mkv\n#EXT-X-ENDLIST\n"),
        (
            "take.sdp",
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        ),
        ("take.mpd", '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>\n'),
        ("take.mp4", "<MPD xmlns='urn:mpeg:dash:schema:mpd:2011'></MPD>\n"),
    ],
)
def test_playlists_open_nothing(make_video: VideoMaker, name: str, content: str) -> None:
    path = make_video("secret.mkv", frames=5, wave=QUIET).with_name(name)
    path.write_text(content)
    assert "is a playlist" in told_by(lambda: probe_video(path), FootageError)
    assert "is a playlist" in told_by(lambda: SoundReader(path), SoundError)


def test_pipes_and_names_that_cannot_be(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path / "pipe.mp4", tmp_path / ("n" * 256 + ".mp4"), tmp_path / "no\0name.mp4"):
        told_by(lambda path=path: probe_video(path), FootageError)  # type: ignore[misc]
        told_by(lambda path=path: SoundReader(path), SoundError)  # type: ignore[misc]


def _stretch(path: Path, times: int) -> None:
    """Let the display matrix of an mp4 widen the picture (ISO/IEC 14496-12, 8.3.2)."""
    content = bytearray(path.read_bytes())
    struct.pack_into(">i", content, content.index(b"tkhd") + 44, times * 65536)
    path.write_bytes(content)


def test_pixels_are_not_stretched_without_end(make_video: VideoMaker) -> None:
    path = make_video(frames=2, wave=QUIET)
    _stretch(path, 200)
    assert "200 times as wide as high" in told_by(lambda: probe_video(path), FootageError)
    told_by(lambda: list(read_frames(path)), FootageError)
    assert len(read_wave(path)) > 0, "its sound is still good"
    _stretch(path, 2)
    assert probe_video(path).width == 128


def test_pictures_have_a_largest_size(make_video: VideoMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(size=(64, 48), frames=2)
    assert len(list(read_frames(path))) == 2
    monkeypatch.setattr(container, "MOST_PIXELS", 3000)
    monkeypatch.setattr(picture, "MOST_PIXELS", 3000)
    told_by(lambda: probe_video(path), FootageError)
    assert list(VideoReader(path).frames()) == [], "the decoder refuses them"


def test_gaps_in_the_sound_are_bounded_together(tmp_path: Path) -> None:
    def write(name: str, gap: float) -> Path:
        with av.open(str(tmp_path / name), "w") as opened:
            track: Any = opened.add_stream("pcm_s16le", rate=RATE, layout="mono")
            for number in range(20):
                frame = av.AudioFrame.from_ndarray(
                    np.full((1, 160), 9, np.int16), format="s16", layout="mono"
                )
                frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
                frame.pts = round(number * gap * RATE)
                opened.mux(track.encode(frame))
            opened.mux(track.encode(None))
        return tmp_path / name

    assert "gaps of 20 minutes" in told_by(lambda: read_wave(write("long.mkv", 590.0)), SoundError)
    assert len(read_wave(write("short.mkv", 2.0))) == 38 * RATE + 160


@pytest.mark.parametrize(
    ("name", "base", "step", "told"),
    [
        ("a.mp4", Fraction(1, 1_000_000), 1, None),
        ("a.mkv", Fraction(1, 1), 100, "0.01 frames a second"),
        ("a.mp4", Fraction(1, 1), 5000, None),
        ("a.mkv", Fraction(1, 1), 400_000, None),
    ],
)
def test_times_that_cannot_be_lose_no_other_take(
    make_video: VideoMaker, tmp_path: Path, name: str, base: Fraction, step: int, told: str | None
) -> None:
    """Frames a microsecond, 100 s, 5,000 s and days apart: the take is read, or left out with one line."""
    path = make_video(
        name, stamps=[step * number for number in range(6)], base=base, pix_fmt="yuv420p", wave=QUIET
    )
    times = [frame.time for frame in read_frames(path)]
    assert len(times) == 6
    assert np.diff(times).min() >= 0.0005
    assert 1 <= probe_video(path).fps <= 1000
    (tmp_path / "takes").mkdir()
    take = tmp_path / "takes" / "a"
    if told:
        assert told in told_by(lambda: track_take(path, take, PrepareSettings()), FootageError)
    else:
        track_take(path, take, PrepareSettings())
        assert len(list(read_frames(take / "picture.mp4"))) == 6
    assert take.exists() == (told is None)


def test_streams_that_nothing_decodes_are_one_line(make_video: VideoMaker, tmp_path: Path) -> None:
    path = make_video(frames=3, wave=QUIET)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    assert "cannot be decoded" in told_by(lambda: probe_video(path), FootageError)
    told_by(lambda: list(read_frames(path)), FootageError)
    soundfile.write(tmp_path / "a.wav", QUIET, RATE)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    struct.pack_into("<H", content, 20, 0xABCD)  # the codec's number
    (tmp_path / "a.wav").write_bytes(content)
    assert "cannot be decoded" in told_by(lambda: SoundReader(tmp_path / "a.wav"), SoundError)


def test_pictures_that_change_their_size_are_brought_to_the_first(make_video: VideoMaker) -> None:
    sizes = [(64, 48), (32, 24), (128, 20), (48, 64)]
    parts = [make_video(f"{w}x{h}.h264", size=(w, h), frames=3, pix_fmt="yuv420p") for w, h in sizes]
    whole = parts[0].with_name("all.h264")
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames = list(read_frames(whole))
    assert [frame.rgb.shape for frame in frames] == [(48, 64, 3)] * 12
    assert [number_of(frame.rgb) for frame in frames] == [0, 1, 2] * 4


def test_other_streams_are_passed_over(tmp_path: Path) -> None:
    """Data and subtitles that lie before sound and picture change nothing."""
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as opened:
        opened.add_attachment("font.ttf", "application/x-truetype-font", b"no font" * 50)
        video: Any = opened.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            frame.pts = number
            opened.mux(video.encode(frame))
        opened.mux(video.encode(None))
    assert len(list(read_frames(path))) == 3
    assert "no sound" in told_by(lambda: SoundReader(path), SoundError)


@pytest.mark.parametrize("level", [1e30, 1e4])
def test_samples_that_were_never_scaled_are_one_line(tmp_path: Path, level: float) -> None:
    random = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", random.normal(0, level, RATE), RATE, subtype="FLOAT")
    assert "full scale is 1" in told_by(lambda: read_wave(tmp_path / "a.wav"), SoundError)
    assert "full scale is 1" in told_by(lambda: check_speech(SoundReader(tmp_path / "a.wav")), SoundError)


def test_many_channels_are_mixed_or_one_line(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).normal(0, 0.1, (RATE, 32))
    for channels in (3, 6, 24):
        soundfile.write(tmp_path / "a.wav", wave[:, :channels], RATE)
        assert len(read_wave(tmp_path / "a.wav")) == RATE
    soundfile.write(tmp_path / "a.wav", wave, RATE)
    assert "32 channels" in told_by(lambda: read_wave(tmp_path / "a.wav"), SoundError)


@pytest.mark.parametrize("rate", [1, 999, 800_000, 2_000_000_000])
def test_sample_rates_that_cannot_be_are_one_line(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(100), RATE)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    struct.pack_into("<I", content, 24, rate)
    (tmp_path / "a.wav").write_bytes(content)
    assert "samples a second" in told_by(lambda: SoundReader(tmp_path / "a.wav"), SoundError)
