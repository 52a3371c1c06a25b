"""Coded pictures as JPEG, for the page."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from speech2lip.media.picture import EXACTLY, frame_from_coded


class JpegWriter:
    """Turns pictures of one size, uint8 [3 H / 2, W], into JPEG files."""

    def __init__(self, *, width: int, height: int, quality: int) -> None:
        """`quality` is 2 (best) to 31."""
        codec = av.CodecContext.create("mjpeg", "w")
        codec.width, codec.height, codec.pix_fmt = width, height, "yuvj420p"
        codec.time_base = Fraction(1)
        codec.options = {"qmin": str(quality), "qmax": str(quality), "huffman": "default"}
        self._codec = codec
        self._reformatter = VideoReformatter()

    def write(self, coded: NDArray[np.uint8]) -> bytes:
        """Return the picture as a JPEG file, in BT.601 full range as JFIF asks for."""
        frame = self._reformatter.reformat(
            frame_from_coded(coded),
            format="yuvj420p",
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=ColorRange.JPEG,
            interpolation=EXACTLY,
        )
        frame.pts = None
        return b"".join(bytes(packet) for packet in self._codec.encode(frame))
