"""The page of the benchmark of speed: tables, and plots of how cost grows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.speed.memory import growth_mb
from speech2lip.evaluation.result import markdown_table

Figures = dict[str, Any]

_BLOCKS = "▁▂▃▄▅▆▇█"


def speed_page(figures: Figures) -> str:
    """Write the figures of the benchmark as Markdown."""
    first = figures["sizes"][0]
    parts = [
        "# Speed",
        "",
        "Made by `python -m benchmarks speed --work FOLDER`; all figures are from one run.",
        "",
        f"Avatar: {figures['avatar']}. Machine: {figures['machine']} ({figures['cores']} may be used). "
        f"Drawn {first['path']}, in {first['precision']}.",
        "",
        "## Picture and face",
        "",
        *_sizes(figures["sizes"]),
        "",
        "*Without us*: decoding the base video and encoding it with sound. *Ours*: `speak`, end to "
        "end. *Region*: the pixels that are replaced. *First*: from the end of the look-ahead to the first "
        "frame of a live stream. Larger pictures are a smaller one with its edge drawn out.",
        "",
        "## Milliseconds a frame, one stage after the other",
        "",
        *_stages(figures["sizes"]),
        "",
        "`speak` works on stages side by side.",
        "",
        *_held_back(figures),
        "## How cost grows",
        "",
        "![cost over picture, face, length and streams](images/speed.svg)",
        "",
        *_lengths(figures["lengths"]),
        "",
        "## Streams",
        "",
        *_streams(figures["streams"]),
        "",
        "## Memory",
        "",
        *_memory(figures["memory"]),
    ]
    if "paper" in figures:
        paper = figures["paper"]
        parts += [
            "",
            "## The published networks",
            "",
            f"{paper['avatar']}: {paper['speak_fps']:.1f} frames/s.",
        ]
    return "\n".join(parts) + "\n"


def _sizes(rows: Sequence[Figures]) -> list[str]:
    head = [
        "picture",
        "size",
        "region",
        "ours, frames/s",
        "without us",
        "ratio of times",
        "GFLOP",
        "load",
        "first",
    ]
    lines = [
        [
            row["name"],
            f"{row['width']} x {row['height']}",
            f"{row['region_pixels']} px",
            f"{row['speak_fps']:.0f}",
            f"{row['codec_fps']:.0f}",
            f"{row['codec_fps'] / row['speak_fps']:.2f}",
            f"{row['gflop_per_frame']:.2f}",
            f"{row['load_ms']:.0f} ms",
            f"{row['first_frame_ms']:.0f} ms",
        ]
        for row in rows
    ]
    drawn = bars([row["stages_ms"]["draw"] for row in rows], [row["name"] for row in rows])
    return [markdown_table(head, lines), f"TorchRenderer, milliseconds a frame, by picture: {drawn}"]


def _stages(rows: Sequence[Figures]) -> list[str]:
    names = list(rows[0]["stages_ms"])
    lines = [[row["name"], *(f"{row['stages_ms'][name]:.2f}" for name in names)] for row in rows]
    return markdown_table(["picture", *names], lines).splitlines()


def _held_back(figures: Figures) -> list[str]:
    if "avx2" not in figures:
        return []
    held = figures["avx2"]
    return [
        f"Networks held to AVX2 (no AVX-512, no bf16): {held['name']}, {held['speak_fps']:.0f} frames/s.",
        "",
    ]


def _lengths(rows: Sequence[Figures]) -> list[str]:
    head = ["seconds of sound", "seconds to speak it, loading included"]
    return markdown_table(head, [[f"{row['seconds']:g}", f"{row['took']:.1f}"] for row in rows]).splitlines()


def _streams(figures: Figures) -> list[str]:
    head = ["streams", "frames/s together", "streams that it is enough for"]
    lines = [
        [count, f"{together:.0f}", f"{int(together // figures['fps'])}"]
        for count, together in figures["together"].items()
    ]
    return [
        f"{figures['width']} x {figures['height']}, {figures['fps']:g} frames/s each, one shared avatar, "
        "no encoding.",
        "",
        *markdown_table(head, lines).splitlines(),
    ]


def _memory(figures: Figures) -> list[str]:
    held = [mb for _, mb in figures["held_mb"]]
    if not held:
        return ["This system does not tell how much memory a process holds."]
    return [
        f"{figures['seconds'] / 60:.0f} minutes of sound: {figures['before_mb']:.0f} MB before, "
        f"{held[-1]:.0f} MB at the end, {figures['peak_mb']:.0f} MB at most; "
        f"{growth_mb(figures):.0f} MB more than in the first minute.",
        "",
        f"`{spark(held)}` (from 0 to {max(held):.0f} MB, over the run)",
    ]


def bars(values: Sequence[float], names: Sequence[str]) -> str:
    """Say values with their names and a bar each, in a line."""
    top = max(values)
    return ", ".join(
        f"{name} `{'█' * max(1, round(12 * value / top))}` {value:.1f}"
        for name, value in zip(names, values, strict=True)
    )


def spark(values: Sequence[float]) -> str:
    """Draw values from 0 up as a line of blocks."""
    top = max(values)
    return "".join(
        _BLOCKS[min(len(_BLOCKS) - 1, int(value / top * (len(_BLOCKS) - 1) + 0.5))] for value in values
    )
