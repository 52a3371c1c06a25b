"""The page about a footage: what it shows, what was left out and why, and what would make it better."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import numpy as np

from speech2lip.atomic import check_output, write_atomically
from speech2lip.conventions import Picture
from speech2lip.decomposition.footage import Footage
from speech2lip.decomposition.overview import Overview, Span, look_over
from speech2lip.errors import OutputError
from speech2lip.formats import FootageInfo, SoundOffset
from speech2lip.geometry.rigid import head_angles
from speech2lip.report.footage_pictures import Pictures, data_uri, take_pictures

_HEAD_BYTES = 4096


def check_report(path: Path) -> None:
    """Raise OutputError where the page could not be written, or would replace anything but such a page."""
    check_output(path, overwrite=True)
    if path.is_dir():
        raise OutputError(f"Cannot write {path}: it is a folder. Choose another name.")
    if path.exists():
        with path.open("rb") as file:
            ours = GENERATOR.encode() in file.read(_HEAD_BYTES)
        if not ours:
            raise OutputError(f"{path} exists already and is no report of ours; choose another name")


def write_report(footage: Footage, path: Path) -> None:
    """Write the page: one HTML file with all pictures in it.

    Raises:
        OutputError: it cannot be written.
    """
    page = write_page(footage, look_over(footage), take_pictures(footage))
    with write_atomically(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


STYLE = """
:root{color-scheme:light dark;--ink:#1c1f24;--soft:#667;--line:#ccd;--back:#fff;--bar:#1c5cab;--card:#f4f6fa}
@media(prefers-color-scheme:dark){:root{--ink:#e7e9ee;--soft:#9aa3b2;--line:#39404d;--back:#15181d;--bar:#7db4f5;
--card:#1d222a}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);max-width:1080px;
margin:2rem auto;padding:0 1rem}h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2rem}
.soft,figcaption,td:last-child{color:var(--soft)}figcaption{font-size:.8rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.18rem .7rem;border-bottom:1px solid var(--line);text-align:right}
th:first-child,td:first-child,th:last-child,td:last-child{text-align:left}
img{max-width:100%;display:block;border-radius:4px}.sheet{width:100%}
.row{display:flex;gap:1rem;flex-wrap:wrap}figure{margin:0}.advice{background:var(--card);border-radius:8px;
padding:.6rem 1rem .6rem 2rem}svg{width:300px;height:110px}svg rect{fill:var(--bar)}svg text{font-size:11px;
fill:var(--soft)}
"""

GENERATOR = '<meta name="generator" content="speech2lip prepare">'
"""Tells a page of ours from others."""
_BINS = 30


def write_page(footage: Footage, overview: Overview, pictures: Pictures) -> str:
    """Return the whole page."""
    title = footage.folder.name
    first = "".join(f"<li>{html.escape(line)}</li>" for line in overview.lines()[:2])
    advice = "".join(f"<li>{html.escape(line)}</li>" for line in overview.advice)
    advice = advice or "<li>None: this footage is good.</li>"
    parts = [
        f"<h1>{html.escape(title)}</h1><ul>{first}</ul>",
        f'<h2>Advice</h2><ul class="advice" id="advice">{advice}</ul>',
        "<h2>Frames</h2>", _sheet("frames with the face's outline", data_uri(pictures.observed)),
        "<h2>The same with the head held still</h2>",
        '<p class="soft">Only lips, jaw, lids and what is no head should differ.</p>',
        _sheet("frames in canonical space", data_uri(pictures.canonical)),
        "<h2>What still moves</h2>", _row(pictures),
        "<h2>In figures</h2>", _figures(overview), _histograms(footage),
        "<h2>Left out</h2>", _left_out(overview, pictures, footage.info),
        "<h2>Sound against picture</h2>", _offsets(footage.info),
    ]  # fmt: skip
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"{GENERATOR}"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _sheet(alt: str, uri: str) -> str:
    return f'<img class="sheet" alt="{html.escape(alt)}" src="{uri}">'


def _row(pictures: Pictures) -> str:
    return (
        '<div class="row">'
        + _figure(pictures.mean, "mean of the footage")
        + _figure(pictures.motion, "mean deviation from it: black 0, white 40 grey levels or more")
        + "</div>"
    )


def _figure(picture: Picture, told: str) -> str:
    return (
        f'<figure><img alt="" src="{data_uri(picture)}"><figcaption>{html.escape(told)}</figcaption></figure>'
    )


def _figures(overview: Overview) -> str:
    rows: list[tuple[str, Span, str, str]] = [
        ("yaw", overview.yaw, ".0f", "degrees; plus: the nose to the right of the picture"),
        ("pitch", overview.pitch, ".0f", "degrees; plus: the nose up"),
        ("roll", overview.roll, ".0f", "degrees; plus: clockwise"),
        ("face width", overview.face_pixels, ".0f", "pixels; 256 is good"),
        ("light", overview.light, ".0f", "mean level of the skin, 0 to 255"),
    ]
    lines = "".join(
        f"<tr><td>{name}</td>{''.join(f'<td>{value:{form}}</td>' for value in span)}<td>{unit}</td></tr>"
        for name, span, form, unit in rows
    )
    return (
        '<table id="figures"><tr><th></th><th>2 % below</th><th>median</th><th>2 % above</th><th></th></tr>'
        f"{lines}</table><p>Closed lips without speech: {overview.rest_seconds:.1f} s. Light between takes: "
        f"up to {overview.light_between_takes:.0f} levels.</p>"
    )


def _histograms(footage: Footage) -> str:
    angles = np.concatenate([head_angles(t.camera_from_head)[t.left_out == 0] for t in footage.takes])
    plots = "".join(_histogram(name, angles[:, axis]) for axis, name in enumerate(("yaw", "pitch", "roll")))
    return f'<div class="row">{plots}</div>'


def _histogram(name: str, values: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    counts, edges = np.histogram(values, bins=_BINS)
    bars = "".join(
        f'<rect x="{10 * n}" y="{80 - 70 * count / max(counts.max(), 1):.1f}" width="9" '
        f'height="{70 * count / max(counts.max(), 1):.1f}"/>'
        for n, count in enumerate(counts)
    )
    return (
        f'<svg viewBox="0 0 300 110" role="img" aria-label="{name}">{bars}'
        f'<text x="0" y="95">{edges[0]:.0f}</text>'
        f'<text x="150" y="105" text-anchor="middle">{name}, degrees</text>'
        f'<text x="300" y="95" text-anchor="end">{edges[-1]:.0f}</text></svg>'
    )


def _left_out(overview: Overview, pictures: Pictures, info: FootageInfo) -> str:
    parts = []
    for reason, count in overview.left_out.items():
        figures = "".join(_figure(picture, where) for where, picture in pictures.left_out.get(reason, []))
        share = count / overview.frames
        parts.append(
            f'<h3>{html.escape(reason)}: {count} frames ({share:.1%})</h3><div class="row">{figures}</div>'
        )
    takes = "".join(
        f"<li>{html.escape(name)}: {html.escape(why)}</li>" for name, why in info.rejected_takes.items()
    )
    whole = f"<h3>Whole takes</h3><ul>{takes}</ul>" if takes else ""
    return "".join(parts) + whole or "<p>Nothing.</p>"


def _offsets(info: FootageInfo) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{_number(offset.milliseconds)}</td><td>{_number(offset.error)}</td>"
        f"<td>{offset.correlation:.2f}</td><td>{_told(offset)}</td></tr>"
        for name, offset in info.sound_offsets.items()
    )
    return (
        '<p class="soft">Plus: the sound comes after the lips. Speech in step measures -15 to +45 ms.</p>'
        '<table id="offsets"><tr><th>take</th><th>ms</th><th>&plusmn;</th><th>correlation</th><th></th></tr>'
        f"{rows}</table>"
    )


def _told(offset: SoundOffset) -> str:
    if offset.milliseconds is None:
        return "cannot be told"
    basis = "all takes together" if offset.basis == "all takes" else "this take"
    return f"from {basis}; {'put right' if offset.corrected else 'left as it is'}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:+.0f}"
