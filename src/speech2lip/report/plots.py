"""Plots of the report as inline SVG: lip openings over the waveform, training curves."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2lip.conventions import SAMPLE_RATE
from speech2lip.evaluation.speech_labels import Intervals, Wave

Series = NDArray[np.floating[Any]]

WIDTH, HEIGHT = 960, 190
_BOTTOM = 22
"""Pixels for the seconds below a plot."""


def opening_plot(
    times: Series,
    openings: Mapping[str, Series],
    wave: Wave,
    *,
    wave_begins: float = 0.0,
    pauses: Intervals | None = None,
    closures: Intervals | None = None,
) -> str:
    """Draw lip openings by row over the waveform that they belong to.

    Args:
        times: [T] seconds of the take, of every frame.
        openings: row name (its CSS class) to [T], eye distances, NaN left out.
        wave: [S], the take's sound from its second `wave_begins` on.
        pauses: [N, 2] seconds, shaded.
        closures: [N, 2] seconds of /p b m/, marked below.
    """
    start, stop = float(times[0]), max(float(times[-1]), float(times[0]) + 0.04)
    known = np.concatenate([series[np.isfinite(series)] for series in openings.values()] or [np.zeros(0)])
    top = max(0.05, float(known.max()) * 1.1) if known.size else 0.1
    floor = HEIGHT - _BOTTOM

    def x(second: float) -> float:
        return WIDTH * (second - start) / (stop - start)

    parts = [_wave_shape(wave, start - wave_begins, stop - wave_begins, floor)]
    for kind, intervals in (("pause", pauses), ("closure", closures)):
        for low, high in intervals if intervals is not None else ():
            if high > start and low < stop:
                left, right = x(max(low, start)), x(min(high, stop))
                y, height = (0, floor) if kind == "pause" else (floor - 5, 5)
                size = f'width="{right - left:.1f}" height="{height}"'
                parts.append(f'<rect class="{kind}" x="{left:.1f}" y="{y}" {size}/>')
    for name, series in openings.items():
        points = [(x(float(t)), floor * (1 - float(v) / top)) for t, v in zip(times, series, strict=True)]
        parts.append(f'<path class="line {html.escape(name)}" d="{_path(points)}"/>')
    step = 0.5 if stop - start <= 6 else max(1, round((stop - start) / 12))
    for tick in np.arange(math.ceil(start / step) * step, stop, step):
        parts.append(f'<text x="{x(float(tick)):.1f}" y="{HEIGHT - 6}">{tick:g} s</text>')
    parts.append(f'<text x="4" y="12">opening {top:.2f} eye distances</text>')
    parts.append(f'<line class="playhead" x1="0" x2="0" y1="0" y2="{floor}"/>')
    return f'<svg class="opening" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(parts)}</svg>'


def training_plots(history: Sequence[Mapping[str, float]]) -> str:
    """Draw every loss over the seconds of training, one small plot each, one line a phase.

    All plots share one time axis, so that what began later is seen to begin later.
    """
    names = [name for name in dict.fromkeys(key for entry in history for key in entry) if name not in _AXES]
    last = max((float(entry["seconds"]) for entry in history), default=0.0) or 1.0
    return "".join(
        _training_plot(name, [entry for entry in history if name in entry], last) for name in names
    )


_AXES = ("phase", "step", "seconds")


def _training_plot(name: str, entries: Sequence[Mapping[str, float]], last: float) -> str:
    width, height = 300, 130
    seconds, values = ([float(entry[key]) for entry in entries] for key in ("seconds", name))
    top = max(values) or 1.0
    lines = []
    for phase in sorted({entry.get("phase", 0) for entry in entries}):
        points = [
            (width * second / last, height - 20 - (height - 36) * value / top)
            for entry, second, value in zip(entries, seconds, values, strict=True)
            if entry.get("phase", 0) == phase
        ]
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.8"/>' for x, y in points)
        # Two colours in turn: a phase is told from the one before it.
        lines.append(f'<g class="phase{int(phase) % 2}"><path class="line" d="{_path(points)}"/>{dots}</g>')
    return (
        f'<svg class="training" viewBox="0 0 {width} {height}" role="img">'
        f'<text x="2" y="12">{html.escape(name)} {values[0]:.3g} &#8594; {values[-1]:.3g}</text>'
        f'{"".join(lines)}<line class="axis" x1="0" x2="{width}" y1="{height - 20}" y2="{height - 20}"/>'
        f'<text x="2" y="{height - 4}">0</text>'
        f'<text x="{width - 2}" y="{height - 4}" text-anchor="end">{last:.0f} s</text></svg>'
    )


def _wave_shape(wave: Wave, start: float, stop: float, floor: int) -> str:
    """Return the outline of the wave's extremes, a column for every other pixel."""
    heard = wave[round(start * SAMPLE_RATE) : round(stop * SAMPLE_RATE)]
    columns = min(WIDTH // 2, len(heard))
    if columns < 2:
        return ""
    pieces = np.array_split(heard, columns)
    loud = max(float(np.abs(heard).max()), 1e-6)
    xs = np.linspace(0, WIDTH, columns)
    high = [(x, floor / 2 * (1 - float(p.max()) / loud)) for x, p in zip(xs, pieces, strict=True)]
    low = [(x, floor / 2 * (1 - float(p.min()) / loud)) for x, p in zip(xs, pieces, strict=True)]
    return f'<path class="wave" d="{_path(high + low[::-1])}Z"/>'


def _path(points: Sequence[tuple[float, float]]) -> str:
    """Return the path through points; it is lifted where one is not known."""
    words, down = [], False
    for x, y in points:
        known = math.isfinite(x) and math.isfinite(y)
        if known:
            words.append(f"{'L' if down else 'M'}{x:.1f} {y:.1f}")
        down = known
    return "".join(words)
