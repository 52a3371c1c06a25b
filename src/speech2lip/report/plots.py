"""Plots of the report as inline SVG: lip openings over the waveform, training curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from speech2lip.conventions import SAMPLE_RATE, Floats
from speech2lip.evaluation.speech_labels import Heard
from speech2lip.report.page import render

Series = NDArray[np.floating[Any]]

WIDTH, HEIGHT = 960, 190
_FLOOR = HEIGHT - 22
"""Seconds stand below it."""
_TRAINING_WIDTH, _TRAINING_HEIGHT = 300, 130
_NO_LOSSES = ("phase", "step", "seconds")


def opening_plot(times: Series, openings: Mapping[str, Series], heard: Heard) -> Markup:
    """Draw lip openings by row over the waveform that they belong to.

    Args:
        times: [T] seconds of the take, of every frame.
        openings: row name (its CSS class) to [T], eye distances, NaN left out.
        heard: the take's sound; pauses are shaded, closures marked below.
    """
    start, stop = float(times[0]), max(float(times[-1]), float(times[0]) + 0.04)
    known = np.concatenate([series[np.isfinite(series)] for series in openings.values()])
    top = max(0.05, float(known.max()) * 1.1) if known.size else 0.1
    scale = WIDTH / (stop - start)
    marks = [
        (kind, scale * (max(low, start) - start), y, scale * (min(high, stop) - max(low, start)), _FLOOR - y)
        for kind, intervals, y in (("pause", heard.pauses, 0), ("closure", heard.closures, _FLOOR - 5))
        for low, high in (() if intervals is None else intervals.tolist())
        if high > start and low < stop
    ]
    lines = {
        name: _path(np.column_stack([scale * (times - start), _FLOOR * (1 - series / top)]))
        for name, series in openings.items()
    }
    step = 0.5 if stop - start <= 6 else max(1, round((stop - start) / 12))
    ticks = np.arange(math.ceil(start / step) * step, stop, step).tolist()
    return render(
        "opening.svg", width=WIDTH, height=HEIGHT, floor=_FLOOR, top=top, marks=marks, lines=lines,
        wave=_wave_outline(heard.wave, start - heard.begins, stop - heard.begins),
        ticks=[(second, scale * (second - start)) for second in ticks],
    )  # fmt: skip


def training_plots(history: Sequence[Mapping[str, float]]) -> Markup:
    """Draw every loss over the seconds of training, one small plot each, one line a phase.

    All plots share one time axis, so that what began later is seen to begin later.
    """
    names = dict.fromkeys(name for entry in history for name in entry if name not in _NO_LOSSES)
    last = max((float(entry["seconds"]) for entry in history), default=0.0) or 1.0
    plots = [_training_plot(name, [entry for entry in history if name in entry], last) for name in names]
    return render("training.svg", plots=plots, width=_TRAINING_WIDTH, height=_TRAINING_HEIGHT, seconds=last)


def _training_plot(name: str, entries: Sequence[Mapping[str, float]], last: float) -> dict[str, object]:
    values = np.array([entry[name] for entry in entries])
    points = np.column_stack([
        _TRAINING_WIDTH * np.array([entry["seconds"] for entry in entries]) / last,
        _TRAINING_HEIGHT - 20 - (_TRAINING_HEIGHT - 36) * values / (values.max() or 1.0),
    ])  # fmt: skip
    phase = np.array([int(entry.get("phase", 0)) for entry in entries])
    some = {number: points[phase == number] for number in sorted(set(phase.tolist()))}
    phases = [(number, found.tolist(), _path(found)) for number, found in some.items()]
    return {"name": name, "first": values[0], "latest": values[-1], "phases": phases}


def _wave_outline(wave: Floats, start: float, stop: float) -> str:
    """Return the outline of the wave's extremes, a column for every other pixel."""
    heard = wave[round(start * SAMPLE_RATE) : round(stop * SAMPLE_RATE)]
    columns = min(WIDTH // 2, len(heard))
    if columns < 2:
        return ""
    pieces = np.array_split(heard / max(float(np.abs(heard).max()), 1e-6), columns)
    x = np.linspace(0, WIDTH, columns)
    high, low = (_FLOOR / 2 * (1 - np.array([edge(piece) for piece in pieces])) for edge in (np.max, np.min))
    return _path(np.column_stack([[*x, *x[::-1]], [*high, *low[::-1]]])) + "Z"


def _path(points: NDArray[np.float64]) -> str:
    """Return the path through points [N, 2]; it is lifted where one is not known."""
    words, down = [], False
    for x, y in points.tolist():
        known = math.isfinite(x) and math.isfinite(y)
        if known:
            words.append(f"{'L' if down else 'M'}{x:.1f} {y:.1f}")
        down = known
    return "".join(words)
