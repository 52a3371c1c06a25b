"""Lip openings against the presenter's exact truth: what the landmark detector itself gets wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from speech2lip.decomposition.footage import Take, source_path
from speech2lip.evaluation.accumulate import Openings, Series
from speech2lip.evaluation.held_out import Span
from speech2lip.evaluation.metrics.statistics import concordance, pearson, std_ratio


def true_opening(take: Take) -> Series | None:
    """Return the exact lip opening of a presenter's take; [T] in eye units, None for others."""
    from speech2lip_presenter import read_truth, truth_path

    source = source_path(take)
    if not truth_path(source).is_file():
        return None
    truth = read_truth(source)
    return np.interp(take.times, truth.times, truth.lip_opening)


Figures = dict[str, dict[str, float]]


def against_truth(rows: Mapping[str, Sequence[Openings]], spans: Sequence[Span]) -> Figures:
    """Compare detected openings with the exact ones, over all takes that have them.

    The row of real video is the detector alone: its correlation is the most that any row can reach, its bias
    (detected minus exact, eye units) and its ratio are the detector's own.

    Args:
        rows: row name to the openings of the takes, in the order of the spans.

    Returns:
        Row name to figures; empty without such takes.
    """
    exact = [true_opening(span.take) for span in spans]
    found: Figures = {}
    for name, takes in rows.items():
        pairs = [
            (one.made, truth[span.start : span.stop][: len(one.made)])
            for one, truth, span in zip(takes, exact, spans, strict=True)
            if truth is not None
        ]
        if not pairs:
            continue
        made, true = (np.concatenate(side) for side in zip(*pairs, strict=True))
        found[name] = {
            "opening_r": round(pearson(made, true), 4),
            "opening_ccc": round(concordance(made, true), 4),
            "opening_std_ratio": round(std_ratio(made, true), 4),
            "opening_bias": round(float(np.nanmean(made - true)), 4),
        }
    return found


def truth_line(exact: object) -> str | None:
    """Tell in words what `against_truth` found, the detector's own bias first; None without anything."""
    if not isinstance(exact, Mapping) or not exact:
        return None
    parts = [
        f"{name} r {row['opening_r']:.3f}, spread {row['opening_std_ratio']:.2f}, "
        f"bias {row['opening_bias']:+.4f}"
        for name, row in exact.items()
        if all(value is not None and math.isfinite(value) for value in row.values())
    ]
    about = "Openings against exact truth, in eye distances (the real video's line is the detector alone): "
    return about + "; ".join(parts) + "."
