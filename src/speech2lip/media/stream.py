"""The moving picture of an open file: its stream, rate, stamps and times, and its pictures upright."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av

from speech2lip.arrays import Picture
from speech2lip.errors import FootageError
from speech2lip.media.packets import BROKEN, MOST_PIXELS, VIDEO, decode_packets, open_container
from speech2lip.media.picture import Converter, rgb_from_frame

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

SLOWEST, FASTEST = Fraction(1), Fraction(1000)
"""Frames per second that a video can have; a file that claims another rate is not believed."""

_WIDEST_PIXEL = 4
"""Width of a stored pixel over its height, or the other way round; the widest of any standard is 2.2."""
_NEAREST = 0.0005
"""Seconds between two frames, at least."""
_FARTHEST = 600.0
"""Seconds between two frames, at most: a stamp farther away is a damaged one."""


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The moving picture of an open file; covers of music files do not count.

    Raises:
        FootageError: there is none, or none that can be decoded.
    """
    moving = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not moving:
        raise FootageError(f"{path} has no moving picture in it. {VIDEO.give}")
    for stream in moving:
        if stream.codec_context is not None:  # PyAV's stubs know nothing of streams without a decoder
            stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
            return stream
    raise FootageError(f"{path} has a moving picture of a kind that cannot be decoded. Convert it to H.264.")


def decoded(
    container: InputContainer, stream: VideoStream, broken: Callable[[], None] = lambda: None
) -> Iterator[av.VideoFrame]:
    """Yield the pictures of a stream as they are decoded; `broken` is called for each packet left out."""
    stream.thread_type = "AUTO"
    yield from decode_packets(container, stream, broken)


def frame_rate(stream: VideoStream) -> Fraction:
    """The first rate that the file claims and that can be."""
    return _believable(stream.average_rate, stream.guessed_rate, stream.base_rate)


def _believable(*rates: Fraction | None) -> Fraction:
    return next((Fraction(rate) for rate in rates if rate and SLOWEST <= rate <= FASTEST), Fraction(25))


def seconds_of(container: InputContainer, stream: VideoStream, path: Path) -> float:
    """Return how long the pictures last, by what the file says or by their times."""
    if stream.duration and stream.time_base:
        return max(0.0, float(stream.duration * stream.time_base))
    stamped = stamps(path)
    if len(stamped) > 1 and stream.time_base:
        return float((stamped[-1] - stamped[0]) * stream.time_base) * len(stamped) / (len(stamped) - 1)
    return max(0.0, container.duration / av.time_base) if container.duration else 0.0


def stamps(path: Path) -> list[int]:
    """Presentation times of all frames in order, from the packets; empty where the file has none."""
    with open_container(path, VIDEO) as container:
        stream = video_stream(container, path)
        times: list[int] = []
        try:
            for packet in container.demux(stream):
                if packet.size == 0 or packet.is_discard:
                    continue
                if packet.pts is None:
                    return []
                times.append(packet.pts)
        except BROKEN:
            pass  # the pass over the frames counts it
    return sorted(set(times))


class Upright:
    """Converts the pictures of one stream; all get the size of the first, as players show them."""

    def __init__(self, stream: VideoStream, path: Path) -> None:
        self._path = path
        self._aspect = stream.sample_aspect_ratio
        if self._aspect and not Fraction(1, _WIDEST_PIXEL) <= self._aspect <= _WIDEST_PIXEL:
            raise FootageError(
                f"{path} asks for pixels {float(self._aspect):.3g} times as wide as high. "
                "Is the file damaged? Export it with square pixels."
            )
        self._converter = Converter()
        self._size: tuple[int, int] | None = None

    def __call__(self, picture: av.VideoFrame) -> Picture:
        """Convert a picture to uint8 RGB [H, W, 3], upright, with square pixels.

        Raises:
            FootageError: its size or kind is one that cannot be.
        """
        width, height = float(picture.width * (self._aspect or 1)), picture.height
        if min(width, height) < 2 or width * height > MOST_PIXELS:
            raise FootageError(
                f"{self._path} has pictures of {width:.0f} x {height} pixels: 2 x 2 is the least, "
                f"{MOST_PIXELS // 1_000_000} million the most. Export it in another size."
            )
        try:
            rgb = rgb_from_frame(picture, self._converter, aspect=self._aspect, size=self._size)
        except BROKEN as error:
            raise FootageError(
                f"{self._path} has pictures of a kind ({picture.format.name}) that cannot be converted. "
                "Export it as H.264 with yuv420p."
            ) from error
        self._size = (rgb.shape[1], rgb.shape[0])
        return rgb


class Clock:
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
