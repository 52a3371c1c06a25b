"""Pictures and sound out to a video file that appears whole or not at all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import soxr
from av.video.reformatter import ColorRange, VideoReformatter

from speech2lip.arrays import Floats, Picture
from speech2lip.atomic import output_error, write_atomically
from speech2lip.errors import OutputError
from speech2lip.media.container import file_address
from speech2lip.media.picture import BT709, frame_from_coded, frame_from_rgb

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.video.stream import VideoStream
    from typing_extensions import Self

SUFFIXES = (".mp4", ".mkv", ".mov")

_METADATA = {"title", "artist", "album", "comment", "description", "synopsis"}
_METADATA |= {"copyright", "genre", "date", "keywords"}
"""Keys that every one of the containers keeps."""

_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
"""ISO/IEC 14496-3, table 1.18; sound of another rate is resampled to 48 kHz."""

_CLOCK = 90_000
"""Least ticks a second of the picture's clock, for uneven frame times (mkv keeps whole milliseconds)."""


@dataclass(frozen=True, kw_only=True)
class VideoFormat:
    """What a video holds."""

    width: int
    """Pixels, even."""
    height: int
    """Pixels, even."""
    fps: Fraction
    """Frames per second where `write` is not told the time of a frame."""
    sample_rate: int | None = None
    """Of the sound; None writes a silent file."""
    channels: int = 1
    """Of the sound: 1 or 2."""

    def __post_init__(self) -> None:
        if self.width % 2 or self.height % 2 or min(self.width, self.height) < 2:
            raise ValueError(f"width and height must be even, not {self.width} x {self.height}")
        if not 1 <= self.fps <= 1000:
            raise ValueError(f"a video has 1 to 1000 frames a second, not {self.fps}")


