"""Video files in and out: upright with square pixels and true times, or as they are coded."""

from __future__ import annotations

import math
import sys
from collections.abc import Container, Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import chain, dropwhile, islice
from pathlib import Path
from time import time_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import soxr
from av.video.reformatter import ColorRange, VideoReformatter

from speech2lip.atomic import output_error, write_atomically
from speech2lip.conventions import Floats, Picture
from speech2lip.errors import FootageError, OutputError
from speech2lip.media.container import BROKEN, VIDEO, decode_packets, file_address, open_stream
from speech2lip.media.picture import BT709, Upright, frame_from_coded, frame_from_rgb

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream
    from typing_extensions import Self

SLOWEST, FASTEST = Fraction(1), Fraction(1000)
"""Frames per second that a video can have; a file that claims another rate is not believed."""

_NEAREST = 0.0005
"""Seconds between two frames, at least."""
_FARTHEST = 600.0
"""Seconds between two frames, at most: a stamp farther away is a damaged one."""
_SETTLED = 2e9
"""Nanoseconds after which a change of a file shows in its time, whatever the file system."""

SUFFIXES = (".mp4", ".mkv", ".mov")

_METADATA = {"title", "artist", "album", "comment", "description", "synopsis"}
_METADATA |= {"copyright", "genre", "date", "keywords"}
"""Keys that every one of the containers keeps."""

_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
"""ISO/IEC 14496-3, table 1.18; sound of another rate is resampled to 48 kHz."""

_CLOCK = 90_000
"""Least ticks a second of the picture's clock, for uneven frame times (mkv keeps whole milliseconds)."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself; sizes are those of the frames that the reader gives."""

    width: int
    """Pixels, upright and square, even."""
    height: int
    """Pixels, upright, even."""
    fps: Fraction
    """Average frames per second."""
    seconds: float
    """Duration of the picture."""
    frame_count: int | None
    """Number of frames where the file tells it."""
    has_sound: bool
    first_time: float
    """Of the first frame on the file's own clock in seconds, which its sound is on too."""


@dataclass(frozen=True)
class Frame:
    """One picture of a take."""

    index: int
    """Counts from 0."""
    time: float
    """Seconds from the first frame of the file; grows strictly."""
    rgb: Picture
    """uint8 [H, W, 3], contiguous."""


