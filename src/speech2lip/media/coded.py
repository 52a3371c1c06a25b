"""Pictures of a video as they are coded, yuv420p: what is not changed need not be converted."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from speech2lip.arrays import Picture
from speech2lip.errors import FootageError
from speech2lip.media.packets import BROKEN, VIDEO, open_container
from speech2lip.media.picture import BT709, Converter, frame_from_coded, frame_from_rgb, rgb_from_frame
from speech2lip.media.stream import video_stream
from speech2lip.media.video import VideoReader
from speech2lip.media.wide_colour import wide_kind

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream
    from typing_extensions import Self


def read_coded(path: Path, *, start_frame: int, stop_frame: int) -> list[Picture]:
    """Read frames as uint8 [3 H / 2, W]: the rows of Y, then those of U and V, in BT.709 video range.

    Pictures of another kind are converted. Raises FootageError as `VideoReader` does.
    """
    with CodedReader(path) as reader:
        return reader.read(start_frame, stop_frame)


def rgb_from_coded(coded: Picture) -> Picture:
    """Convert a picture [3 H / 2, W] to RGB [H, W, 3]."""
    return rgb_from_frame(frame_from_coded(coded), Converter(), aspect=None)


def coded_from_rgb(rgb: Picture) -> Picture:
    """Convert a picture RGB [H, W, 3] to [3 H / 2, W]."""
    return frame_from_rgb(rgb, VideoReformatter()).to_ndarray().astype(np.uint8, copy=False)


class CodedReader(VideoReader):
    """Reads stretches of a video as `read_coded` does; one that follows the last goes on in the open file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._opened: InputContainer | None = None
        self._pictures: Iterator[VideoFrame] = iter(())
        self._next = -1
        self._converter = Converter()

    def read(self, start: int, stop: int) -> list[Picture]:
        """Return frames start to stop (not included); fewer where the video ends before."""
        if start != self._next:
            self._open_at(start)
        try:
            pictures = [_plain(picture, self._converter) for picture in islice(self._pictures, stop - start)]
        except BROKEN as error:
            raise FootageError(
                f"{self.path} has pictures that cannot be converted. Is it damaged?"
            ) from error
        self._next = start + len(pictures)
        return pictures

    def close(self) -> None:
        """Close the file; a later `read` opens it again."""
        self._pictures, self._next = iter(()), -1
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_at(self, start: int) -> None:
        stamps = self._stamps if start else []
        if start < len(stamps):
            container, stream = self._reopen()
            pictures = self._jump(container, stream, stamps[start])
            if pictures is not None:
                self._pictures = pictures
                return
        container, stream = self._reopen()
        self._pictures = islice(self._decode(container, stream), start, None)

    def _reopen(self) -> tuple[InputContainer, VideoStream]:
        self.close()
        self._opened = open_container(self.path, VIDEO)
        return self._opened, video_stream(self._opened, self.path)


def _plain(frame: VideoFrame, converter: Converter) -> Picture:
    if wide_kind(frame) is not None:
        return coded_from_rgb(rgb_from_frame(frame, converter, aspect=None))
    ready = frame.format.name == "yuv420p" and frame.colorspace == BT709
    if not (ready and frame.color_range == ColorRange.MPEG and frame.width % 2 == frame.height % 2 == 0):
        frame = converter.reformat(
            frame,
            width=frame.width // 2 * 2,
            height=frame.height // 2 * 2,
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
    return frame.to_ndarray().astype(np.uint8, copy=False)
