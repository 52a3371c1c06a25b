"""Small videos made on the fly."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

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


class VideoMaker:
    """Writes odd videos straight through PyAV, so that the reader is not tested by our own writer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(  # noqa: PLR0913 - each oddity of a video has its name
        self,
        name: str = "made.mp4",
        *,
        size: tuple[int, int] = (64, 48),
        stamps: Sequence[int] | None = None,
        frames: int = 25,
        base: Fraction = Fraction(1, 25),
        codec: str = "libx264",
        pix_fmt: str = "yuv444p",
        aspect: Fraction | None = None,
        wave: np.ndarray[Any, Any] | None = None,
        sound_starts: float = 0.0,
        first: int = 0,
    ) -> Path:
        """Write frames at `first + stamps` x `base` seconds, and the sound from `sound_starts` seconds on."""
        path = self.folder / name
        stamps = list(range(frames)) if stamps is None else stamps
        with av.open(str(path), "w") as container:
            video = container.add_stream(codec, rate=25)
            video.width, video.height, video.pix_fmt = *size, pix_fmt
            video.codec_context.time_base = base
            if aspect:
                video.codec_context.sample_aspect_ratio = aspect
            audio = None
            if wave is not None:
                audio = container.add_stream(
                    "pcm_s16le" if name.endswith("mkv") else "aac", rate=RATE, layout="mono"
                )
            for number, stamp in enumerate(stamps):
                frame = av.VideoFrame.from_ndarray(
                    picture(number, width=size[0], height=size[1]), format="rgb24"
                )
                frame.pts, frame.time_base = first + stamp, base
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
            if audio is not None and wave is not None:
                sound = av.AudioFrame.from_ndarray(
                    (wave[None] * 32767).astype(np.int16), format="s16", layout="mono"
                )
                sound.sample_rate, sound.time_base = RATE, Fraction(1, RATE)
                sound.pts = round(sound_starts * RATE)
                container.mux(audio.encode(sound))
                container.mux(audio.encode(None))
        return path
