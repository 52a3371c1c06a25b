"""The tables: rows of metrics as Markdown, and as the JSON file that other tools read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from speech2lip.atomic import write_json

Row = Mapping[str, float | None]

FORMAT = 1
"""Version of the JSON file; a key may be added without a new one, never renamed or removed."""

METRICS: Mapping[str, int] = {
    "mouth_psnr": 2, "mouth_ssim": 4, "mouth_cpbd": 3, "sharpness_ratio": 2, "frame_psnr": 2, "frame_ssim": 4,
    "lpips": 4, "lmd_px": 3, "lmd_percent": 2, "opening_r": 3, "opening_ccc": 3, "opening_std_ratio": 2,
    "width_r": 3, "closure_reached": 2, "silent_open_percent": 1, "leak_r": 3, "cross_r": 3,
    "sync_offset_ms": 0, "sync_confidence": 3, "syncnet_confidence": 3, "syncnet_distance": 3,
    "syncnet_offset_ms": 0, "expert_confidence": 3, "expert_distance": 3,
    "expert_offset_ms": 0, "jitter_ratio": 2, "flicker_ratio": 2, "seam_ratio": 2,
    "frames": 0, "frames_not_spoken_over": 0,
}  # fmt: skip
"""Metrics of a row with the decimals that a table shows."""

COST: Mapping[str, int] = {
    "prepare_fps": 1, "train_seconds": 0, "speak_fps": 1, "first_frame_ms": 0, "peak_mb": 0,
    "gflop_per_frame": 2, "weights_mb": 1,
}  # fmt: skip
"""Costs with the decimals that a table shows."""

NOT_APPLICABLE = "n/a"


@dataclass(frozen=True)
class Result:
    """What one evaluation found."""

    footage: str
    """Name of the footage."""
    device: str
    """Machine and device that it ran on."""
    commit: str | None = None
    """Commit of the code, None where unknown."""
    seconds_trained: float | None = None
    """Wall-clock seconds of training behind the avatar."""
    rows: Mapping[str, Row] = field(default_factory=dict)
    """Method to metric to value, in the table's order; None, NaN and infinity all mean "not applicable"."""
    cost: Row = field(default_factory=dict)
    """See COST."""
    details: Mapping[str, object] = field(default_factory=dict)
    """Whatever else is worth keeping: intervals, counts, how things are known; plain JSON values."""

    def as_json(self) -> dict[str, object]:
        """Return the contents of the JSON file: each row has every metric, null where not applicable."""
        return {
            "format": FORMAT,
            "footage": self.footage,
            "seconds_trained": _number(self.seconds_trained),
            "device": self.device,
            "commit": self.commit,
            "rows": {name: _complete(row, METRICS, name) for name, row in self.rows.items()},
            "cost": _complete(self.cost, COST, "cost"),
            "details": dict(self.details),
        }

    def save(self, path: Path) -> None:
        """Write the JSON file; an older one stays until the new one is whole."""
        write_json(path, self.as_json())


def cost_line(cost: Row) -> str:
    """Return the costs that are known, in one line."""
    known = {name: cell(cost.get(name), decimals) for name, decimals in COST.items()}
    return ", ".join(f"{name} {value}" for name, value in known.items() if value != NOT_APPLICABLE)


def format_table(rows: Mapping[str, Row], columns: Sequence[str], *, decimals: int | None = None) -> str:
    """Return a Markdown table, a line a row, with "n/a" where a value is None, NaN or missing.

    Args:
        rows: row name to metric to value.
        columns: metrics to show, in order.
        decimals: of all columns; None: those of METRICS, two for any other.
    """
    places = [METRICS.get(name, 2) if decimals is None else decimals for name in columns]
    lines = [
        [name, *(cell(row.get(column), place) for column, place in zip(columns, places, strict=True))]
        for name, row in rows.items()
    ]
    return markdown_table(["", *columns], lines)


def metrics_table(rows: Mapping[str, Row]) -> str:
    """Return a Markdown table, a line a metric that at least one row has.

    Five columns fit a page and a terminal, thirty do not.
    """
    lines = [
        [name, *(cell(row.get(name), decimals) for row in rows.values())]
        for name, decimals in METRICS.items()
    ]
    return markdown_table(["", *rows], [line for line in lines if {*line[1:]} != {NOT_APPLICABLE}])


def markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, the first column to the left, the others to the right."""
    widths = [max(3, *map(len, column)) for column in zip(head, *lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "".join(
        "| "
        + " | ".join(
            text.rjust(width) if place else text.ljust(width)
            for place, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        + " |\n"
        for line in (head, rule, *lines)
    )


def ground_truth_line(details: Mapping[str, object]) -> str | None:
    """Tell in words how openings compare with ground truth; None where the details hold none."""
    figures = details.get("against_ground_truth")
    if not isinstance(figures, Mapping) or not figures:
        return None
    parts = [
        f"{name} r {row['opening_r']:.3f}, spread {row['opening_std_ratio']:.2f}, "
        f"bias {row['opening_bias']:+.4f}"
        for name, row in figures.items()
        if all(value is not None and math.isfinite(value) for value in row.values())
    ]
    about = "Openings against ground truth, in eye distances (the real video's line is the detector alone): "
    return about + "; ".join(parts) + "."


def cell(value: float | None, decimals: int) -> str:
    """Return a figure as tables show it."""
    number = _number(value)
    if number is None:
        return NOT_APPLICABLE
    return f"{round(number, decimals) + 0.0:.{decimals}f}"  # + 0.0: no "-0"


def _complete(row: Row, keys: Mapping[str, int], name: str) -> dict[str, float | None]:
    """Return the row with all keys in order; a key that the contract does not have is a fault of ours."""
    unknown = sorted(set(row) - set(keys))
    assert not unknown, f"{name} has {unknown}, which the format does not know"
    return {key: _number(row.get(key)) for key in keys}


def _number(value: float | None) -> float | None:
    """Return a plain number, None for what JSON and readers cannot use."""
    if value is None or not math.isfinite(value):
        return None
    return int(value) if isinstance(value, int) else float(value)