class VideoReader:
    """Reads the frames of any video file; every pass opens the file anew.

    Rotation and mirroring that the file asks for are applied; pixels that are not square are made so by
    scaling the width; an odd last row or column is cut. Packets that cannot be decoded
    are left out and counted.

    Raises:
        FootageError: no such file, not a video, or no frame in it can be decoded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.broken_packets = 0
        """Packets of the latest pass that could not be decoded."""

    def frames(
        self, *, start_frame: int = 0, stop_frame: int | None = None, only: Container[int] | None = None
    ) -> Iterator[Frame]:
        """Yield frames `start_frame` <= index < `stop_frame`, or of those `only` some, which is quicker.

        A start other than 0 jumps to the key frame before it; the index is exact where no packet is broken.
        """
        last = (sys.maxsize if stop_frame is None else stop_frame) - 1
        if last < start_frame:
            return
        clock = upright = None
        for stream, index, picture in self.pictures(start_frame):
            if clock is None or upright is None:
                clock = _Clock(stream, origin=self._stamps[0] if index else None)
                upright = Upright(self.path, stream.sample_aspect_ratio)
            time = clock.time(picture.pts)
            if index >= start_frame and (only is None or index in only):
                yield Frame(index=index, time=time, rgb=upright.rgb(picture))
            if index == last:
                return

    def pictures(self, start: int) -> Generator[tuple[VideoStream, int, av.VideoFrame]]:
        """Yield the stream, number and picture of decoded frames, from `start` or an earlier one on."""
        if 0 < start < len(self._stamps):
            with open_stream(self.path, VIDEO) as (container, stream):
                pictures = self._jump(container, stream, self._stamps[start])
                if pictures is not None:
                    for index, picture in enumerate(pictures, start):
                        yield stream, index, picture
                    return
        self.broken_packets = 0
        with open_stream(self.path, VIDEO) as (container, stream):
            for index, picture in enumerate(decode_packets(container, stream, self._count_broken)):
                yield stream, index, picture

    def _jump(
        self, container: InputContainer, stream: VideoStream, stamp: int
    ) -> Iterator[av.VideoFrame] | None:
        """Frames from the one stamped `stamp` on, by its key frame; None where seeking misses it."""
        self.broken_packets = 0
        try:
            container.seek(stamp, stream=stream, backward=True)
        except BROKEN:
            return None
        decoded = decode_packets(container, stream, self._count_broken)
        pictures = dropwhile(lambda p: p.pts is None or p.pts < stamp, decoded)
        first = next(pictures, None)
        return chain([first], pictures) if first is not None and first.pts == stamp else None

    def _count_broken(self) -> None:
        self.broken_packets += 1

    @cached_property
    def _stamps(self) -> list[int]:
        return _stamps(self.path)


class CodedReader:
    """Reads stretches of a video as `read_coded` does; one that follows the last goes on in the open file."""

    def __init__(self, path: Path) -> None:
        self._reader = VideoReader(path)
        self._upright = Upright(path)
        self._decoded: Generator[tuple[VideoStream, int, av.VideoFrame]] | None = None
        self._pictures: Iterator[av.VideoFrame] = iter(())
        self._next = -1

    def read(self, start: int, stop: int) -> list[Picture]:
        """Return frames start to stop (not included); fewer where the video ends before."""
        if start != self._next:
            self.close()
            self._decoded = self._reader.pictures(start)
            self._pictures = (picture for _, index, picture in self._decoded if index >= start)
        pictures = [self._upright.coded(picture) for picture in islice(self._pictures, stop - start)]
        self._next = start + len(pictures)
        return pictures

    def close(self) -> None:
        """Close the file; a later `read` opens it again."""
        if self._decoded is not None:
            self._decoded.close()
        self._next = -1


def read_frames(
    path: Path, *, start_frame: int = 0, stop_frame: int | None = None, only: Container[int] | None = None
) -> Iterator[Frame]:
    """Yield the frames of a video; use `VideoReader` to learn of broken packets too."""
    return VideoReader(path).frames(start_frame=start_frame, stop_frame=stop_frame, only=only)


def read_coded(path: Path, *, start_frame: int, stop_frame: int) -> list[Picture]:
    """Read frames as coded pictures, uint8 [3 H / 2, W]; those of another kind are converted.

    Raises:
        FootageError: as `VideoReader`.
    """
    with closing(CodedReader(path)) as reader:
        return reader.read(start_frame, stop_frame)


def probe_video(path: Path) -> VideoInfo:
    """Tell size, rate and length of a video, which is looked at once, however often it is asked about.

    Raises:
        FootageError: as `VideoReader`.
    """
    try:
        about = path.stat()
    except (OSError, ValueError):
        return _probe(path)  # which tells what is wrong
    if time_ns() - about.st_mtime_ns < _SETTLED:
        return _probe(path)
    return _probed_once(path.absolute(), about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=256)
def _probed_once(path: Path, size: int, modified: int) -> VideoInfo:
    return _probe(path)


def _probe(path: Path) -> VideoInfo:
    with open_stream(path, VIDEO) as (container, stream):
        seconds = _seconds(container, stream, path)
        picture = next(decode_packets(container, stream), None)
        if picture is None:
            raise FootageError(f"{path} has no picture that can be decoded. Is the file complete?")
        height, width = Upright(path, stream.sample_aspect_ratio).rgb(picture).shape[:2]
        return VideoInfo(
            width=width,
            height=height,
            fps=_believable(stream.average_rate, stream.guessed_rate, stream.base_rate),
            seconds=seconds,
            frame_count=stream.frames if stream.frames > 0 else None,
            has_sound=bool(container.streams.audio),
            first_time=float((picture.pts or 0) * (stream.time_base or 0)),
        )


def _believable(*rates: Fraction | None) -> Fraction:
    """The first rate that can be."""
    return next((Fraction(rate) for rate in rates if rate and SLOWEST <= rate <= FASTEST), Fraction(25))


def _seconds(container: InputContainer, stream: VideoStream, path: Path) -> float:
    """How long the pictures last, by what the file says or by their times."""
    if stream.duration and stream.time_base:
        return max(0.0, float(stream.duration * stream.time_base))
    stamps = _stamps(path)
    if len(stamps) > 1 and stream.time_base:
        return float((stamps[-1] - stamps[0]) * stream.time_base) * len(stamps) / (len(stamps) - 1)
    return max(0.0, container.duration / av.time_base) if container.duration else 0.0


def _stamps(path: Path) -> list[int]:
    """Presentation times of all frames in order, from the packets; empty where the file has none."""
    times: list[int] = []
    # Where the file breaks off, the pass over the frames counts it.
    with open_stream(path, VIDEO) as (container, stream), suppress(*BROKEN):
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_discard:
                continue
            if packet.pts is None:
                return []
            times.append(packet.pts)
    return sorted(set(times))


class _Clock:
    """Frame times from presentation stamps; one that cannot be is one frame after the one before.

    Those are missing, backward, all but the same, or far away.
    """

    def __init__(self, stream: VideoStream, *, origin: int | None = None) -> None:
        self._base = stream.time_base or Fraction(1, 1000)
        self._step = float(1 / _believable(stream.average_rate))
        self._origin = origin
        self._last: float | None = None

    def time(self, stamp: int | None) -> float:
        """Seconds from the first frame, always after the frame that was asked about last."""
        expected = 0.0 if self._last is None else self._last + self._step
        time = expected
        if stamp is not None:
            if self._origin is None:
                self._origin = stamp - round(expected / self._base)
            time = float((stamp - self._origin) * self._base)
        if self._last is not None and not _NEAREST <= time - self._last <= _FARTHEST:
            time = expected
        self._last = time
        return time


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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writing.__exit__(kind, error, trace)

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
