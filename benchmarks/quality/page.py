"""docs/quality.md: the tables of all benchmarks, made from the result files and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.robustness.bench import MOST_DROP, OWN, robustness_table
from speech2lip.atomic import read_json
from speech2lip.evaluation.result import cost_line, format_table, ground_truth_line, metrics_table

TITLES = {
    "I": "I. Self-driven, the long footage",
    "P": "P. The presenter: ground truth, unseen sentences, another voice, unseen head movement",
    "II": "II. Self-driven, larger faces (short footage)",
    "III": "III. Cross-driven: unseen speakers' sound",
    "own": "Own footage",
}
SUMMARY = (
    "mouth_psnr", "opening_r", "lmd_percent", "sharpness_ratio", "closure_reached", "silent_open_percent",
    "leak_r", "sync_confidence",
)  # fmt: skip
"""Columns of the first table."""

Result = Mapping[str, Any]


def quality_page(results: Path) -> str:
    """Return the page; the same files give the same text."""
    # Other benchmarks keep their figures beside these.
    found = [
        one
        for path in sorted(results.glob("*.json"))
        if isinstance(one := read_json(path), dict) and isinstance(one.get("details"), dict)
    ]
    parts = [
        "# Quality\n",
        "Made by `python -m benchmarks quality` from `benchmarks/results/*.json`; [metrics.md](metrics.md) "
        "says what the figures mean. Compare rows of one table, not tables: people, pictures and machines "
        "differ.\n",
    ]
    measured = [one for one in found if one.get("rows")]
    if measured:
        parts += ["## In short\n", _summary(measured)]
    voices = {
        one["footage"]: one["details"]["robustness"] for one in measured if one["details"].get("robustness")
    }
    if voices:
        parts += ["## Other voices\n", _voices(voices)]
    for benchmark, title in TITLES.items():
        here = [one for one in found if one["details"].get("benchmark") == benchmark]
        if here:
            parts.append(f"## {title}\n")
            parts += [_section(one) for one in here]
    return "\n".join(parts).rstrip() + "\n"


def _summary(measured: Sequence[Result]) -> str:
    rows = {
        f"{one['footage']}: {name}": row
        for one in measured
        if one["details"]["benchmark"] != "III"
        for name, row in one["rows"].items()
        if name in ("static_lips", "nearest", "ours", "paper")
    }
    return format_table(rows, SUMMARY)


def _voices(people: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> str:
    """Return how far each person's lips fall behind under each voice."""
    kinds = list(dict.fromkeys(kind for voices in people.values() for kind in voices if kind != OWN))
    rows = {
        name: {OWN: _voice(voices.get(OWN, {}), "r")}
        | {kind: _voice(voices.get(kind, {}), "drop") for kind in kinds}
        for name, voices in people.items()
    }
    return (
        "Held-out takes speak their own sentences in other voices and over other channels "
        "([speech.md](speech.md)). First the correlation of the lip opening under the own voice, then how "
        f"far it falls under others; the aim is {MOST_DROP:.2f} at most.\n\n"
        + format_table(rows, [OWN, *kinds], decimals=3)
    )


def _voice(row: Mapping[str, float | None], what: str) -> float | None:
    """Return a figure of the drawn frames, or of what is read from speech where none were drawn."""
    drawn = row.get(f"opening_{what}")
    return row.get(f"speech_{what}") if drawn is None else drawn


def _section(one: Result) -> str:
    details = one["details"]
    if not one.get("rows"):
        return f"### {one['footage']}\n\nNot measured: {details['missing']}.\n"
    lines = [f"### {one['footage']}\n", _about(one), "", metrics_table(one["rows"])]
    sure = _sureness(details.get("rows", {}))
    if sure:
        lines += [sure, ""]
    if exact := ground_truth_line(details):
        lines += [exact, ""]
    if details.get("robustness"):
        lines += ["In other voices:\n", robustness_table(details["robustness"])]
    if cost := cost_line(one.get("cost", {})):
        lines += [f"Cost: {cost}.", ""]
    return "\n".join(lines)


def _about(one: Result) -> str:
    details = one["details"]
    parts = [
        details.get("note"),
        f"split: {details['split']}" if details.get("split") else None,
        f"{one['seconds_trained']:.0f} s of training" if one.get("seconds_trained") is not None else None,
        f"{details['seconds_footage']:.0f} s of footage trained on"
        if details.get("seconds_footage")
        else None,
        details.get("machine"),
        one.get("device"),
        f"code {one['commit']}" if one.get("commit") else None,
        _phones(details.get("phones")),
    ]
    return "; ".join(part for part in parts if part) + "."


def _phones(known: object) -> str | None:
    if isinstance(known, list) and known:
        return f"phones by {' and '.join(map(str, known))}"
    return str(known) if known else None


def _sureness(rows: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Return the 95 % intervals that were kept."""
    parts = []
    for name, row in rows.items():
        for key in ("opening_r", "leak_r", "cross_r"):
            interval = row.get(f"{key}_interval")
            if name in ("ours", "paper") and interval:
                parts.append(f"{name} {key} {interval[0]:.2f} to {interval[1]:.2f}")
        if name in ("ours", "paper") and row.get("leak_r_plain") is not None:
            parts.append(
                f"{name} plain leak correlation {row['leak_r_plain']:.2f} ({row['pairings']} pairings)"
            )
    return "95 % intervals: " + ", ".join(parts) + "." if parts else None