class VideoWriter:
    """Writes H.264 and AAC; the file takes its name only when the `with` block ends well.

    Hand over pictures and sound by turns (not all of one first) and memory stays flat whatever the length.

    Args:
        crf: How finely H.264 keeps the picture: 0 keeps everything, 51 nothing.
        metadata: Told of the file: title, comment, description, copyright and the like.

    Raises:
        OutputError: the name is no mp4, mkv or mov, the folder is missing or not writable, the file exists
            and `overwrite` is off, or the disk is full.
    """

    def __init__(
        self,
        path: Path,
        video: VideoFormat,
        *,
        crf: float = 18.0,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
    ) -> None:
        if path.suffix.lower() not in SUFFIXES:
            raise OutputError(f"Cannot write {path}: a video's name ends in {', '.join(SUFFIXES)}.")
        self._metadata = dict(metadata or {})
        if unknown := set(self._metadata) - _METADATA:
            raise ValueError(
                f"metadata of a video cannot hold {sorted(unknown)}; known are {sorted(_METADATA)}"
            )
        self.path = path
        self._format = video
        self._crf = crf
        self._overwrite = overwrite
        self._fps = Fraction(video.fps).limit_denominator(1001)
        # A whole number of ticks a frame, so that the file's average rate is the rate that was asked for.
        self._ticks_per_second = self._fps.numerator * math.ceil(_CLOCK / self._fps.numerator)
        self._ticks_per_frame = int(self._ticks_per_second / self._fps)
        self._reformatter = VideoReformatter()
        self._last_tick = -1
        self._frames = 0
        self._samples = 0

    def __enter__(self) -> Self:
        self._writing = self._write_file()
        self._writing.__enter__()
        return self

    def __exit__(self, *fault: Any) -> None:
        self._writing.__exit__(*fault)

    def write(self, picture: Picture, *, time: float | None = None) -> None:
        """Write one picture at `time` seconds or one frame after the one before.

        Args:
            picture: uint8, RGB [H, W, 3] or as it is coded [3 H / 2, W], yuv420p in BT.709 video range.
            time: later than that of the picture before.
        """
        width, height = self._format.width, self._format.height
        if picture.dtype != np.uint8 or picture.shape not in ((height, width, 3), (height * 3 // 2, width)):
            raise ValueError(
                f"expected uint8 [{height}, {width}, 3] or [{height * 3 // 2}, {width}], got {picture.dtype} "
                f"{list(picture.shape)}"
            )
        tick = self._frames * self._ticks_per_frame if time is None else round(time * self._ticks_per_second)
        if tick <= self._last_tick:
            raise ValueError(f"frame {self._frames} at {time} s is not later than the one before it")
        coded = picture.ndim == 2
        frame = frame_from_coded(picture) if coded else frame_from_rgb(picture, self._reformatter)
        frame.pts, frame.time_base = tick, Fraction(1, self._ticks_per_second)
        self._last_tick = tick
        self._frames += 1
        self._mux(self._video, frame)

    def write_sound(self, block: Floats) -> None:
        """Write the next samples, float32 [S] or [S, channels] in [-1, 1]."""
        if self._audio is None:
            raise ValueError("this file was opened without sound; give a sample_rate")
        channels = self._format.channels
        samples = block.reshape(-1, 1) if block.ndim == 1 else block
        if samples.shape[1] not in (1, channels):
            raise ValueError(f"expected [S, {channels}], got {list(block.shape)}")
        self._write_samples(np.repeat(samples, channels // samples.shape[1], axis=1), last=False)

    @contextmanager
    def _write_file(self) -> Iterator[None]:
        with write_atomically(self.path, overwrite=self._overwrite) as temporary:
            try:
                with self._output_errors():
                    self._container = self._open(temporary)
                yield
                self._finish()
            except BaseException:
                # The file goes anyway, and the fault so far is the one to tell.
                with suppress(AttributeError, OSError, av.error.FFmpegError):
                    self._container.close()
                raise

    @contextmanager
    def _output_errors(self) -> Iterator[None]:
        try:
            yield
        except av.error.FFmpegError as error:
            known = output_error(error, self.path) if isinstance(error, OSError) else None
            raise known or OutputError(f"Cannot write {self.path}: {error.strerror}.") from error

    def _open(self, temporary: Path) -> OutputContainer:
        options = {"movflags": "+faststart"} if temporary.suffix.lower() != ".mkv" else {}
        container = av.open(file_address(temporary), "w", options=options)
        container.metadata.update(self._metadata)
        self._video = self._video_stream(container)
        rate = self._format.sample_rate
        self._audio = None if rate is None else self._audio_stream(container, rate, self._format.channels)
        return container

    def _video_stream(self, container: OutputContainer) -> VideoStream:
        settings = {"crf": str(self._crf), "preset": "veryfast"}
        stream = container.add_stream("libx264", rate=self._fps, options=settings)
        stream.width, stream.height = self._format.width, self._format.height
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, self._ticks_per_second)
        context = stream.codec_context
        context.time_base = stream.time_base
        context.gop_size = max(1, round(self._fps))
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = ColorRange.MPEG
        return stream

    def _audio_stream(self, container: OutputContainer, rate: int, channels: int) -> AudioStream:
        coded_rate = rate if rate in _AAC_RATES else 48_000
        self._resampler = None
        if coded_rate != rate:
            self._resampler = soxr.ResampleStream(rate, coded_rate, channels, dtype="float32")
        stream = container.add_stream("aac", rate=coded_rate, layout="stereo" if channels == 2 else "mono")
        stream.codec_context.bit_rate = min(128_000, 5 * coded_rate) * channels
        return stream

    def _write_samples(self, samples: Floats, *, last: bool) -> None:
        assert self._audio is not None
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(np.ascontiguousarray(samples), last=last)
        if not len(samples):
            return
        planes = np.ascontiguousarray(samples.T, dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=self._audio.layout.name)
        frame.sample_rate = self._audio.rate
        frame.pts, frame.time_base = self._samples, Fraction(1, self._audio.rate)
        self._samples += len(samples)
        self._mux(self._audio, frame)

    def _mux(self, stream: Any, frame: Any) -> None:
        with self._output_errors():
            for packet in stream.encode(frame):
                self._container.mux(packet)

    def _finish(self) -> None:
        if not self._frames:
            raise ValueError(f"no picture was written to {self.path}")
        self._mux(self._video, None)
        if self._audio is not None:
            if self._resampler is not None:
                self._write_samples(np.zeros((0, self._format.channels), np.float32), last=True)
            self._mux(self._audio, None)
        with self._output_errors():
            self._container.close()
