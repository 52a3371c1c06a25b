"""Pictures of wide colour and high dynamic range (BT.2020; HLG and PQ of BT.2100) as BT.709 shows them.

White of print and paper, 203 nits (ITU-R BT.2408), is white in BT.709. What is brighter is compressed into
its upper eighth, so that a face keeps its tones and a lamp does not become a hole.
"""

from __future__ import annotations

from enum import Enum
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import av.filter
import numpy as np
from numpy.typing import NDArray

_WHITE_NITS = 203.0
"""Diffuse white, ITU-R BT.2408, table 1."""
_PEAK_NITS = 1000.0
"""Of the display that HLG and PQ are graded for: BT.2408, 2.2."""
_GAMMA = 2.4
"""Of the display for BT.709: BT.1886."""
_KNEE = 0.75
"""Light over white up to which nothing is compressed; skin is darker."""
_SIDE = 33
"""Values of each channel in the table; between them it is interpolated."""

_LUMA = np.array([0.2627, 0.6780, 0.0593])
"""BT.2020, table 4."""
_BT709_FROM_BT2020 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)
"""Linear light, ITU-R BT.2087, 2."""


class Wide(Enum):
    """How a picture that is wider than BT.709 is coded."""

    PQ = 16
    """BT.2100's perceptual quantisation; the code is ITU-T H.273's for the transfer."""
    HLG = 18
    """BT.2100's hybrid log-gamma."""
    SDR = 9
    """BT.2020 in the usual range; the code is H.273's for the primaries."""


def wide_kind(frame: av.VideoFrame) -> Wide | None:
    """Tell how a frame is wider than BT.709; None: it is not."""
    if frame.color_trc in (Wide.PQ.value, Wide.HLG.value):
        return Wide(frame.color_trc)
    return Wide.SDR if frame.color_primaries == Wide.SDR.value else None


def narrowing_graph(kind: Wide, width: int, height: int) -> av.filter.Graph:
    """Let libavfilter look up what `bt709_from_wide` makes of the pictures of one size in a table."""
    graph = av.filter.Graph()
    pixels = av.VideoFormat("gbrp16le")
    source = graph.add_buffer(width=width, height=height, format=pixels, time_base=Fraction(1))
    with TemporaryDirectory() as folder:  # the filter reads its table from a file, once
        file = Path(folder) / "table.cube"
        file.write_text(_table(kind))
        table = graph.add("lut3d", file=str(file), interp="tetrahedral")
        graph.link_nodes(source, table, graph.add("format", "rgb24"), graph.add("buffersink"))
        graph.configure()
    return graph


def narrowed(frame: av.VideoFrame, graph: av.filter.Graph) -> NDArray[np.uint8]:
    """Return a frame in gbrp16le, BT.2020 primaries in full range, as BT.709 [H, W, 3]."""
    frame.pts = None
    graph.push(frame)
    narrow: Any = graph.pull()
    return narrow.to_ndarray()


def bt709_from_wide(rgb: NDArray[np.uint16], kind: Wide) -> NDArray[np.uint8]:
    """Convert a picture [H, W, 3] of BT.2020 primaries, 16 bits in full range, to BT.709: the exact way."""
    light = _light(rgb / 65535, kind)
    if kind is Wide.HLG:  # what makes light of the scene that of a display: BT.2100, table 5, gamma 1.2
        light = light * _PEAK_NITS / _WHITE_NITS * np.maximum(light @ _LUMA, 1e-6)[..., None] ** 0.2
    light = light @ _BT709_FROM_BT2020.T
    if kind is not Wide.SDR:
        light = light * _compression(light)
    narrow: NDArray[np.uint8] = np.round(255 * np.clip(light, 0, 1) ** (1 / _GAMMA)).astype(np.uint8)
    return narrow


@cache
def _table(kind: Wide) -> str:
    """The conversion at `_SIDE` values of each channel as a .cube file, red fastest.

    It is of 256ths, not 255ths: ffmpeg takes the upper 8 of the 16 bits that come out.
    """
    values = np.round(np.linspace(0, 65535, _SIDE)).astype(np.uint16)
    blue, green, red = np.meshgrid(values, values, values, indexing="ij")
    narrow = bt709_from_wide(np.stack([red, green, blue], axis=-1).reshape(1, -1, 3), kind)[0] * (256 / 65535)
    return f"LUT_3D_SIZE {_SIDE}\n" + "".join(f"{r:.5f} {g:.5f} {b:.5f}\n" for r, g, b in narrow.tolist())


def _light(code: NDArray[Any], kind: Wide) -> NDArray[Any]:
    """Linear light over white of a code from 0 to 1; of the scene, 1 at its peak, for HLG."""
    if kind is Wide.SDR:
        return code**_GAMMA
    if kind is Wide.PQ:  # BT.2100, table 4
        power = code ** (32 / 2523)
        light = np.maximum(power - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * power)
        return light ** (16384 / 2610) * 10_000 / _WHITE_NITS
    a, b, c = 0.17883277, 0.28466892, 0.55991073  # BT.2100, table 5
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)


def _compression(light: NDArray[Any]) -> NDArray[Any]:
    """Reinhard's curve from the knee to the peak, on the largest channel: hues stay."""
    largest = np.maximum(light.max(axis=-1, keepdims=True), 1e-6)
    over = np.maximum(largest - _KNEE, 0) / (1 - _KNEE)
    peak = (_PEAK_NITS / _WHITE_NITS - _KNEE) / (1 - _KNEE)
    over = np.minimum(over * (1 + over / peak**2) / (1 + over), 1)
    return np.where(largest > _KNEE, _KNEE + (1 - _KNEE) * over, largest) / largest
