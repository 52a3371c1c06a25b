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

ROWS = ("real_video", "static_lips", "nearest", "ours", "paper")
"""Rows of every table, in order; one that was not measured is left out."""

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

REVOICED: Mapping[str, int] = {"speech_r": 3, "speech_drop": 3, "opening_r": 3, "opening_drop": 3}
"""Figures of a voice with the decimals that a table shows: read from speech, and found in drawn frames."""

DECIMALS: Mapping[str, int] = {**METRICS, **COST, **REVOICED}

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
    """Row name (see ROWS) to metric to value; None, NaN and infinity all mean "not applicable"."""
    cost: Row = field(default_factory=dict)
    """See COST."""
    details: Mapping[str, object] = field(default_factory=dict)
    """Whatever else is worth keeping: intervals, counts, how things are known; plain JSON values."""
    revoiced: Mapping[str, Row] = field(default_factory=dict)
    """Voice to its figures (see REVOICED) of the avatar; empty where other voices were not tried."""

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
        } | (
            {"revoiced": {kind: _complete(row, REVOICED, kind) for kind, row in self.revoiced.items()}}
            if self.revoiced
            else {}
        )

    def save(self, path: Path) -> None:
        """Write the JSON file; an older one stays until the new one is whole."""
        write_json(path, self.as_json())

    def markdown(self) -> str:
        """Return the table of those metrics that at least one row has."""
        return turned_table(self.rows)

    def cost_line(self) -> str:
        """Return the costs that are known, in one line."""
        known = [(name, self.cost.get(name)) for name in COST if _number(self.cost.get(name)) is not None]
        return ", ".join(f"{name} {cell(value, COST[name])}" for name, value in known)


def format_table(
    rows: Mapping[str, Row], columns: Sequence[str], *, decimals: Mapping[str, int] = DECIMALS
) -> str:
    """Return a Markdown table, a line a row, with "n/a" where a value is None, NaN or missing.

    Args:
        rows: row name to metric to value.
        columns: metrics to show, in order.
        decimals: decimals by metric, two for any other.
    """
    lines = [["", *columns]]
    for name, row in rows.items():
        lines.append([name, *(cell(row.get(column), decimals.get(column, 2)) for column in columns)])
    return _formatted(lines)


def _formatted(lines: list[list[str]]) -> str:
    """Return lines of cells, the head first, as a Markdown table."""
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(lines[0]))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines.insert(1, rule)
    return "\n".join(_line(line, widths) for line in lines) + "\n"


def turned_table(rows: Mapping[str, Row]) -> str:
    """Return a Markdown table, a line a metric that at least one row has.

    Five columns fit a page and a terminal, thirty do not.
    """
    lines = [["", *rows]]
    for name, decimals in METRICS.items():
        values = [cell(row.get(name), decimals) for row in rows.values()]
        if any(value != NOT_APPLICABLE for value in values):
            lines.append([name, *values])
    return _formatted(lines)


def format_revoiced(rows: Mapping[str, Row]) -> str:
    """Return a Markdown table of voices; what was not drawn has no column."""
    known = [key for key in REVOICED if any(row.get(key) is not None for row in rows.values())]
    return format_table(rows, known)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Return one line, the first cell to the left, figures to the right."""
    figures = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
    return "| " + " | ".join([cells[0].ljust(widths[0]), *figures]) + " |"


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
