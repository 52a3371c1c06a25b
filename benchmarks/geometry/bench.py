"""Geometry of prepared footage: the presenter against ground truth, real people by how still they stand.

python -m benchmarks geometry --data DATA --work scratch/ --presenter presenter/
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.geometry.film import film_turning
from benchmarks.geometry.page import WAYS, write_page
from benchmarks.geometry.real import deviations, reprojection
from benchmarks.geometry.truth import initial_depth, mapping_errors, pose_errors
from benchmarks.machine import machine
from speech2lip.atomic import read_json, write_json
from speech2lip.config import PrepareSettings, PresentSettings
from speech2lip.decomposition.footage import Footage
from speech2lip.decomposition.prepare import prepare
from speech2lip.evaluation.evaluate import commit
from speech2lip_presenter import present, read_truth

Figures = dict[str, Any]


@dataclass(frozen=True)
class Arguments:
    """Prepare footage with and without looking at the frames, measure both, write the page."""

    data: Path | None = None
    """Real footage: a folder with `grid_s1`, `words`, `hdtf` and `whitehouse`; those there are measured."""
    work: Path = Path("geometry")
    """Where prepared footage is kept; a second call goes on there."""
    presenter: Path | None = None
    """Videos of the presenter with their truth; made under `work` where there are none."""
    presenter_takes: int = 6
    """Takes of it, evenly chosen."""
    turning_takes: int = 4
    """Takes of it in which the head turns further, 512 x 512; made under `work`."""
    grid_takes: int = 10
    """Takes of grid_s1, the first in sorted order."""
    only: tuple[str, ...] = field(default=())
    """Names to measure, or all; figures of the others stay."""
    results: Path = Path("benchmarks/results/geometry.json")
    """Where the figures go."""
    page: Path = Path("docs/geometry.md")
    """The page of tables."""


def main(arguments: Arguments) -> None:
    """Measure, write, tell."""
    kept = read_json(arguments.results) if arguments.results.is_file() else {}
    truth, people = kept.get("truth", {}), kept.get("people", {})
    for name, videos in _subjects(arguments):
        if arguments.only and name not in arguments.only:
            continue
        footages = _prepare_both(videos, arguments.work / name)
        if name.startswith("presenter"):
            truth[name] = _against_truth(footages, videos)
        else:
            people[name] = _on_real(footages)
        figures = {"machine": machine(), "commit": commit(), "truth": truth, "people": people}
        write_json(arguments.results, figures)
        write_page(figures, arguments.page)
        print(f"{name}: done")


def _subjects(arguments: Arguments) -> Iterator[tuple[str, list[Path]]]:
    wanted = arguments.only or ("presenter", "presenter turning")
    if "presenter" in wanted:
        folder = arguments.presenter or arguments.work / "takes"
        videos = sorted(folder.glob("*.mp4")) or sorted(
            present(folder, settings=PresentSettings(takes=arguments.presenter_takes, size=384))
        )
        step = max(1, len(videos) // arguments.presenter_takes)
        yield "presenter", videos[::step][: arguments.presenter_takes]
    if "presenter turning" in wanted:
        folder = arguments.work / "turning"
        yield "presenter turning", film_turning(folder, takes=arguments.turning_takes)
    if arguments.data is None:
        return
    for name in ("grid_s1", "words", "whitehouse"):
        takes = sorted(p for p in (arguments.data / name).glob("*") if p.suffix in {".mpg", ".mkv", ".mp4"})
        if takes:
            yield name, takes[: arguments.grid_takes] if name == "grid_s1" else takes
    for path in sorted((arguments.data / "hdtf").glob("*.mp4")):
        yield f"hdtf {path.stem}", [path]


def _prepare_both(videos: list[Path], folder: Path) -> dict[str, Footage]:
    """Prepare with landmarks alone, then fit what was tracked again with what the frames show."""
    folder.mkdir(parents=True, exist_ok=True)
    plain, better = (folder / f"{way}.footage" for way in WAYS)
    settings = PrepareSettings(photometric=False)
    footages = {WAYS[0]: prepare(videos, footage=plain, settings=settings)}
    if not better.is_dir():
        shutil.copytree(plain, better, copy_function=os.link)
    footages[WAYS[1]] = prepare(videos, footage=better, settings=replace(settings, photometric=True))
    return footages


def _against_truth(footages: dict[str, Footage], videos: list[Path]) -> Figures:
    truths = {path.stem: read_truth(path) for path in videos}
    figures: Figures = {}
    for way, footage in footages.items():
        found = np.concatenate([take.camera_from_head for take in footage.takes])
        true = np.concatenate([truths[take.name].camera_from_head for take in footage.takes])
        takes = {take.name: take for take in footage.takes}
        initial = initial_depth(footage.canonical, footages[WAYS[0]].canonical)
        figures[way] = pose_errors(found, true) | reprojection(footage)
        figures[way] |= mapping_errors(footage.canonical, takes, truths, initial=initial)
    angles = np.concatenate([truth.angles_degrees for truth in truths.values()])
    take = footages[WAYS[0]].takes[0]
    usual = truths[take.name]
    return figures | {
        "focal": {way: footage.takes[0].focal for way, footage in footages.items()}
        | {"true": float(usual.k[0, 0] / max(take.width, take.height))},
        "furthest_degrees": np.abs(angles).max(0).tolist(),
        **_size(footages[WAYS[1]]),
    }


def _on_real(footages: dict[str, Footage]) -> Figures:
    figures: Figures = {"unheld": deviations(footages[WAYS[0]], held=False)}
    for way, footage in footages.items():
        initial = initial_depth(footage.canonical, footages[WAYS[0]].canonical)
        figures[way] = reprojection(footage) | {
            "deviation": deviations(footage),
            "deviation_initial": deviations(footage, depth=initial),
        }
    return figures | _size(footages[WAYS[1]])


def _size(footage: Footage) -> Figures:
    """Tell how much was measured and what it takes on disk."""
    frames = sum(len(take.times) for take in footage.takes)
    seconds = sum(take.seconds for take in footage.takes)
    content = sum(path.stat().st_size for path in (footage.folder / "takes").rglob("*") if path.is_file())
    plain = read_json(footage.folder / "footage.json")
    return {
        "takes": len(footage.takes),
        "frames": frames,
        "seconds": seconds,
        "picture": [footage.takes[0].width, footage.takes[0].height],
        "focal_found": plain["focal"],
        "refined_share": plain["refined_share"],
        "mb_per_minute": content / 1e6 / seconds * 60,
    }
