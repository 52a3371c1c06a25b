"""One decoded or coded picture: orientation, pixel shape and colour; coded ones are yuv420p in BT.709.

A coded picture is uint8 [3 H / 2, W]: the rows of Y, then those of U and V. What is not changed need not be
converted to RGB and back.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from speech2lip.arrays import Picture
from speech2lip.errors import FootageError
from speech2lip.media.container import BROKEN, MOST_PIXELS
from speech2lip.media.wide_colour import narrowed, narrowing_graph, wide_kind

_Matrix = np.ndarray[Any, np.dtype[np.int32]]

BT709 = 1
"""Code of BT.709 for matrix, primaries and transfer (ITU-T H.273)."""

_UNSPECIFIED = 2
"""Code of an untagged colour matrix (ITU-T H.273)."""

_HD_HEIGHT = 720
"""From here on players take untagged pictures for BT.709, below for BT.601."""

_EXACTLY = Interpolation.BICUBIC.value | 0x2000 | 0x4000 | 0x40000
"""Bicubic, chroma at full width in and out, exact rounding: without these flags each pass darkens by 1
to 2 levels. They are ffmpeg's, by number because older releases of PyAV do not name them."""

_WIDEST_PIXEL = 4
"""Width of a stored pixel over its height, or the other way round; the widest of any standard is 2.2."""


class Upright:
    """Converts the pictures of one video as players show them: upright, with square pixels, all of one size.

    Args:
        path: the file, for messages.
        aspect: width of a stored pixel over its height; None: they are square.
    """

    def __init__(self, path: Path, aspect: Fraction | None = None) -> None:
        self._path = path
        self._aspect = aspect
        if aspect and not Fraction(1, _WIDEST_PIXEL) <= aspect <= _WIDEST_PIXEL:
            raise FootageError(
                f"{path} asks for pixels {float(aspect):.3g} times as wide as high. "
                "Is the file damaged? Export it with square pixels."
            )
        self._size: tuple[int, int] | None = None
        self._reformat = VideoReformatter().reformat
        self._graph = cache(narrowing_graph)

    def rgb(self, frame: av.VideoFrame) -> Picture:
        """Convert a decoded picture to RGB uint8 [H, W, 3] of even size, the first one's, contiguous.

        Raises:
            FootageError: its size or kind is one that cannot be.
        """
        width, height = float(frame.width * (self._aspect or 1)), frame.height
        if min(width, height) < 2 or width * height > MOST_PIXELS:
            raise FootageError(
                f"{self._path} has pictures of {width:.0f} x {height} pixels: 2 x 2 is the least, "
                f"{MOST_PIXELS // 1_000_000} million the most. Export it in another size."
            )
        try:
            rgb = self._converted(frame)
        except BROKEN as error:
            raise FootageError(
                f"{self._path} has pictures of a kind ({frame.format.name}) that cannot be converted. "
                "Export it as H.264 with yuv420p."
            ) from error
        height, width = self._size = (rgb.shape[0] // 2 * 2, rgb.shape[1] // 2 * 2)
        return np.ascontiguousarray(rgb[:height, :width])

    def coded(self, frame: av.VideoFrame) -> Picture:
        """Convert a decoded picture to uint8 [3 H / 2, W]; one that is of this kind is taken as it is."""
        try:
            if wide_kind(frame) is not None:
                return coded_from_rgb(self.rgb(frame))
            coding = (frame.format.name, frame.colorspace, frame.color_range)
            if coding != ("yuv420p", BT709, ColorRange.MPEG) or frame.width % 2 or frame.height % 2:
                frame = self._reformat(
                    frame,
                    width=frame.width // 2 * 2,
                    height=frame.height // 2 * 2,
                    format="yuv420p",
                    dst_colorspace=Colorspace.ITU709,
                    dst_color_range=ColorRange.MPEG,
                )
            return frame.to_ndarray().astype(np.uint8, copy=False)
        except BROKEN as error:
            raise FootageError(
                f"{self._path} has pictures that cannot be converted. Is it damaged?"
            ) from error

    def _converted(self, frame: av.VideoFrame) -> Picture:
        matrix = _display_matrix(frame)
        width = max(2, round(frame.width * self._aspect)) if self._aspect else frame.width
        height = frame.height
        if self._size is not None:
            wanted = self._size if _is_turned(matrix) else self._size[::-1]
            if wanted != (width // 2 * 2, height // 2 * 2):
                width, height = wanted
        kind = wide_kind(frame)
        scaled = self._reformat(
            frame,
            width=width,
            height=height,
            format="rgb24" if kind is None else "gbrp16le",
            src_colorspace=_colour_matrix(frame),
            src_color_range=frame.color_range or None,
            interpolation=_EXACTLY,
        )
        graph = None if kind is None else self._graph(kind, width, height)
        rgb = scaled.to_ndarray() if graph is None else narrowed(scaled, graph)
        return _upright(rgb.astype(np.uint8, copy=False), matrix)


def rgb_from_coded(coded: Picture) -> Picture:
    """Convert a picture [3 H / 2, W] to RGB [H, W, 3]."""
    return Upright(Path()).rgb(frame_from_coded(coded))


def coded_from_rgb(rgb: Picture) -> Picture:
    """Convert a picture RGB [H, W, 3] to [3 H / 2, W]."""
    return frame_from_rgb(rgb, VideoReformatter()).to_ndarray().astype(np.uint8, copy=False)


def frame_from_rgb(rgb: Picture, reformatter: VideoReformatter) -> av.VideoFrame:
    """An RGB picture as BT.709 yuv420p in video range, converted and tagged: a tag alone shifts colours."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    coded = reformatter.reformat(
        frame,
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        interpolation=_EXACTLY,
    )
    return _tagged(coded)


def frame_from_coded(coded: Picture) -> av.VideoFrame:
    """A picture [3 H / 2, W] as a frame to encode, tagged as what it is."""
    return _tagged(av.VideoFrame.from_ndarray(coded, format="yuv420p"))


class JpegWriter:
    """Turns coded pictures of one size into JPEG files."""

    def __init__(self, *, width: int, height: int, quality: int) -> None:
        """`quality` is 2 (best) to 31."""
        codec = av.CodecContext.create("mjpeg", "w")
        codec.width, codec.height, codec.pix_fmt = width, height, "yuvj420p"
        codec.time_base = Fraction(1)
        codec.options = {"qmin": str(quality), "qmax": str(quality), "huffman": "default"}
        self._codec = codec
        self._reformatter = VideoReformatter()

    def write(self, coded: Picture) -> bytes:
        """Return the picture as a JPEG file, in BT.601 full range as JFIF asks for."""
        frame = self._reformatter.reformat(
            frame_from_coded(coded),
            format="yuvj420p",
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=ColorRange.JPEG,
            interpolation=_EXACTLY,
        )
        frame.pts = None
        return b"".join(bytes(packet) for packet in self._codec.encode(frame))


def _tagged(frame: av.VideoFrame) -> av.VideoFrame:
    frame.colorspace = BT709
    frame.color_range = ColorRange.MPEG
    return frame


def _colour_matrix(frame: av.VideoFrame) -> Colorspace | None:
    if frame.colorspace != _UNSPECIFIED:
        return None
    if wide_kind(frame) is not None:
        return Colorspace.BT2020
    return Colorspace.ITU709 if frame.height >= _HD_HEIGHT else Colorspace.ITU601


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
