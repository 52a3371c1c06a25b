"""How the cost of speaking grows, as one SVG picture of four plots."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

Figures = dict[str, Any]
Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 380, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 34, 40
_STYLE = (
    "text{font:12px sans-serif;fill:#333}.title{font-weight:bold}.axis{stroke:#999;fill:none}"
    ".a{stroke:#1f6fb4;fill:none;stroke-width:2}.b{stroke:#c8761b;fill:none;stroke-width:2}"
    "circle.a{fill:#1f6fb4}circle.b{fill:#c8761b}text.a{fill:#1f6fb4;stroke:none}text.b{fill:#c8761b;stroke:none}"
)


def speed_plots(figures: Figures) -> str:
    """Draw cost over picture size, face size, length of the sound and number of streams."""
    rows = sorted(figures["sizes"], key=lambda row: row["width"] * row["height"])
    faces = sorted(figures.get("faces", ()), key=lambda row: row["region_pixels"])
    streams = figures["streams"]["together"]
    plots = [
        _plot(
            "picture",
            ("megapixels", "ms a frame"),
            {
                "speak": [(_megapixels(row), 1000 / row["speak_fps"]) for row in rows],
                "decode + encode alone": [(_megapixels(row), 1000 / row["codec_fps"]) for row in rows],
            },
        ),
        _plot(
            "face, in one size of picture",
            ("replaced pixels, thousands", "ms a frame, drawing"),
            {"draw": [(row["region_pixels"] / 1e3, row["stages_ms"]["draw"]) for row in faces]},
        ),
        _plot(
            "length",
            ("seconds of sound", "seconds to speak it"),
            {"speak": [(row["seconds"], row["took"]) for row in figures.get("lengths", ())]},
        ),
        _plot(
            "streams",
            ("streams at once", "frames/s of each"),
            {"drawn": [(float(count), together / int(count)) for count, together in streams.items()]},
        ),
    ]
    placed = [
        f'<g transform="translate({index % 2 * _WIDTH} {index // 2 * _HEIGHT})">{plot}</g>'
        for index, plot in enumerate(plots)
    ]
    size = f"{2 * _WIDTH} {2 * _HEIGHT}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" width="{2 * _WIDTH}">'
        f'<style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>{"".join(placed)}</svg>\n'
    )


def _megapixels(row: Figures) -> float:
    return float(row["width"] * row["height"]) / 1e6


def _plot(title: str, axes: tuple[str, str], lines: dict[str, Points]) -> str:
    points = [point for line in lines.values() for point in line]
    if not points:
        return f'<text class="title" x="{_LEFT}" y="18">{html.escape(title)}: not measured</text>'
    far, high = (max(point[axis] for point in points) or 1.0 for axis in (0, 1))
    floor, wide, tall = _HEIGHT - _BOTTOM, _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    parts = [
        f'<text class="title" x="{_LEFT}" y="18">{html.escape(title)}</text>',
        f'<path class="axis" d="M{_LEFT} {_TOP}V{floor}H{_WIDTH - _RIGHT}"/>',
        f'<text x="{_LEFT - 4}" y="{_TOP + 5}" text-anchor="end">{high:.3g}</text>',
        f'<text x="{_LEFT - 4}" y="{floor}" text-anchor="end">0</text>',
        f'<text x="{_WIDTH - _RIGHT}" y="{floor + 15}" text-anchor="end">{far:.3g}</text>',
        f'<text x="{_LEFT}" y="{floor + 32}">{html.escape(axes[0])}</text>',
        f'<text transform="translate(14 {floor}) rotate(-90)">{html.escape(axes[1])}</text>',
    ]
    for number, (kind, (name, line)) in enumerate(zip("ab", lines.items(), strict=False)):
        at = [(_LEFT + wide * x / far, floor - tall * y / high) for x, y in line]
        words = " L".join(f"{x:.1f} {y:.1f}" for x, y in at)
        parts.append(f'<path class="{kind}" d="M{words}"/>')
        parts += [f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in at]
        if len(lines) > 1:
            told = f'x="{_LEFT + 8}" y="{_TOP + 4 + 15 * number}"'
            parts.append(f'<text class="{kind}" {told}>{html.escape(name)}</text>')
    return "".join(parts)
