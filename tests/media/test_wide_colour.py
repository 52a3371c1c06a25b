"""Wide colour and high dynamic range come in as BT.709 shows them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from speech2lip.media.picture import rgb_from_coded
from speech2lip.media.video import read_coded, read_frames
from speech2lip.media.wide_colour import Wide, bt709_from_wide, narrowed, narrowing_graph

SKIN_AND_GREYS = [
    *[(level, level, level) for level in (0, 40, 90, 128, 180, 215)],
    *[(220, 170, 140), (150, 100, 75), (90, 60, 45), (200, 60, 90), (70, 90, 160)],
]
BT2020_FROM_BT709 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
LUMA = np.array([0.2627, 0.6780, 0.0593])


def chart() -> np.ndarray[Any, Any]:
    return np.concatenate([np.full((32, 16, 3), colour, np.uint8) for colour in SKIN_AND_GREYS], axis=1)


def signal(rgb: np.ndarray[Any, Any], kind: Wide) -> np.ndarray[Any, Any]:
    """BT.709 codes as a signal of BT.2020 with white at 203 nits: the way back, written on its own."""
    nits = 203 * (rgb / 255.0) ** 2.4 @ BT2020_FROM_BT709.T
    if kind is Wide.SDR:
        return (nits / 203) ** (1 / 2.4)
    if kind is Wide.PQ:
        power = (nits / 10_000) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    light = nits / 1000
    light = light * np.maximum(light @ LUMA, 1e-9)[..., None] ** (-0.2 / 1.2)
    high = 0.17883277 * np.log(np.maximum(12 * light - 0.28466892, 1e-9)) + 0.55991073
    return np.where(light <= 1 / 12, np.sqrt(3 * light), high)


def write(path: Path, rgb: np.ndarray[Any, Any], kind: Wide) -> Path:
    """Write a 10-bit video with the tags of a phone's (ITU-T H.273)."""
    value = signal(rgb, kind)
    luma = value @ LUMA
    blue, red = (value[..., 2] - luma) / 1.8814, (value[..., 0] - luma) / 1.4746
    planes = [64 + 876 * luma, (512 + 896 * blue)[::2, ::2], (512 + 896 * red)[::2, ::2]]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"crf": "2"})
        stream.height, stream.width = rgb.shape[:2]
        stream.pix_fmt = "yuv420p10le"
        context = stream.codec_context
        context.colorspace = context.color_primaries = 9
        context.color_trc = 14 if kind is Wide.SDR else kind.value
        context.color_range = 1
        frame = av.VideoFrame(stream.width, stream.height, "yuv420p10le")
        for plane, values in zip(frame.planes, planes, strict=True):
            rows = np.zeros((plane.height, plane.line_size // 2), "<u2")
            rows[:, : plane.width] = np.round(values)
            plane.update(rows.tobytes())
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def colours(rgb: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The colours in the middle of the chart's fields."""
    return np.array([rgb[8:24, x + 4 : x + 12].reshape(-1, 3).mean(0) for x in range(0, rgb.shape[1], 16)])


@pytest.mark.parametrize("kind", list(Wide))
def test_faces_and_greys_are_as_in_the_ordinary_video(tmp_path: Path, kind: Wide) -> None:
    path = write(tmp_path / "a.mp4", chart(), kind)
    got = colours(next(read_frames(path)).rgb)
    assert np.abs(got - SKIN_AND_GREYS).max() < 4
    coded = read_coded(path, start_frame=0, stop_frame=1)[0]
    assert np.abs(colours(rgb_from_coded(coded)) - SKIN_AND_GREYS).max() < 6


def test_what_is_brighter_than_white_keeps_its_shades() -> None:
    light = np.linspace(0, 1, 256)
    codes = np.repeat(np.round(light * 65535).astype(np.uint16)[None, :, None], 3, axis=2)
    for kind in (Wide.HLG, Wide.PQ):
        grey = bt709_from_wide(codes, kind)[0, :, 1].astype(int)
        assert (np.diff(grey) >= 0).all()
        assert grey[-1] == 255
    hlg = bt709_from_wide(codes, Wide.HLG)[0, :, 1].astype(int)
    white = hlg[round(0.75 * 255)]  # BT.2408: 75 % of HLG
    assert 235 < white < 248
    assert len(set(hlg[round(0.75 * 255) :].tolist())) > 10


@pytest.mark.parametrize("kind", list(Wide))
def test_the_table_and_the_exact_way_agree(kind: Wide) -> None:
    """Muted colours, as faces have: at the edge of what BT.709 can show a table is off by more."""
    random = np.random.default_rng(0)
    grey = random.integers(12_000, 45_000, (64, 64, 1))
    rgb = (grey + random.integers(-1_500, 1_500, (64, 64, 3))).astype(np.uint16)
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb48le").reformat(format="gbrp16le")
    off = narrowed(frame, narrowing_graph(kind, 64, 64)).astype(int) - bt709_from_wide(rgb, kind)
    assert np.abs(off).mean() < 1
    assert np.abs(off).max() < 16


def test_ten_bits_of_the_ordinary_kind_are_read_as_ever(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"crf": "2"})
        stream.height, stream.width = chart().shape[:2]
        stream.pix_fmt = "yuv420p10le"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = context.color_range = 1
        frame = av.VideoFrame.from_ndarray(chart(), format="rgb24")
        frame = frame.reformat(format="yuv420p10le", dst_colorspace="ITU709", dst_color_range="MPEG")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert np.abs(colours(next(read_frames(path)).rgb) - SKIN_AND_GREYS).max() < 3
