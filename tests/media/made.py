"""Small videos made on the fly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np

if TYPE_CHECKING:
    from av.container import OutputContainer

RATE = 16_000


def picture(number: int, *, width: int = 64, height: int = 48) -> np.ndarray[Any, Any]:
    """Grey whose level tells the number, with a red top left corner."""
    rgb = np.full((height, width, 3), 40 + 4 * (number % 50), np.uint8)
    rgb[: height // 4, : width // 4] = (220, 30, 30)
    return rgb


def number_of(rgb: np.ndarray[Any, Any]) -> int:
    """The number that `picture` was given, from the grey of the bottom right quarter."""
    height, width = rgb.shape[:2]
    return round((float(rgb[height // 2 :, width // 2 :].mean()) - 40) / 4)


def clicks(seconds: float, at: Sequence[float], *, rate: int = RATE) -> np.ndarray[Any, Any]:
    """Silence with a short burst at each of the times."""
    wave = np.zeros(round(seconds * rate), np.float32)
    for time in at:
        start = round(time * rate)
        wave[start : start + rate // 100] = 0.8
    return wave


@dataclass(frozen=True, kw_only=True)
class Film:
    """Frames at `first + stamps` x `base` seconds, and sound from `sound_starts` seconds on."""

    size: tuple[int, int] = (64, 48)
    stamps: Sequence[int] | None = None
    frames: int = 25
    base: Fraction = Fraction(1, 25)
    codec: str = "libx264"
    pix_fmt: str = "yuv444p"
    aspect: Fraction | None = None
    wave: np.ndarray[Any, Any] | None = None
    sound_starts: float = 0.0
    first: int = 0


class VideoMaker:
    """Writes odd videos straight through PyAV, so that the reader is not tested by our own writer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str = "made.mp4", **of: Any) -> Path:
        """Write a `Film` of the fields given."""
        film = Film(**of)
        path = self.folder / name
        with av.open(str(path), "w") as container:
            video: Any = container.add_stream(film.codec, rate=25)
            video.width, video.height, video.pix_fmt = *film.size, film.pix_fmt
            video.codec_context.time_base = film.base
            if film.aspect:
                video.codec_context.sample_aspect_ratio = film.aspect
            audio = None
            if film.wave is not None:
                codec = "pcm_s16le" if name.endswith("mkv") else "aac"
                audio = container.add_stream(codec, rate=RATE, layout="mono")
            _write_pictures(container, video, film)
            if audio is not None and film.wave is not None:
                _write_sound(container, audio, film.wave, film.sound_starts)
        return path


def _write_pictures(container: OutputContainer, video: Any, film: Film) -> None:
    width, height = film.size
    for number, stamp in enumerate(range(film.frames) if film.stamps is None else film.stamps):
        frame = av.VideoFrame.from_ndarray(picture(number, width=width, height=height), format="rgb24")
        frame.pts, frame.time_base = film.first + stamp, film.base
        container.mux(video.encode(frame))
    container.mux(video.encode(None))


def _write_sound(container: OutputContainer, audio: Any, wave: np.ndarray[Any, Any], starts: float) -> None:
    samples = (wave[None] * 32767).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
    frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
    frame.pts = round(starts * RATE)
    container.mux(audio.encode(frame))
    container.mux(audio.encode(None))
