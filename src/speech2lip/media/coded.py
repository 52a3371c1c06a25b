"""Pictures of a video as they are coded, yuv420p: what is not changed need not be converted."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from .picture import BT709, Picture, frame_from_coded, frame_from_rgb, rgb_from_frame
from .video import VideoReader, _open, video_stream

if TYPE_CHECKING:
    from av import VideoFrame


def read_coded(path: Path, *, start_frame: int, stop_frame: int) -> list[Picture]:
    """Read frames as uint8 [3 H / 2, W]: the rows of Y, then those of U and V, in BT.709 video range.

    Pictures of another kind are converted. Raises FootageError as `VideoReader` does.
    """
    return list(_CodedReader(path).coded(start_frame, stop_frame))


def rgb_from_coded(coded: Picture) -> Picture:
    """Convert a picture [3 H / 2, W] to RGB [H, W, 3]."""
    return rgb_from_frame(frame_from_coded(coded), VideoReformatter(), aspect=None)


def coded_from_rgb(rgb: Picture) -> Picture:
    """Convert a picture RGB [H, W, 3] to [3 H / 2, W]."""
    return frame_from_rgb(rgb, VideoReformatter()).to_ndarray().astype(np.uint8, copy=False)


class _CodedReader(VideoReader):
    def coded(self, start: int, stop: int) -> Iterator[Picture]:
        reformatter = VideoReformatter()
        stamps = self._stamps if start else []
        with _open(self.path) as container:
            stream = video_stream(container, self.path)
            pictures = self._jump(container, stream, stamps[start]) if start < len(stamps) else None
            if pictures is not None:
                yield from (_plain(p, reformatter) for p in islice(pictures, stop - start))
                return
        with _open(self.path) as container:
            pictures = self._decode(container, video_stream(container, self.path))
            yield from (_plain(p, reformatter) for p in islice(pictures, start, stop))


def _plain(frame: VideoFrame, reformatter: VideoReformatter) -> Picture:
    ready = frame.format.name == "yuv420p" and frame.colorspace == BT709
    if not (ready and frame.color_range == ColorRange.MPEG and frame.width % 2 == frame.height % 2 == 0):
        frame = reformatter.reformat(
            frame,
            width=frame.width // 2 * 2,
            height=frame.height // 2 * 2,
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
    return frame.to_ndarray().astype(np.uint8, copy=False)
