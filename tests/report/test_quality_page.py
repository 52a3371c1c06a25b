"""The report's page: parts, pictures and players."""

from __future__ import annotations

import base64
import io
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from speech2lip.errors import SoundError
from speech2lip.evaluation.accumulate import Moment
from speech2lip.evaluation.result import METRICS, Result
from speech2lip.report.page import picture_uri, render
from speech2lip.report.quality_page import (
    GAIN,
    KEPT,
    MOUTH,
    WORST,
    Player,
    QualityPage,
    WorstFrames,
    head_box,
    joined,
    mouths,
    side_by_side,
)


def _page(result: Result, unseen_speaker: dict[str, object] | None = None) -> str:
    avatar: Any = SimpleNamespace(folder=Path("A"), info=SimpleNamespace(history=[]))
    with ExitStack() as stack:
        content = QualityPage(avatar, stack).content(result, "One avatar")
    return render("quality.html", unseen_speaker=unseen_speaker, **content)


def _result(**more: object) -> Result:
    rows = {"real_video": {"opening_r": 0.99}, "ours": {"opening_r": 0.8, "mouth_psnr": 32.5}}
    return Result("made", "two cores", rows=rows, **more)  # type: ignore[arg-type]


def test_what_nobody_has_stands_below_the_table() -> None:
    table, missing = _page(_result()).split("<h2>Cost")[0].split("</table>")
    assert table.count("<td><code>") == 2
    assert 'class="ours">32.50' in table
    assert ">n/a<" in table
    assert missing.count("<code>") == len(METRICS) - 2
    assert "<code>lpips</code>" in missing
    full = {name: 1.0 for name in METRICS}
    page = _page(Result("made", "cpu", rows={"ours": full}))
    assert "Not measured" not in page
    assert "No history was kept" in page


def test_the_detectors_own_bias_is_told() -> None:
    exact = {"real_video": {"opening_r": 0.97, "opening_std_ratio": 0.9, "opening_bias": -0.004}}
    told = _page(_result(details={"against_ground_truth": exact}))
    assert "real_video r 0.970, spread 0.90, bias -0.0040" in told
    assert 'id="truth"' not in _page(_result())


def test_names_of_sounds_cannot_break_the_page() -> None:
    speaker: dict[str, object] = {"names": ["a<b", "c"], "video": "data:video/mp4;base64,AA", "first": GREY}
    page = _page(_result(), speaker)
    assert "a&lt;b, c" in page
    assert page.count("<video") == 1
    assert "<video" not in _page(_result())


GREY = np.full((120, 160, 3), 100, np.uint8)
BOX = (60, 60, 100, 100)


def _brighter(by: int) -> NDArray[np.uint8]:
    return np.full_like(GREY, 100 + by)


def test_the_difference_is_enlarged_around_grey() -> None:
    shown = side_by_side(GREY, _brighter(10))
    assert shown.shape == (120, 480, 3)
    assert (shown[0, :, 0] == np.repeat([100, 110, 128 + 10 * GAIN], 160)).all()
    assert (side_by_side(GREY, np.zeros_like(GREY))[:, 320:] == 0).all()  # no wrapping around


def test_the_head_box_stays_inside_and_has_the_mouth_low_in_it() -> None:
    x0, y0, x1, y1 = head_box((300, 400, 380, 480), np.zeros((720, 1280, 3), np.uint8))
    assert x1 - x0 == y1 - y0 == 280
    assert (x0 + x1) / 2 == 340
    assert 0.6 < (440 - y0) / 280 < 0.75
    assert head_box((0, 0, 80, 80), GREY) == (0, 0, 120, 120)


def test_a_player_has_picture_sound_and_poster(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    with Player(tmp_path / "p.mp4", (0, 0, 120, 120), fps=Fraction(25), wave=wave, start=2.0) as player:
        for i in range(20):
            player.show(GREY, _brighter(i), time=2.0 + i / 25)
    assert player.poster is not None
    assert player.poster.shape == (120, 360, 3)
    with av.open(player.path) as video:
        assert {stream.type for stream in video.streams} == {"video", "audio"}
        seconds = [float(stream.duration * stream.time_base) for stream in video.streams]
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert seconds == pytest.approx([0.8, 0.8], abs=0.1)
    assert len(frames) == 20
    assert frames[0].shape == (120, 360, 3)


def _moment(index: int) -> Moment:
    points = np.zeros((478, 3), np.float32)
    return Moment(index, index / 25, GREY, BOX, points, BOX, np.ones((8, 8), np.float32))


def test_mouths_stand_truth_first() -> None:
    real, made = mouths(_moment(3), _brighter(3))
    assert real.shape == made.shape == (MOUTH, MOUTH, 3)
    assert (real[0, 0, 0], made[0, 0, 0]) == (100, 103)


def test_the_worst_are_kept_once_a_second_and_worst_first() -> None:
    worst = WorstFrames()
    figures = dict.fromkeys(WORST, float("nan"))
    bad = {10: 20.0, 12: 15.0, 100: 25.0, 200: 30.0, 300: 35.0, 400: 36.0, 500: 18.0}
    for index in range(600):
        worst.add("a", _moment(index), GREY, figures | {"mouth_psnr": bad.get(index, 40.0)})
    found = worst.found["mouth_psnr"]
    assert {frame.index: frame.value for frame in found} == {12: 15.0, 500: 18.0, 100: 25.0, 200: 30.0}
    assert [frame.index for frame in found] == [12, 500, 100, 200]
    assert len(found) == KEPT
    assert worst.found["seam_ratio"] == []
    high = WorstFrames()
    for index in (0, 50):
        high.add("a", _moment(index), GREY, figures | {"seam_ratio": 1.0 + index})
    assert [frame.index for frame in high.found["seam_ratio"]] == [50, 0]


def test_jpeg_keeps_colours() -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    packed = base64.b64decode(picture_uri(red).partition(",")[2])
    with av.open(io.BytesIO(packed), format="jpeg_pipe") as container:
        back = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert back[8, 8] == pytest.approx([200, 0, 0], abs=6)


@pytest.fixture
def sounds(tmp_path: Path) -> list[Path]:
    for name, rate, level in (("a", 16_000, 0.1), ("b", 8_000, 0.2), ("c", 16_000, 0.3)):
        soundfile.write(tmp_path / f"{name}.wav", np.full((2 * rate, 2), level), rate)
    return [tmp_path / f"{name}.wav" for name in "abc"]


def test_sounds_follow_each_other_after_a_breath(sounds: list[Path]) -> None:
    wave, names = joined(sounds, seconds=4.0)
    assert names == ["a", "b"]
    assert len(wave) == 64_000
    assert wave[16_000] == pytest.approx(0.1, abs=0.01)
    assert not wave[round(2.05 * 16_000) : round(2.35 * 16_000)].any()
    assert wave[56_000] == pytest.approx(0.2, abs=0.01)


def test_what_is_not_reached_is_not_named(sounds: list[Path]) -> None:
    assert joined(sounds, seconds=1.0)[1] == ["a"]
    assert len(joined(sounds)[0]) == 6.8 * 16_000  # all there is


def test_no_sound_is_told() -> None:
    with pytest.raises(SoundError, match="unseen speaker"):
        joined([])
