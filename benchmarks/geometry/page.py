"""The page of tables that `benchmarks.geometry.bench` makes of its figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.geometry.real import REGIONS
from speech2lip.atomic import write_atomically
from speech2lip.evaluation.result import markdown_table

Figures = dict[str, Any]

WAYS = ("landmarks", "photometric")
"""Head poses from landmarks alone, and refined by looking at the frames."""

_INTRODUCTION = """# Geometry

Made by `python -m benchmarks geometry --data DATA --work scratch/` ({machine}, code {commit}).
"Landmarks" are head poses from landmarks alone (`prepare --no-photometric`), "photometric" is the default:
head poses, depth and focal length refined by looking at the frames.
"""

_TRUTH = """## The presenter, against ground truth

Head poses are compared up to one fixed choice of the head's axes, origin and unit, and in the focal length;
errors are medians. Mappings are compared where the rigid head is seen in both pictures, in 40 frames within
20 degrees of yaw, 12 of pitch and roll: mean distance from where the place truly comes out, in pixels of the
frame. "Rest" is the head outside the face's outline.

"""

_REAL = """## Real people

How still the head stands in canonical space: standard deviation of the luma over time, in grey levels, within
shots, at up to 240 frames of all takes, after each frame's light was made equal over the still face.
"Not held" leaves the pixels where they were in the shot's first frame. Frames with shut eyes are left out;
lids and pupils move in the others too.

And how far the landmarks that speech does not move lie from one rigid face, in pixels and as if the longer
side had 512. Head poses from landmarks make that distance small by following the landmarks wherever they go;
photometric ones follow the picture. The table above has the same figure where the truth is known.

"""

_DEPTH = """## With and without learned depth

The same head poses, with the canonical depth as it was learned and as the face's landmarks alone give it.

"""


def write_page(figures: Figures, page: Path) -> None:
    """Write the page of what was measured so far."""
    parts = [_INTRODUCTION.format(machine=figures["machine"], commit=figures["commit"] or "unknown")]
    if figures["truth"]:
        parts.append(_truth(figures["truth"]))
    if figures["people"]:
        parts.append(_people(figures["people"]))
    parts.append(_depth(figures))
    with write_atomically(page) as file:
        file.write_text("\n".join(parts), encoding="utf-8")


def _truth(truth: Figures) -> str:
    about = []
    for name, one in truth.items():
        yaw, pitch, roll = one["furthest_degrees"]
        focal = one["focal"]
        about.append(
            f"- {name}: {one['takes']} takes, {one['frames']} frames of {_picture(one)}; turned by up to "
            f"{yaw:.0f} degrees (yaw), {pitch:.0f} (pitch), {roll:.0f} (roll); focal length "
            f"{focal['true']:.2f}, assumed {focal['landmarks']:.2f}, found {focal['photometric']:.2f}"
        )
    columns = [(name, way) for name in truth for way in WAYS]
    wanted = (
        ("rotation, degrees", "rotation_degrees", ".2f", "0.5"),
        ("rotation, 95th percentile", "rotation_degrees_p95", ".2f", ""),
        ("trembling, degrees", "jitter_degrees", ".3f", ""),
        ("translation, % of the head's height", "shift_percent", ".2f", "0.3"),
        ("the same, across the picture alone", "shift_across_percent", ".2f", ""),
        ("mapping, face, px", "face_px", ".2f", "0.4"),
        ("mapping, rest of the head, px", "rest_px", ".2f", "1.5"),
        ("truly hidden places, % of the head", "hidden", ".1%", ""),
        ("of which said to be hidden, %", "said_hidden", ".1%", ""),
        ("seen places said to be seen, %", "said_seen", ".1%", ""),
        ("landmarks from the rigid face, px", "reprojection_px", ".2f", ""),
    )
    rows = [
        [title, *(_cell(truth[name][way][key], shape) for name, way in columns), aim]
        for title, key, shape, aim in wanted
    ]
    head = ["", *(f"{name}: {way}" for name, way in columns), "aim"]
    return f"{_TRUTH}{chr(10).join(about)}\n\n{markdown_table(head, rows)}"


def _cell(value: float, shape: str) -> str:
    return format(value, shape).rstrip("%")


def _people(people: Figures) -> str:
    head = ["", "takes, frames, picture", "px", "px at 512"]
    rows = []
    for name, one in people.items():
        rows.append([f"{name}: not held", _amount(one), "", "", *_regions(one["unheld"])])
        for way in WAYS:
            fit = one[way]
            pixels = [f"{fit['reprojection_px']:.2f}", f"{fit['reprojection_px_512']:.2f}"]
            rows.append([f"{name}: {way}", "", *pixels, *_regions(fit["deviation"])])
    sizes = ", ".join(
        f"{name} {one['mb_per_minute']:.1f} MB ({_picture(one)}, focal length {one['focal_found']:.2f})"
        for name, one in people.items()
    )
    return (
        _REAL
        + markdown_table([*head, *REGIONS], rows)
        + f"\nA minute of takes on disk: {sizes}; the canonical space takes about 1 MB, once.\n"
    )


def _depth(figures: Figures) -> str:
    text = _DEPTH
    if figures["truth"]:
        keys = ("initial_face_px", "face_px", "initial_rest_px", "rest_px")
        rows = [
            [f"{name}: {way}", *(f"{one[way][key]:.2f}" for key in keys)]
            for name, one in figures["truth"].items()
            for way in WAYS
        ]
        head = ["mapping error, px", "face, initial depth", "face, learned", "rest, initial depth"]
        text += markdown_table([*head, "rest, learned"], rows) + "\n"
    rows = [
        [f"{name}: {depth} depth", *_regions(one["photometric"][key])]
        for name, one in figures["people"].items()
        for depth, key in (("initial", "deviation_initial"), ("learned", "deviation"))
    ]
    return text + (markdown_table(["deviation, grey levels", *REGIONS], rows) if rows else "")


def _regions(deviation: Figures) -> list[str]:
    return [f"{deviation[name]:.1f}" for name in REGIONS]


def _amount(one: Figures) -> str:
    return f"{one['takes']}, {one['frames']}, {_picture(one)}"


def _picture(one: Figures) -> str:
    return f"{one['picture'][0]} x {one['picture'][1]}"
