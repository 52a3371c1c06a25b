"""The demonstration does each step once and goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import speech2lip
from speech2lip._demo import demo
from speech2lip.errors import OutputError

METRICS = '{"details": {"against_ground_truth": {"ours": {"opening_r": 0.9123}}}}'


class Steps:
    """Stands in for the steps: notes what was called and writes what the step would write."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.called: list[str] = []
        self.failing = ""
        monkeypatch.setattr("speech2lip_presenter.present", self.step("present", self.film))
        monkeypatch.setattr(
            speech2lip, "train", self.step("train", lambda _, **o: o["avatar"].mkdir()), raising=False
        )
        monkeypatch.setattr(
            speech2lip, "speak", self.step("speak", lambda _, **o: o["output"].touch()), raising=False
        )
        monkeypatch.setattr(
            speech2lip,
            "evaluate",
            self.step("evaluate", lambda **o: o["outputs"].json.write_text(METRICS)),
            raising=False,
        )

    def step(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            self.called.append(name)
            if name == self.failing:
                raise KeyboardInterrupt
            return work(*arguments, **options)

        return run

    def film(self, folder: Path, **options: Any) -> None:
        for number in range(options["settings"].takes):
            (folder / f"{options['settings'].split}_{number}.mp4").touch()


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


def quiet(_: str) -> None:
    pass


def test_every_step_in_order_and_once(messages: list[str], tmp_path: Path, steps: Steps) -> None:
    folder = tmp_path / "demo"
    assert demo(folder) == folder / "spoken.mp4"
    assert any("ours: r = 0.912" in line for line in messages)
    assert steps.called == ["present", "present", "train", "speak", "evaluate"]
    demo(folder)
    assert len(steps.called) == 5


def test_a_stopped_journey_goes_on(tmp_path: Path, steps: Steps) -> None:
    folder = tmp_path / "demo"
    for step in ("present", "train", "speak"):
        steps.failing = step
        with pytest.raises(KeyboardInterrupt):
            demo(folder)
    steps.failing = ""
    steps.called.clear()
    demo(folder)
    assert steps.called == ["speak", "evaluate"]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, steps: Steps) -> None:
    (tmp_path / "letters").touch()
    with pytest.raises(OutputError, match="holds something else"):
        demo(tmp_path)
    with pytest.raises(OutputError, match="a file is in the way"):
        demo(tmp_path / "letters")
    assert steps.called == []


@pytest.mark.slow
def test_the_journey_in_small(tmp_path: Path) -> None:
    spoken = demo(tmp_path / "demo", minutes=0.2, takes=2, size=192)
    assert spoken.stat().st_size > 10_000
    assert (tmp_path / "demo" / "metrics.json").exists()
