"""What the accumulators are told of a take, frame by frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from speech2lip.composition.paste import Paster
from speech2lip.decomposition.footage import Take, read_footage
from speech2lip.evaluation import runner, speech_labels
from speech2lip.evaluation.accumulate import Accumulator
from speech2lip.evaluation.held_out import CodedFrame, Span
from speech2lip.evaluation.methods import Method
from speech2lip.evaluation.metrics.mouth import OpeningScale
from speech2lip.evaluation.runner import Runner
from tests.evaluation.made_footage import FakeDetector, write_footage


class _Noted(Accumulator):
    """Writes down what it is told."""

    def __init__(self) -> None:
        super().__init__(OpeningScale(0.0, 0.2))
        self.noted: list[str] = []

    def add(self, *words: object) -> dict[str, float]:
        self.noted.append("frame")
        return super().add(*words)  # type: ignore[arg-type]

    def skip(self, time: float) -> None:
        self.noted.append("gap")
        super().skip(time)

    def cut(self) -> None:
        self.noted.append("cut")
        super().cut()


class _Listening(Method):
    """Writes down which moments of which sound it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, float]] = []

    def make(
        self, take: Take, frames: Sequence[CodedFrame], mel: Tensor, moments: NDArray[np.float64]
    ) -> list[NDArray[np.uint8]]:
        self.asked += [(mel.shape[1], float(moment)) for moment in moments]
        return super().make(take, frames, mel, moments)


def test_cuts_and_gaps_are_told_in_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "LandmarkDetector", FakeDetector)
    monkeypatch.setattr(speech_labels, "phones_of", lambda *_, **__: None)
    footage = read_footage(write_footage(tmp_path / "made.footage", ("b",)))  # frame 7 is left out
    take = dataclasses.replace(footage.takes[0], shot=np.repeat(np.arange(3, dtype=np.int32), [3, 9, 28]))
    gathered, method = _Noted(), _Listening()
    run = Runner(footage, Paster(footage.canonical), {"row": method}, {"row": gathered})
    assert len(list(run.follow(Span(take, 2, 15)))) == 12
    assert gathered.noted == ["frame", "cut", *["frame"] * 4, "gap", *["frame"] * 4, "cut", *["frame"] * 3]
    assert [moment for _, moment in method.asked] == pytest.approx([i / 25 for i in range(2, 15) if i != 7])


def test_moments_are_those_of_the_sound_that_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LandmarkDetector", FakeDetector)
    monkeypatch.setattr(speech_labels, "phones_of", lambda *_, **__: None)
    monkeypatch.setattr("speech2lip.decomposition.footage.WHOLE_SECONDS", 1.0)
    footage = read_footage(write_footage(tmp_path / "made.footage", ("a",), frames=110))
    gathered, method = _Noted(), _Listening()
    run = Runner(footage, Paster(footage.canonical), {"row": method}, {"row": gathered})
    list(run.follow(Span(footage.takes[0], 100, 110)))
    assert [moment for _, moment in method.asked] == pytest.approx([2 + i / 25 for i in range(10)])
    assert {length for length, _ in method.asked} == {241}  # 2.4 s: from second 2 to the end
    assert gathered.takes[0].times[0] == 4.0
