"""Pictures of a video file in: upright, square pixels, with their true times."""

from __future__ import annotations

import sys
from collections.abc import Container, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import chain, dropwhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from speech2lip.errors import FootageError
from speech2lip.media.packets import decode_packets
from speech2lip.media.picture import rgb_from_frame
from speech2lip.media.video_writer import VideoWriter

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["Frame", "VideoInfo", "VideoReader", "VideoWriter", "probe_video", "read_frames"]


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


@dataclass(frozen=True)
class Frame:
    """One picture of a take."""

    index: int
    """Counts from 0."""
    time: float
    """Seconds from the first frame of the file; grows strictly."""
    rgb: np.ndarray[Any, np.dtype[np.uint8]]
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

    @cached_property
    def info(self) -> VideoInfo:
        """What the file says of itself, after a look at its first frame."""
        frame = next(self.frames(), None)
        if frame is None:
            raise FootageError(f"{self.path} has no picture that can be decoded. Is the file complete?")
        with _open(self.path) as container:
            stream = video_stream(container, self.path)
            rate = stream.average_rate or stream.guessed_rate or stream.base_rate
            height, width = frame.rgb.shape[:2]
            return VideoInfo(
                width=width,
                height=height,
                fps=Fraction(rate) if rate else Fraction(25),
                seconds=self._seconds(container, stream),
                frame_count=stream.frames or None,
                has_sound=bool(container.streams.audio),
            )

    def frames(
        self, *, start_frame: int = 0, stop_frame: int | None = None, only: Container[int] | None = None
    ) -> Iterator[Frame]:
        """Yield frames `start_frame` <= index < `stop_frame`, or of those `only` some, which is quicker.

        A start other than 0 jumps to the key frame before it; the index is exact where no packet is broken.
        """
        self.broken_packets = 0
        if 0 < start_frame < len(self._stamps):
            with _open(self.path) as container:
                stream = video_stream(container, self.path)
                pictures = self._jump(container, stream, self._stamps[start_frame])
                if pictures is not None:
                    clock = _Clock(stream, origin=self._stamps[0])
                    yield from _timed(pictures, stream, clock, range(start_frame, _stop(stop_frame)), only)
                    return
            self.broken_packets = 0
        with _open(self.path) as container:
            stream = video_stream(container, self.path)
            pictures = self._decode(container, stream)
            wanted = range(start_frame, _stop(stop_frame)) if only is None else only
            yield from _timed(pictures, stream, _Clock(stream), range(_stop(stop_frame)), wanted)

    __iter__ = frames

    def first_time(self) -> float:
        """Time of the first frame on the file's own clock in seconds, which its sound is on too."""
        with _open(self.path) as container:
            stream = video_stream(container, self.path)
            frame = next(self._decode(container, stream), None)
            if frame is None or frame.pts is None or stream.time_base is None:
                return 0.0
            return float(frame.pts * stream.time_base)

    def _decode(self, container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
        stream.thread_type = "AUTO"
        yield from decode_packets(container, stream, self._count_broken)

    def _count_broken(self) -> None:
        self.broken_packets += 1

    @cached_property
    def _stamps(self) -> list[int]:
        """Presentation times of all frames in order, from the packets; empty where the file has none."""
        with _open(self.path) as container:
            stream = video_stream(container, self.path)
            times: list[int] = []
            try:
                for packet in container.demux(stream):
                    if packet.size == 0 or packet.is_discard:
                        continue
                    if packet.pts is None:
                        return []
                    times.append(packet.pts)
            except av.error.FFmpegError:
                pass  # the pass over the frames counts it
        return sorted(set(times))

    def _jump(
        self, container: InputContainer, stream: VideoStream, stamp: int
    ) -> Iterator[av.VideoFrame] | None:
        """Frames from the one stamped `stamp` on, by its key frame; None where seeking misses it."""
        container.seek(stamp, stream=stream, backward=True)
        pictures = dropwhile(lambda p: p.pts is None or p.pts < stamp, self._decode(container, stream))
        first = next(pictures, None)
        return chain([first], pictures) if first is not None and first.pts == stamp else None

    def _seconds(self, container: InputContainer, stream: VideoStream) -> float:
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        if len(self._stamps) > 1 and stream.time_base:
            return (
                float((self._stamps[-1] - self._stamps[0]) * stream.time_base)
                * len(self._stamps)
                / (len(self._stamps) - 1)
            )
        return container.duration / av.time_base if container.duration else 0.0


def probe_video(path: Path) -> VideoInfo:
    """Tell size, rate and length of a video; raise FootageError when it is none."""
    return VideoReader(path).info


def read_frames(
    path: Path, *, start_frame: int = 0, stop_frame: int | None = None, only: Container[int] | None = None
) -> Iterator[Frame]:
    """Yield the frames of a video; use `VideoReader` to learn of broken packets too."""
    return VideoReader(path).frames(start_frame=start_frame, stop_frame=stop_frame, only=only)


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The moving picture of an open file; covers of music files do not count."""
    single = container.format.name.endswith("_pipe") or container.format.name in {"image2", "tty"}
    moving = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if single or not moving:
        raise FootageError(f"{path} has no moving picture in it. Give a video file (mp4, mov, mkv, mpg ...).")
    return moving[0]


def _open(path: Path) -> InputContainer:
    if not path.exists():
        raise FootageError(f"There is no file {path}.")
    if path.is_dir():
        raise FootageError(f"{path} is a folder. Give the video files in it.")
    try:
        return av.open(str(path), metadata_errors="replace")
    except av.error.PermissionError as error:
        raise FootageError(f"{path} cannot be read: permission denied.") from error
    except (av.error.FFmpegError, OSError) as error:
        raise FootageError(
            f"{path} is not a video that can be read. Give an mp4, mov, mkv or mpg file."
        ) from error


def _timed(
    pictures: Iterator[av.VideoFrame],
    stream: VideoStream,
    clock: _Clock,
    numbers: range,
    wanted: Container[int] | None,
) -> Iterator[Frame]:
    """Give the pictures their numbers and times; those that are not wanted are counted but not converted."""
    reformatter = VideoReformatter()
    aspect = stream.sample_aspect_ratio
    for index, picture in zip(numbers, pictures, strict=False):
        time = clock.time(picture.pts)
        if wanted is None or index in wanted:
            yield Frame(index=index, time=time, rgb=rgb_from_frame(picture, reformatter, aspect=aspect))


def _stop(stop_frame: int | None) -> int:
    return sys.maxsize if stop_frame is None else stop_frame


class _Clock:
    """Frame times from presentation stamps; a missing or backward stamp is one frame after the one before."""

    def __init__(self, stream: VideoStream, *, origin: int | None = None) -> None:
        self._base = stream.time_base or Fraction(1, 1000)
        self._step = float(1 / (stream.average_rate or Fraction(25)))
        self._origin = origin
        self._last: float | None = None

    def time(self, stamp: int | None) -> float:
        """Seconds from the first frame, never before the frame that was asked about last."""
        expected = 0.0 if self._last is None else self._last + self._step
        time = expected
        if stamp is not None:
            if self._origin is None:
                self._origin = stamp - round(expected / self._base)
            time = float((stamp - self._origin) * self._base)
        if self._last is not None and time <= self._last:
            time = expected
        self._last = time
        return time
