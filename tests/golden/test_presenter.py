"""The figures of the made presenter are what they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden import figures, journey


def test_the_journey_gives_its_golden_figures(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe", reason="preparing footage needs mediapipe")
    assert figures.departures(journey.figures(tmp_path), figures.read()) == []


def test_what_lies_beyond_its_tolerance_is_told(tmp_path: Path) -> None:
    golden = figures.read()
    same = {name: figure for name, (figure, _) in golden.items()}
    assert figures.departures(same, golden) == []
    far = same | {"train.speech_r": same["train.speech_r"] - 0.1, "evaluate.ours.mouth_psnr": float("nan")}
    assert [line.split()[0] for line in figures.departures(far, golden)] == [
        "evaluate.ours.mouth_psnr",
        "train.speech_r",
    ]
    del same["prepare.focal"]
    assert figures.departures(same, golden) == ["prepare.focal is on one side alone"]
    figures.write({name: figure for name, (figure, _) in golden.items()}, tmp_path / "again.txt")
    assert (tmp_path / "again.txt").read_text() == figures.FILE.read_text()
