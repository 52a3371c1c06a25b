"""Part of a picture as it is coded, yuv420p in BT.709 video range, to colours in [0, 1] and back.

Pictures are arrays uint8 [3 H / 2, W]: the rows of Y, then those of U and V, as PyAV hands them over. Only
the part that is composed is ever converted; all else goes from the decoder to the encoder as it is.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from speech2lip.arrays import Picture
from speech2lip.conventions import Box

_RED, _BLUE = 0.2126, 0.0722
"""Shares of red and blue in the luma of BT.709 (ITU-R BT.709-6, item 3.2)."""
_GREEN = 1 - _RED - _BLUE
_LUMA, _CHROMA = 219 / 255, 112 / 255
"""Video range: luma 16 to 235, chroma 128 - 112 to 128 + 112, of 255."""

YUV_FROM_RGB = torch.tensor(
    [
        [_RED * _LUMA, _GREEN * _LUMA, _BLUE * _LUMA],
        [-_RED / (1 - _BLUE) * _CHROMA, -_GREEN / (1 - _BLUE) * _CHROMA, _CHROMA],
        [_CHROMA, -_GREEN / (1 - _RED) * _CHROMA, -_BLUE / (1 - _RED) * _CHROMA],
    ]
)
RGB_FROM_YUV = torch.linalg.inv(YUV_FROM_RGB)
_OFFSET = torch.tensor([16 / 255, 128 / 255, 128 / 255])


def split(picture: Picture) -> tuple[Picture, Picture, Picture]:
    """Return views of Y [H, W], U and V [H / 2, W / 2] of a picture [3 H / 2, W]."""
    rows, width = picture.shape
    height = rows * 2 // 3
    chroma = picture[height:].reshape(2, height // 2, width // 2)
    return picture[:height], chroma[0], chroma[1]


def read_box(pictures: list[Picture], boxes: list[Box]) -> Tensor:
    """Return the colours of boxes of equal size with even edges; [B, 3, h, w] in [0, 1]."""
    luma, chroma = [], []
    for picture, (x0, y0, x1, y1) in zip(pictures, boxes, strict=True):
        y, u, v = split(picture)
        luma.append(torch.from_numpy(y[y0:y1, x0:x1]))
        half = (slice(y0 // 2, y1 // 2), slice(x0 // 2, x1 // 2))
        chroma.append(torch.from_numpy(np.stack([u[half], v[half]])))
    # A sample of chroma lies amid its four pixels, where ffmpeg puts it.
    coarse = torch.stack(chroma).float()
    fine = functional.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
    yuv = torch.cat([torch.stack(luma)[:, None].float(), fine], dim=1) / 255
    return functional.conv2d(yuv - _OFFSET[:, None, None], RGB_FROM_YUV[..., None, None]).clamp_(0, 1)


def write_box(picture: Picture, box: Box, rgb: Tensor, inside: Tensor) -> None:
    """Write colours [3, h, w] into a box of a picture where `inside` [h, w] is true; the rest stays as it is.

    A chroma sample is written where one of its four pixels is inside.
    """
    x0, y0, x1, y1 = box
    y, u, v = split(picture)
    yuv = functional.conv2d(rgb[None], YUV_FROM_RGB[..., None, None])[0] + _OFFSET[:, None, None]
    coded = _bytes(yuv[0])
    where = inside.numpy()
    np.copyto(y[y0:y1, x0:x1], coded, where=where)
    halved = _bytes(functional.avg_pool2d(yuv[1:], 2))
    touched = where.reshape(where.shape[0] // 2, 2, where.shape[1] // 2, 2).any(axis=(1, 3))
    for plane, values in ((u, halved[0]), (v, halved[1])):
        np.copyto(plane[y0 // 2 : y1 // 2, x0 // 2 : x1 // 2], values, where=touched)


def _bytes(values: Tensor) -> Picture:
    return (values.clamp(0, 1) * 255).round().byte().numpy()
