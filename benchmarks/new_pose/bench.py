"""New head poses against the presenter's exactly rendered truth, beside plain 2-D warps.

python -m benchmarks new_pose --footage presenter.footage --truth presenter/
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.geometry.truth import Gauge, fit_gauge
from benchmarks.new_pose.warps import fit_similarity, warp_head, warp_picture
from speech2lip.arrays import Array, Picture
from speech2lip.atomic import write_atomically, write_json
from speech2lip.composition.reposing.background import learn_background
from speech2lip.composition.reposing.reposer import Reposer
from speech2lip.decomposition.footage import Footage, Take, read_footage
from speech2lip.head_track import HeadTrack, median_skin_colour
from speech2lip_presenter.render import State, Truth, head_pose, landmarks_of, read_truth, render_frame
from speech2lip_presenter.shading import CLOTH

DEGREES = (5.0, 10.0, 15.0)
AXES = ("yaw", "pitch", "roll")
SHOTS = 16
"""Frames of a take that its background is learned from."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One frame to be turned, and the truth of the new pose."""

    name: str
    degrees: float
    frame: Picture
    head_before: HeadTrack
    offset: Array
    truth: Picture
    head: NDArray[np.bool_]
    """[H, W] where the truth shows head and neck."""
    behind: NDArray[np.bool_]
    """[H, W] where it shows the background."""
    points: tuple[Array, Array]
    """True landmarks in pixels before and after."""
    cut: NDArray[np.bool_]
    """[H, W] where the frame shows head and neck."""


def offset_of(before: State, after: State, found: Array, gauge: Gauge) -> Array:
    """Express the true movement between two states in the axes and units of a found head pose [4, 4]."""
    old, new = head_pose(before), head_pose(after)
    rest = (old[:3, :3] @ gauge.turn).T @ found[:3, :3]
    pose = np.eye(4)
    pose[:3, :3] = new[:3, :3] @ gauge.turn @ rest
    moved = (new[:3, 3] - new[:3, :3] @ gauge.origin) - (old[:3, 3] - old[:3, :3] @ gauge.origin)
    pose[:3, 3] = found[:3, 3] + moved / gauge.scale
    offset: Array = pose @ np.linalg.inv(found)
    return offset


def cases(
    take: Take, track: HeadTrack, truth: Truth, gauge: Gauge, frames: dict[int, Picture], index: int
) -> Iterator[Case]:
    """Yield the cases of one frame of a take: each axis, each angle, to both sides."""
    size = take.width
    state = truth.state(index)
    material = render_frame(state, size=size)[2]
    before = landmarks_of(state, size=size)[0]
    for axis in AXES:
        for degrees in DEGREES:
            for sign in (-1, 1):
                after = dataclasses.replace(state, **{axis: getattr(state, axis) + sign * degrees})
                rgb, _, there = render_frame(after, size=size)
                yield Case(
                    name=axis,
                    degrees=degrees,
                    frame=frames[index],
                    head_before=track[index],
                    offset=offset_of(state, after, take.camera_from_head[index], gauge),
                    truth=rgb,
                    head=(there >= 0) & (there != CLOTH),
                    behind=there < 0,
                    points=(before, landmarks_of(after, size=size)[0]),
                    cut=(material >= 0) & (material != CLOTH),
                )


def psnr(ours: Picture, truth: Picture, where: NDArray[np.bool_]) -> float:
    """Return the PSNR in dB over some pixels."""
    error = (ours[where].astype(np.float64) - truth[where]) ** 2
    return float(10 * np.log10(255**2 / max(error.mean(), 1e-9)))


def measure(case: Case, reposer: Reposer) -> dict[str, Picture]:
    """Return the pictures that each way makes of a case."""
    similarity = fit_similarity(*case.points)
    assert reposer.background is not None
    return {
        "ours": reposer.repose(case.frame, case.head_before, case.offset),
        "2-D warp of the head": warp_head(case.frame, similarity, case.cut, reposer.background.picture),
        "2-D warp of the picture": warp_picture(case.frame, similarity),
        "not turned": case.frame,
    }


