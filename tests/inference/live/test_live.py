from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
import struct
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import av
import numpy as np
import pytest
import soundfile
from skimage.io import imread

import speech2lip
from speech2lip.config import LiveSettings, SpeakSettings
from speech2lip.errors import OutputError, SettingsError, SoundError
from speech2lip.inference.live.show import live, pour
from speech2lip.inference.live.sources import Source, _raw, open_source
from speech2lip.media.picture import JpegWriter, coded_from_rgb
from tests.made_face import SIZE, made_avatar
from tests.messages import heard

PLAIN = LiveSettings(port=0, device="cpu", precision="fp32")
RATE = 16_000


@pytest.fixture(scope="module")
def avatar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_avatar(tmp_path_factory.mktemp("avatar") / "a.avatar")


def _speech(path: Path, seconds: float) -> np.ndarray:
    random = np.random.default_rng(0)
    wave = random.integers(-8000, 8000, round(seconds * RATE)).astype(np.int16)
    soundfile.write(path, wave, RATE)
    return wave


@contextlib.contextmanager
def _show(avatar: Path, sound: str, settings: LiveSettings = PLAIN) -> Iterator[tuple[str, Event, Thread]]:
    stop = Event()
    thread = Thread(
        target=live,
        args=(avatar,),
        kwargs={"sound": sound, "settings": settings, "stop": stop},
    )
    try:
        with heard() as told:
            thread.start()
            while not any("http" in line for line in told):
                assert thread.is_alive()
                time.sleep(0.01)
        yield next(word for line in told for word in line.split() if word.startswith("http")), stop, thread
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()


def _packets(url: str) -> Iterator[tuple[float, bytes, bytes]]:
    with urllib.request.urlopen(url + "live", timeout=20) as stream:
        while len(head := stream.read(16)) == 16:
            moment, picture, sound = struct.unpack("<dII", head)
            yield moment, stream.read(picture), stream.read(sound)


def _state(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url + "state", timeout=20) as answer:
        return dict(json.loads(answer.read()))


def _without_silence(wave: np.ndarray) -> np.ndarray:
    """Take out long runs of zeros, which stand for sound that comes late on a busy machine."""
    sounding = np.convolve(wave != 0, np.ones(33), mode="same") > 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], sounding, [False]]).astype(np.int8)))
    runs = [wave[a + 16 * (a > 0) : b - 16 * (b < len(wave))] for a, b in edges.reshape(-1, 2)]
    return np.concatenate(runs)


def test_a_recorded_microphone_is_seen_and_heard(avatar: Path, tmp_path: Path) -> None:
    wave = _speech(tmp_path / "s.wav", 1.5)
    with _show(avatar, str(tmp_path / "s.wav")) as (url, _, thread):
        packets = list(_packets(url))
        thread.join(20)
    times, pictures, sounds = zip(*packets, strict=True)
    assert list(times) == [pytest.approx(i / 25) for i in range(len(packets))]
    heard = np.concatenate([np.frombuffer(sound, "<i2") for sound in sounds])
    spoken = _without_silence(heard)
    assert (np.abs(spoken[: len(wave)].astype(int) - _without_silence(wave)) <= 1).all()
    seen = [picture for picture in pictures if picture]
    assert seen
    frame = av.CodecContext.create("mjpeg", "r").decode(av.Packet(seen[0]))[0]
    assert (frame.height, frame.width) == SIZE


