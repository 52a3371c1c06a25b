from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.speed import bench as speed
from benchmarks.speed.bench import Arguments, SpeedPlan, main, write_noise
from benchmarks.speed.memory import _speak_here, growth_mb, speak_watched
from benchmarks.speed.page import bars, spark
from benchmarks.speed.resized import Size, resized_avatar
from speech2lip.avatar import read_avatar
from speech2lip.config import SpeakSettings
from speech2lip.errors import SettingsError
from speech2lip.inference.engine import Engine
from tests.made_face import SIZE, made_avatar

PLAIN = SpeakSettings(device="cpu", precision="fp32")


def _spoken_here(
    avatar: Path, sound: Path, output: Path, settings: SpeakSettings, *, environment: object
) -> dict[str, object]:
    """Stand in for the process that is watched: starting it takes longer than all the rest."""
    return _speak_here(avatar, sound, output, settings)


@pytest.mark.slow
def test_a_process_of_its_own_is_watched(tmp_path: Path) -> None:
    sound = write_noise(tmp_path / "s.wav", 1.0)
    told = speak_watched(made_avatar(tmp_path / "a.avatar"), sound, tmp_path / "o.mp4", PLAIN)
    assert told["frames"] == 25
    assert told["frames_per_second"] > 0


def test_everything_is_measured_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "speak_watched", _spoken_here)
    made_avatar(tmp_path / "work" / "ana.avatar")
    shutil.copytree(tmp_path / "work" / "ana.avatar", tmp_path / "work" / "ana.paper.avatar")
    page = tmp_path / "speed.md"
    main(
        Arguments(tmp_path / "work", tmp_path / "results", page, PLAIN),
        SpeedPlan(
            sizes=(Size("own", SIZE[0]), Size("in 320", 128, (320, 240))),
            seconds=1.0,
            long_minutes=0.05,
            stream_seconds=0.2,
            canvas=(320, 240),
            faces=(96, 192),
        ),
    )
    figures = json.loads((tmp_path / "results" / "speed.json").read_text())
    assert [(row["width"], row["height"]) for row in figures["sizes"]] == [(192, 160), (320, 240)]
    for row in figures["sizes"]:
        assert set(row["stages_ms"]) == {"decode", "listen", "draw", "encode"}
        assert min(row["stages_ms"].values()) > 0
        assert min(row[name] for name in ("speak_fps", "codec_fps", "load_ms", "first_frame_ms")) > 0
        assert 0 < row["gflop_per_frame"] < 1
    assert {"1", "2"} <= set(figures["streams"]["together"])  # none may be drawn where others are busy
    assert figures["paper"]["speak_fps"] > 0
    assert figures["memory"]["seconds"] == pytest.approx(3.0)
    small, large = figures["faces"]
    assert small["region_pixels"] < large["region_pixels"]
    assert [row["seconds"] for row in figures["lengths"]] == [0.28, 0.52, 1.0, 2.0]
    assert figures["avx2"]["speak_fps"] > 0
    plots = ElementTree.parse(tmp_path / "images" / "speed.svg").getroot()
    assert [len(plots[2 + i].findall("{*}circle")) for i in range(4)] == [
        4,
        2,
        4,
        len(figures["streams"]["together"]),
    ]
    text = page.read_text()
    assert "| own | 192 x 160 |" in " ".join(text.split())
    assert all(len(line) < 600 for line in text.splitlines())


def test_a_resized_avatar_shows_the_same_face_elsewhere(tmp_path: Path) -> None:
    avatar = made_avatar(tmp_path / "a.avatar", frames=3)
    boxes = []
    for number, size in enumerate((Size("twice", 2 * SIZE[0]), Size("laid", 2 * SIZE[0], (600, 500)))):
        person = read_avatar(resized_avatar(avatar, size, tmp_path / f"{number}.avatar"))
        base = person.bases[0]
        assert next(iter(base.frames(0, 1))).rgb.shape == (base.height, base.width, 3)
        engine = Engine(person, device="cpu", precision="fp32")
        boxes.append(np.array(engine.paster.regions(base.head[0], (base.height, base.width))[0]))
    shift = np.array([(600 - 2 * SIZE[1]) // 2, (500 - 2 * SIZE[0]) // 2] * 2)
    # The chin lies at the lower edge of the made picture, and goes on below it where there is room.
    assert np.abs(boxes[0] + shift - boxes[1])[:3].max() <= 1
    assert boxes[1][3] > boxes[0][3] + shift[3]
    plain = read_avatar(avatar)
    engine = Engine(plain, device="cpu", precision="fp32")
    own = np.array(engine.paster.regions(plain.bases[0].head[0], SIZE)[0])
    assert np.abs(2 * own - boxes[0]).max() <= 6


def test_without_an_avatar_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--work"):
        main(Arguments(tmp_path, tmp_path / "r", tmp_path / "p.md"))


def test_small_plots() -> None:
    assert spark([0, 1]) == "▁█"
    assert bars([1.0, 2.0], ["a", "b"]).count("█") == 18


def test_growth_is_what_comes_after_the_first_minute() -> None:
    held = [(5.0, 400.0), (50.0, 600.0), (100.0, 590.0), (900.0, 640.0)]
    assert growth_mb({"seconds": 1000.0, "held_mb": held}) == 40.0
    assert growth_mb({"seconds": 20.0, "held_mb": [(1.0, 300.0), (15.0, 310.0)]}) == 10.0
    assert growth_mb({"seconds": 20.0, "held_mb": []}) is None