def run(footage: Footage, truths: dict[str, Truth], *, takes: int) -> dict[str, dict[str, float]]:
    """Measure all ways on one frame of each of some takes."""
    skin_colour = median_skin_colour(footage.takes)
    found = np.concatenate([take.camera_from_head[::10] for take in footage.takes])
    true = np.concatenate([truths[take.name].camera_from_head[::10] for take in footage.takes])
    gauge = fit_gauge(found, true)
    reposer = Reposer(footage.canonical)
    figures: dict[str, list[tuple[float, float]]] = {}
    for number, take in enumerate(footage.takes[:: max(1, len(footage.takes) // takes)][:takes]):
        wanted = np.linspace(0, len(take.times) - 1, SHOTS).astype(int).tolist()
        frames = {frame.index: frame.rgb for frame in take.frames() if frame.index in set(wanted)}
        track = HeadTrack.of_take(take, footage.canonical, skin_colour)
        reposer.background = learn_background(reposer.mesh, [(rgb, track[i]) for i, rgb in frames.items()])
        index = wanted[(3 + 5 * number) % SHOTS]
        for case in cases(take, track, truths[take.name], gauge, frames, index):
            for way, picture in measure(case, reposer).items():
                for key in (f"{way}|{case.name} {case.degrees:g}", f"{way}|all {case.degrees:g}"):
                    pair = (psnr(picture, case.truth, case.head), psnr(picture, case.truth, case.behind))
                    figures.setdefault(key, []).append(pair)
    return {
        key: {"head_psnr": float(head), "background_psnr": float(behind), "cases": len(values)}
        for key, values in figures.items()
        for head, behind in [np.mean(values, axis=0)]
    }


def table(results: dict[str, dict[str, float]], column: str) -> str:
    """Lay the results of one column out, a row each way."""
    ways = list(dict.fromkeys(key.split("|")[0] for key in results))
    cases = list(dict.fromkeys(key.split("|")[1] for key in results))
    cases.sort(key=lambda case: (case.startswith("all"), case.split()[0], float(case.split()[1])))
    lines = ["| | " + " | ".join(f"{case}°" for case in cases) + " |", "|---" * (len(cases) + 1) + "|"]
    for way in ways:
        cells = (f"{results[f'{way}|{case}'][column]:.1f}" for case in cases)
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


@dataclass(frozen=True)
class Arguments:
    """Measure heads carried to new poses, write the figures and put the tables into the page."""

    footage: Path
    """Prepared footage of the presenter."""
    truth: Path
    """The folder of its videos, with their truth."""
    takes: int = 8
    """Of which one frame each is turned to 18 poses."""
    results: Path = Path("benchmarks/results/new_pose.json")
    """The figures, as JSON."""
    page: Path = Path("docs/poses.md")
    """A page with the lines `<!-- figures -->` and `<!-- end -->`, between which the tables go."""


def main(arguments: Arguments) -> None:
    """Run the benchmark."""
    prepared = read_footage(arguments.footage)
    truths = {take.name: read_truth(arguments.truth / f"{take.name}.mp4") for take in prepared.takes}
    figures = run(prepared, truths, takes=arguments.takes)
    write_json(arguments.results, figures)
    text = f"Head and neck, dB:\n\n{table(figures, 'head_psnr')}\n\nBackground, dB:\n\n"
    text += f"{table(figures, 'background_psnr')}\n"
    print(text)
    page = arguments.page
    if page.is_file():
        before, _, rest = page.read_text(encoding="utf-8").partition("<!-- figures -->\n")
        after = rest.partition("<!-- end -->")[2]
        with write_atomically(page) as file:
            file.write_text(f"{before}<!-- figures -->\n\n{text}\n<!-- end -->{after}", encoding="utf-8")
