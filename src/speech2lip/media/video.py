"""Pictures of a video file in: upright, square pixels, with their true times."""

from __future__ import annotations

import sys
from collections.abc import Container, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import chain, dropwhile
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from speech2lip.errors import FootageError
from speech2lip.media.packets import BROKEN, VIDEO, open_container
from speech2lip.media.stream import Clock, Upright, decoded, frame_rate, seconds_of, stamps, video_stream
from speech2lip.media.video_writer import Encoding, VideoFormat, VideoWriter

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = [
    "Encoding",
    "Frame",
    "VideoFormat",
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "probe_video",
    "read_frames",
]

_SETTLED = 2e9
"""Nanoseconds after which a change of a file shows in its time, whatever the file system."""


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
        return _probed(self.path).info

    def frames(
        self, *, start_frame: int = 0, stop_frame: int | None = None, only: Container[int] | None = None
    ) -> Iterator[Frame]:
        """Yield frames `start_frame` <= index < `stop_frame`, or of those `only` some, which is quicker.

        A start other than 0 jumps to the key frame before it; the index is exact where no packet is broken.
        """
        self.broken_packets = 0
        if 0 < start_frame < len(self._stamps):
            with open_container(self.path, VIDEO) as container:
                stream = video_stream(container, self.path)
                pictures = self._jump(container, stream, self._stamps[start_frame])
                if pictures is not None:
                    clock = Clock(stream, origin=self._stamps[0])
                    yield from self._timed(
                        pictures, stream, clock, range(start_frame, _stop(stop_frame)), only
                    )
                    return
            self.broken_packets = 0
        with open_container(self.path, VIDEO) as container:
            stream = video_stream(container, self.path)
            pictures = self._decode(container, stream)
            wanted = range(start_frame, _stop(stop_frame)) if only is None else only
            yield from self._timed(pictures, stream, Clock(stream), range(_stop(stop_frame)), wanted)

    __iter__ = frames

    def first_time(self) -> float:
        """Time of the first frame on the file's own clock in seconds, which its sound is on too."""
        return _probed(self.path).first_time

    def _timed(
        self,
        pictures: Iterator[av.VideoFrame],
        stream: VideoStream,
        clock: Clock,
        numbers: range,
        wanted: Container[int] | None,
    ) -> Iterator[Frame]:
        """Give the pictures their numbers and times; those not wanted are counted but not converted."""
        upright = Upright(stream, self.path)
        for index, picture in zip(numbers, pictures, strict=False):
            time = clock.time(picture.pts)
            if wanted is None or index in wanted:
                yield Frame(index=index, time=time, rgb=upright(picture))

    def _decode(self, container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
        yield from decoded(container, stream, self._count_broken)

    def _count_broken(self) -> None:
        self.broken_packets += 1

    @cached_property
    def _stamps(self) -> list[int]:
        return stamps(self.path)

    def _jump(
        self, container: InputContainer, stream: VideoStream, stamp: int
    ) -> Iterator[av.VideoFrame] | None:
        """Frames from the one stamped `stamp` on, by its key frame; None where seeking misses it."""
        try:
            container.seek(stamp, stream=stream, backward=True)
        except BROKEN:
            return None
        pictures = dropwhile(lambda p: p.pts is None or p.pts < stamp, self._decode(container, stream))
        first = next(pictures, None)
        return chain([first], pictures) if first is not None and first.pts == stamp else None


def probe_video(path: Path) -> VideoInfo:
    """Tell size, rate and length of a video; raise FootageError when it is none."""
    return VideoReader(path).info


def read_frames(
    path: Path, *, start_frame: int = 0, stop_frame: int | None = None, only: Container[int] | None = None
) -> Iterator[Frame]:
    """Yield the frames of a video; use `VideoReader` to learn of broken packets too."""
    return VideoReader(path).frames(start_frame=start_frame, stop_frame=stop_frame, only=only)


@dataclass(frozen=True)
class _Probe:
    info: VideoInfo
    first_time: float
    """Of the first frame on the file's own clock, seconds."""


def _probed(path: Path) -> _Probe:
    """Look at a video once, however often it is asked about."""
    try:
        about = path.stat()
    except (OSError, ValueError):
        return _probe(path)  # which tells what is wrong
    if time_ns() - about.st_mtime_ns < _SETTLED:
        return _probe(path)
    return _probed_once(path.absolute(), about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=256)
def _probed_once(path: Path, size: int, modified: int) -> _Probe:
    return _probe(path)


def _probe(path: Path) -> _Probe:
    with open_container(path, VIDEO) as container:
        stream = video_stream(container, path)
        seconds = seconds_of(container, stream, path)
        rate = frame_rate(stream)
        picture = next(decoded(container, stream), None)
        if picture is None:
            raise FootageError(f"{path} has no picture that can be decoded. Is the file complete?")
        height, width = Upright(stream, path)(picture).shape[:2]
        return _Probe(
            VideoInfo(
                width=width,
                height=height,
                fps=rate,
                seconds=seconds,
                frame_count=stream.frames if stream.frames > 0 else None,
                has_sound=bool(container.streams.audio),
            ),
            first_time=float((picture.pts or 0) * (stream.time_base or 0)),
        )


def _stop(stop_frame: int | None) -> int:
    return sys.maxsize if stop_frame is None else stop_frame
