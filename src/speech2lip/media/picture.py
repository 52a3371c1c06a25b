"""One decoded or coded picture: orientation, pixel shape and colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from speech2lip.arrays import Picture
from speech2lip.media.wide_colour import Narrower, wide_kind

if TYPE_CHECKING:
    from fractions import Fraction

_Matrix = np.ndarray[Any, np.dtype[np.int32]]

BT709 = 1
"""Code of BT.709 for matrix, primaries and transfer (ITU-T H.273)."""

_HD_HEIGHT = 720
"""From here on players take untagged pictures for BT.709, below for BT.601."""

EXACTLY = Interpolation.BICUBIC.value | 0x2000 | 0x4000 | 0x40000
"""Bicubic, chroma at full width in and out, exact rounding: without these flags each pass darkens by 1
to 2 levels. They are ffmpeg's, by number because older releases of PyAV do not name them."""

_UNSPECIFIED = 2
"""Code of an untagged colour matrix (ITU-T H.273)."""


class Converter:
    """Keeps what converting one picture after another needs."""

    def __init__(self) -> None:
        self.reformat = VideoReformatter().reformat
        self.narrow = Narrower()


def rgb_from_frame(
    frame: av.VideoFrame,
    converter: Converter,
    *,
    aspect: Fraction | None,
    size: tuple[int, int] | None = None,
) -> Picture:
    """A decoded frame as people see it: RGB uint8 [H, W, 3], upright, square pixels, even size, contiguous.

    Args:
        aspect: width of a stored pixel over its height.
        size: width and height that the picture is scaled to where its own are others.
    """
    matrix = _display_matrix(frame)
    width, height = _scaled(frame, aspect, matrix, size)
    kind = wide_kind(frame)
    scaled = converter.reformat(
        frame,
        width=width,
        height=height,
        format="rgb24" if kind is None else "gbrp16le",
        src_colorspace=_matrix(frame),
        src_color_range=frame.color_range or None,
        interpolation=EXACTLY,
    )
    narrow = scaled.to_ndarray() if kind is None else converter.narrow(scaled, kind)
    rgb = _upright(narrow.astype(np.uint8, copy=False), matrix)
    height, width = (side // 2 * 2 for side in rgb.shape[:2])
    return np.ascontiguousarray(rgb[:height, :width])


def frame_from_rgb(rgb: Picture, reformatter: VideoReformatter) -> av.VideoFrame:
    """An RGB picture as BT.709 yuv420p in video range, converted and tagged: a tag alone shifts colours."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    coded = reformatter.reformat(
        frame,
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        interpolation=EXACTLY,
    )
    coded.colorspace = BT709
    coded.color_range = ColorRange.MPEG
    return coded


def frame_from_coded(coded: Picture) -> av.VideoFrame:
    """A picture [3 H / 2, W] as a frame to encode, tagged as what it is."""
    frame = av.VideoFrame.from_ndarray(coded, format="yuv420p")
    frame.colorspace = BT709
    frame.color_range = ColorRange.MPEG
    return frame


def _matrix(frame: av.VideoFrame) -> Colorspace | None:
    if frame.colorspace != _UNSPECIFIED:
        return None
    if wide_kind(frame) is not None:
        return Colorspace.BT2020
    return Colorspace.ITU709 if frame.height >= _HD_HEIGHT else Colorspace.ITU601


def _scaled(
    frame: av.VideoFrame, aspect: Fraction | None, matrix: _Matrix | None, size: tuple[int, int] | None
) -> tuple[int, int]:
    """Return the size to scale a frame to, before it is turned upright."""
    width = max(2, round(frame.width * aspect)) if aspect else frame.width
    if size is None:
        return width, frame.height
    wanted = (size[1], size[0]) if _is_turned(matrix) else size
    return (width, frame.height) if wanted == (width // 2 * 2, frame.height // 2 * 2) else wanted


def _display_matrix(frame: av.VideoFrame) -> _Matrix | None:
    side_data: Any = frame.side_data  # PyAV's stubs take it for a mapping
    for data in side_data:
        if data.type.name == "DISPLAYMATRIX" and data.buffer_size >= 36:
            return np.frombuffer(bytes(data)[:36], dtype=np.int32)
    return None


def _is_turned(matrix: _Matrix | None) -> bool:
    return matrix is not None and abs(int(matrix[0])) < abs(int(matrix[1]))


def _upright(rgb: Picture, matrix: _Matrix | None) -> Picture:
    """Turn as a display matrix says: x' = a x + c y, y' = b x + d y, taken to the nearest quarter turn."""
    if matrix is None:
        return rgb
    a, b, c, d = (int(matrix[place]) for place in (0, 1, 3, 4))
    if not _is_turned(matrix):
        flip_x, flip_y = a < 0, d < 0
    else:
        rgb = rgb.transpose(1, 0, 2)
        flip_x, flip_y = c < 0, b < 0
    return rgb[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