def test_raw_sound_from_a_named_pipe(avatar: Path, tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    wave = np.random.default_rng(0).integers(-8000, 8000, RATE // 2).astype("<i2")

    def feed() -> None:
        with pipe.open("wb") as file:
            for start in range(0, len(wave), 160):
                file.write(wave[start : start + 160].tobytes())
                file.flush()
                time.sleep(0.01)

    Thread(target=feed, daemon=True).start()
    with _show(avatar, str(pipe)) as (url, _, thread):
        sounds = [sound for _, _, sound in _packets(url)]
        thread.join(20)
    heard = np.frombuffer(b"".join(sounds), "<i2")
    assert np.count_nonzero(heard) > 0.6 * len(wave)


def test_the_page_the_pictures_and_the_state(avatar: Path, tmp_path: Path) -> None:
    _speech(tmp_path / "s.wav", 3.0)
    settings = LiveSettings(port=0, device="cpu", precision="fp32", stay=True)
    with _show(avatar, str(tmp_path / "s.wav"), settings) as (url, stop, thread):
        with urllib.request.urlopen(url, timeout=20) as answer:
            page = answer.read().decode()
        assert "RATE = 16000" in page
        with urllib.request.urlopen(url + "picture", timeout=20) as stream:
            assert "multipart/x-mixed-replace" in stream.headers["Content-Type"]
            assert b"\xff\xd8" in stream.read(2000)
        urllib.request.urlopen(urllib.request.Request(url + "interrupt", method="POST"), timeout=20).close()
        urllib.request.urlopen(url + "watched", data=b"[7, 9]", timeout=20).close()
        urllib.request.urlopen(url + "watched", data=b"nonsense", timeout=20).close()
        state = _state(url)
        assert state["frames"] > 0
        assert (state["pictures_shown"], state["samples_heard"]) == (7, 9)
        for wrong in ("nothing", "../etc/passwd"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(url + wrong, timeout=20)
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(urllib.request.Request(url, headers={"Host": "evil.example"}), timeout=20)
        elsewhere = {"Origin": "http://evil.example"}
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(
                urllib.request.Request(url + "interrupt", method="POST", headers=elsewhere), timeout=20
            )
        assert thread.is_alive()
        stop.set()


def test_a_browser_shows_it(avatar: Path, tmp_path: Path) -> None:
    browser = next(
        (
            found
            for name in ("chromium", "chromium-browser", "google-chrome")
            if (found := shutil.which(name))
        ),
        None,
    )
    if browser is None:
        pytest.skip("no chromium here to look at the page with")
    _speech(tmp_path / "s.wav", 30.0)
    with _show(avatar, str(tmp_path / "s.wav")) as (url, _, _):
        words = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        viewer = subprocess.Popen(
            [*words, f"--user-data-dir={tmp_path / 'profile'}", url],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            limit = time.monotonic() + 120
            while (state := _state(url)).get("pictures_shown", 0) < 5:
                assert time.monotonic() < limit, state
                time.sleep(0.2)
        finally:
            viewer.terminate()
            viewer.wait(10)
    assert state["samples_heard"] > 0


def test_sound_faster_than_real_time_waits_and_is_all_spoken(
    avatar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speech2lip.inference.stream._MOST_SECONDS", 1.5)
    wave = np.random.default_rng(0).normal(0, 0.1, (4 * RATE, 1)).astype(np.float32)
    source = Source("made", RATE, 1, lambda: iter(np.array_split(wave, 200)), patient=False)
    heard = []
    with speech2lip.stream(avatar, settings=SpeakSettings(device="cpu", precision="fp32")) as speech:

        def feed() -> None:
            pour(source, speech, Event())
            speech.finish()

        feeding = Thread(target=feed)
        feeding.start()
        while feeding.is_alive() or speech.frames < 100:
            one = speech.pull(draw=False)
            heard += [] if one is None else [one.sound]
        feeding.join()
    assert (np.concatenate(heard) == wave).all()


def test_wrong_sources_are_one_line(avatar: Path, tmp_path: Path) -> None:
    with pytest.raises(SoundError, match="no file"):
        live(avatar, sound=str(tmp_path / "none.wav"), settings=PLAIN)
    with pytest.raises(SettingsError, match="rate"):
        open_source("-", LiveSettings(sample_rate=0))
    with pytest.raises(SettingsError, match="channels"):
        open_source("mic", LiveSettings(channels=3))
    _speech(tmp_path / "s.wav", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = LiveSettings(port=taken.getsockname()[1], device="cpu", precision="fp32")
        with pytest.raises(OutputError, match="port"):
            live(avatar, sound=str(tmp_path / "s.wav"), settings=settings)


def test_raw_sound_keeps_whole_samples() -> None:
    class Pipe:
        parts = iter((b"abc", b"de", b"fghij", b""))

        def read1(self, size: int) -> bytes:
            return next(self.parts)

    assert b"".join(_raw(Pipe(), RATE, 2)) == b"abcdefgh"  # type: ignore[arg-type]


def test_jpeg_keeps_colours() -> None:
    rgb = np.broadcast_to(np.array((200, 60, 90), np.uint8), (*SIZE, 3)).copy()
    jpeg = JpegWriter(width=SIZE[1], height=SIZE[0], quality=2).write(coded_from_rgb(rgb))
    found = imread(io.BytesIO(jpeg))
    assert np.abs(found.astype(int) - rgb).mean() < 3
