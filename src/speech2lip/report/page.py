"""What pages are made of: one skeleton and stylesheet, pictures in the page itself, plots as inline SVG."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from speech2lip.arrays import Array, Floats, Picture, Series
from speech2lip.atomic import write_atomically
from speech2lip.conventions import SAMPLE_RATE
from speech2lip.evaluation.result import cell
from speech2lip.evaluation.speech_labels import Heard

WIDTH, HEIGHT = 960, 190
_FLOOR = HEIGHT - 22
"""Seconds stand below it."""
_TRAINING_WIDTH, _TRAINING_HEIGHT = 300, 130
_NO_LOSSES = ("phase", "step", "seconds")


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"cell": cell, "picture": picture_uri, "json": as_json}
    return environment


def render(template: str, **values: object) -> Markup:
    """Fill a template in; all that is not marked up is escaped."""
    return Markup(_templates().get_template(template).render(values))


def write_page(path: Path, template: str, **values: object) -> None:
    """Write a page: one HTML file with all pictures in it; an older one stays until the new one is whole.

    Raises:
        OutputError: it cannot be written.
    """
    page = render(template, **values)
    with write_atomically(path) as partial:
        partial.write_text(f"{page}\n", encoding="utf-8")


def data_uri(content: bytes, kind: str) -> str:
    """Return content as a part of the page itself."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def picture_uri(picture: Picture) -> str:
    """Return a picture [H, W, 3] as a JPEG that stands in the page itself."""
    done, packed = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert done, f"a picture of {picture.shape} could not be compressed"
    return data_uri(packed.tobytes(), "image/jpeg")


def as_json(values: object) -> str:
    """Return plain values as JSON for people."""
    return json.dumps(values, indent=1, sort_keys=True, allow_nan=False)


def resized(picture: Picture, width: int, height: int) -> Picture:
    """Resample a picture [H, W, 3]."""
    way = cv2.INTER_AREA if width < picture.shape[1] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (width, height), interpolation=way), np.uint8)


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


def _path(points: Array) -> str:
    """Return the path through points [N, 2]; it is lifted where one is not known."""
    words, down = [], False
    for x, y in points.tolist():
        known = math.isfinite(x) and math.isfinite(y)
        if known:
            words.append(f"{'L' if down else 'M'}{x:.1f} {y:.1f}")
        down = known
    return "".join(words)
