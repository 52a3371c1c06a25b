"""The page about a footage: what it shows, what was left out and why, and what would make it better."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from speech2lip.arrays import Floats, Picture
from speech2lip.atomic import check_output
from speech2lip.decomposition.footage import Footage, Rejection, Take
from speech2lip.decomposition.overview import look_over
from speech2lip.errors import OutputError
from speech2lip.faces.landmarks import FACE_OVAL
from speech2lip.geometry.mapping import observed_from_canonical_points, pixel_centres, sample
from speech2lip.geometry.rigid import head_angles
from speech2lip.report.page import resized, write_page

GENERATOR = '<meta name="generator" content="speech2lip prepare">'
"""Tells a page of ours from others."""
_HEAD_BYTES = 4096
_BINS = 30
_BAR = 70
"""Height of the highest bar of a histogram."""
SHEET = 24
"""Frames on a contact sheet."""
_COLUMNS = 8
_HEIGHT = 150
_EXAMPLES, _EXAMPLE_HEIGHT = 4, 200
_STRONGEST = 40.0
"""Grey levels of movement that are shown white-hot."""

FramesOfTakes = list[tuple[Take, int]]


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
    chosen = _spread(_places(footage.takes, 0), SHEET)
    frames = [(frame_at(*place), *place) for place in chosen]
    examples = {
        reason.words: [
            (f"{take.name}, {take.times[index]:.2f} s", _example(take, index))
            for take, index in _spread(_places(footage.takes, reason), _EXAMPLES)
        ]
        for reason in Rejection
        if reason
    }
    write_page(
        path, "footage.html", command="prepare", title=footage.folder.name, info=footage.info,
        overview=look_over(footage), histograms=_histograms(footage.takes), examples=examples,
        observed=sheet([_outlined(*frame) for frame in frames]),
        canonical=sheet([stabilised(footage, *frame) for frame in frames]),
        mean=footage.canonical.picture, motion=heat(footage.canonical.motion),
    )  # fmt: skip


def _histograms(takes: Sequence[Take]) -> list[tuple[str, list[float], float, float]]:
    """Return name, heights of the bars, least and largest value of each angle of the head."""
    angles = np.concatenate([head_angles(take.camera_from_head)[take.kept] for take in takes])
    found = []
    for name, values in zip(("yaw", "pitch", "roll"), angles.T, strict=True):
        counts, edges = np.histogram(values, bins=_BINS)
        bars = _BAR * counts / max(counts.max(), 1)
        found.append((name, bars.tolist(), float(edges[0]), float(edges[-1])))
    return found


def _places(takes: Sequence[Take], reason: int) -> FramesOfTakes:
    """List the frames that are left out for a reason; 0: those that are not."""
    return [(take, int(index)) for take in takes for index in np.flatnonzero(take.rejection == reason)]


def _spread(places: FramesOfTakes, count: int) -> FramesOfTakes:
    """Choose some places, evenly spread."""
    return [places[int(n)] for n in np.linspace(0, len(places) - 1, min(count, len(places)))]


def frame_at(take: Take, index: int) -> Picture:
    """Decode one frame of a take."""
    return next(take.frames(index, index + 1)).rgb


def stabilised(footage: Footage, frame: Picture, take: Take, index: int) -> Picture:
    """Bring a frame into canonical space, where the head is still; [H, W, 3]."""
    canonical = footage.canonical
    transform = take.camera_from_head[index] @ np.linalg.inv(canonical.camera_from_head)
    points = observed_from_canonical_points(
        pixel_centres(*canonical.size).reshape(1, -1, 2),
        torch.from_numpy(canonical.depth),
        torch.from_numpy(transform)[None].float(),
        torch.from_numpy(canonical.k).float(),
        torch.from_numpy(take.k)[None].float(),
    )
    picture = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
    found = sample(picture, points).reshape(3, *canonical.size)
    return found.clamp(0, 255).round().byte().permute(1, 2, 0).contiguous().numpy()


def heat(motion: Floats) -> Picture:
    """Colour a map of grey levels, dark blue to white-hot at 40 levels; [H, W, 3]."""
    strength = np.clip(motion / _STRONGEST * 255, 0, 255).astype(np.uint8)
    coloured = cv2.applyColorMap(strength, cv2.COLORMAP_INFERNO)
    return np.ascontiguousarray(coloured[..., ::-1]).astype(np.uint8)


def sheet(pictures: Sequence[Picture]) -> Picture:
    """Lay pictures out in rows of eight, all scaled to one height."""
    scaled = [_of_height(picture, _HEIGHT) for picture in pictures]
    columns, widest = min(_COLUMNS, len(scaled)), max(picture.shape[1] for picture in scaled)
    cells: Picture = np.full((-(-len(scaled) // columns) * columns, _HEIGHT, widest, 3), 128, np.uint8)
    for cell, picture in zip(cells, scaled, strict=False):
        left = (widest - picture.shape[1]) // 2
        cell[:, left : left + picture.shape[1]] = picture
    return np.vstack([np.hstack(list(cells[n : n + columns])) for n in range(0, len(cells), columns)])


def _of_height(picture: Picture, height: int) -> Picture:
    return resized(picture, max(1, round(picture.shape[1] * height / picture.shape[0])), height)


def _outlined(frame: Picture, take: Take, index: int) -> Picture:
    """Draw the outline of the face that was followed into a frame."""
    oval = take.landmarks[index][list(FACE_OVAL), :2]
    if not np.isfinite(oval).all():
        return frame
    drawn = frame.copy()
    width = max(1, round(frame.shape[0] / 150))
    cv2.polylines(drawn, [np.round(oval).astype(np.int32)], True, (255, 140, 0), width, cv2.LINE_AA)
    return drawn


def _example(take: Take, index: int) -> Picture:
    frame = frame_at(take, index)
    return _of_height(_outlined(frame, take, index), min(_EXAMPLE_HEIGHT, frame.shape[0]))
