"""Plots put values where they belong."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from speech2lip.evaluation.speech_labels import Heard
from speech2lip.report.page import HEIGHT, WIDTH, opening_plot, training_plots

TIMES = np.arange(50) / 25
HEARD = Heard(np.sin(np.arange(32_000) / 20).astype(np.float32))


def _points(plot: str, name: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", _line(plot, name))]


def _line(plot: str, name: str) -> str:
    found = re.search(rf'<path class="line {name}" d="([^"]*)"', plot)
    assert found is not None
    return found[1]


def test_wider_is_higher_and_later_is_further_right() -> None:
    plot = opening_plot(TIMES, {"truth": np.linspace(0, 0.2, 50), "ours": np.full(50, 0.1)}, HEARD)
    truth, ours = _points(plot, "truth"), _points(plot, "ours")
    assert [x for x, _ in truth] == sorted(x for x, _ in truth)
    assert truth[0][0] == 0
    assert truth[-1][0] == WIDTH
    assert truth[0][1] > ours[0][1]
    assert truth[-1][1] < ours[-1][1]
    assert truth[-1][1] > 0
    assert truth[0][1] < HEIGHT
    assert 'class="wave"' in plot


def test_what_is_not_known_is_not_drawn() -> None:
    series = np.full(50, 0.1)
    series[20:30] = np.nan
    plot = opening_plot(TIMES, {"ours": series}, HEARD)
    assert len(_points(plot, "ours")) == 40
    assert _line(plot, "ours").count("M") == 2
    assert "nan" not in opening_plot(TIMES, {"ours": np.full(50, np.nan)}, HEARD)


def test_pauses_and_closures_outside_are_left_out() -> None:
    heard = replace(HEARD, pauses=np.array([[0.0, 0.5], [1.5, 9.0]]), closures=np.array([[1.2, 1.24]]))
    plot = opening_plot(TIMES[25:], {"ours": np.full(25, 0.1)}, heard)
    assert plot.count('class="pause"') == 1
    assert plot.count('class="closure"') == 1
    [(left, width)] = re.findall(r'class="pause" x="([\d.]+)" y="0" width="([\d.]+)"', plot)
    assert float(left) + float(width) == pytest.approx(WIDTH, abs=0.1)


def test_losses_share_one_time_axis() -> None:
    history = [
        {"phase": 0.0, "step": 1.0, "seconds": 10.0, "expert": 3.0},
        {"phase": 1.0, "step": 1.0, "seconds": 50.0, "l1": 0.2},
        {"phase": 2.0, "step": 1.0, "seconds": 100.0, "l1": 0.1},
    ]
    plots = training_plots(history)
    assert plots.count("<svg") == 2
    assert plots.count("100 s") == 2
    assert "expert 3 → 3" in plots
    assert "l1 0.2 → 0.1" in plots
    assert re.findall(r'<circle cx="([\d.]+)"', plots) == ["30.0", "150.0", "300.0"]
    assert plots.count('class="phase0"') == 2
    assert plots.count('class="phase1"') == 1


def test_no_history_no_plots() -> None:
    assert training_plots([]) == ""
