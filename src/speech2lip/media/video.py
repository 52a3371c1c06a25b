"""Pictures of a video file in: upright, square pixels, with their true times; or as they are coded."""

from __future__ import annotations

import sys
from collections.abc import Container, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import chain, dropwhile, islice
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING

import av

from speech2lip.arrays import Picture
from speech2lip.errors import FootageError
from speech2lip.media.container import BROKEN, VIDEO, decode_packets, open_stream
from speech2lip.media.picture import Upright

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

SLOWEST, FASTEST = Fraction(1), Fraction(1000)
"""Frames per second that a video can have; a file that claims another rate is not believed."""

_NEAREST = 0.0005
"""Seconds between two frames, at least."""
_FARTHEST = 600.0
"""Seconds between two frames, at most: a stamp farther away is a damaged one."""
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
