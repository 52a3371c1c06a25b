"""How still real footage stands in canonical space, and how well its landmarks fit one rigid face."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from speech2lip.arrays import Floats
from speech2lip.decomposition.canonical import Canonical, eye_distance, fill_polygon, jaw_outline
from speech2lip.decomposition.footage import Footage, Take
from speech2lip.faces.landmarks import FACE_OVAL, RIGID, eye_opening
from speech2lip.geometry.mapping import observed_from_canonical_points, pixel_centres, sample
from speech2lip.geometry.rigid import project

REGIONS: Mapping[str, tuple[int, ...]] = {
    "nose bridge": (168, 6),
    "eye corners": (33, 133, 362, 263),
    "forehead": (151, 9, 108, 337),
}
"""Landmarks around which the deviation is measured."""
_OPEN = 0.7
"""Share of the usual opening of the lids below which a frame counts as a blink."""
_RADIUS = 0.06
"""Of the discs around them, in eye units."""


def reprojection(footage: Footage) -> dict[str, float]:
    """Return the mean distance of the landmarks that speech does not move from the rigid face, in pixels.

    Only frames that are trained on count. `px_512` is the same as if the longer side had 512 pixels.
    """
    rigid = list(RIGID)
    away, relative = [], []
    for take in footage.takes:
        kept = np.flatnonzero(take.kept)
        if not len(kept):
            continue
        points = take.landmarks[:][kept][:, rigid, :2].astype(np.float64)
        found = project(take.camera_from_head[kept], take.k, footage.canonical.shape[rigid])
        errors = np.linalg.norm(found - points, axis=-1).mean(1)
        away.append(errors)
        relative.append(errors * 512 / max(take.width, take.height))
    return {
        "reprojection_px": float(np.concatenate(away).mean()),
        "reprojection_px_512": float(np.concatenate(relative).mean()),
    }


def deviations(
    footage: Footage, *, depth: Floats | None = None, held: bool = True, frames: int = 240
) -> dict[str, float]:
    """Return the temporal standard deviation of the luma in canonical space, in grey levels, by region.

    Each frame's luma is first brought to the mean light of its shot, over the still face. Deviations are
    within shots, whose head is seen from one place in one light; shots count by their frames. Frames in which
    the eyes are shut are left out.

    Args:
        depth: [H, W] in place of the canonical depth.
        held: hold the head still; otherwise the pixels of each shot's first frame stay where they are.
        frames: of all takes together, at most, evenly spread.
    """
    canonical = footage.canonical
    surface = torch.from_numpy(canonical.depth if depth is None else depth)
    points = pixel_centres(*canonical.size).reshape(-1, 2)
    still = _still(canonical, points.numpy())
    discs = _discs(canonical, points.numpy())
    squares = {name: 0.0 for name in discs}
    count = 0
    for take, indices in _shots(footage, frames):
        lumas = _brought(take, indices, canonical, surface, points, held=held)
        light = lumas[:, still].mean(1, keepdims=True)
        lumas = lumas / light * light.mean()
        variance = lumas.var(0, ddof=1)
        for name, disc in discs.items():
            squares[name] += float(variance[disc].mean()) * len(indices)
        count += len(indices)
    return {name: float(np.sqrt(square / count)) for name, square in squares.items()}


def _still(canonical: Canonical, points: Floats) -> NDArray[np.bool_]:
    face = fill_polygon(canonical.points[list(FACE_OVAL)], points)
    still: NDArray[np.bool_] = face & ~fill_polygon(jaw_outline(canonical.points), points)
    return still


def _discs(canonical: Canonical, points: Floats) -> dict[str, NDArray[np.bool_]]:
    unit = eye_distance(canonical.points)
    return {
        name: np.any(
            [np.linalg.norm(points - canonical.points[i], axis=-1) < _RADIUS * unit for i in around], axis=0
        )
        for name, around in REGIONS.items()
    }


def _shots(footage: Footage, frames: int) -> Iterator[tuple[Take, list[int]]]:
    """Yield shots and the frames of each that are measured: at least three."""
    total = sum(int(take.kept.sum()) for take in footage.takes)
    for take in footage.takes:
        lids = np.nan_to_num(eye_opening(take.landmarks[:]))
        good = (take.kept) & (lids > _OPEN * np.median(lids))
        for number in np.unique(take.shot):
            kept = np.flatnonzero(good & (take.shot == number))
            wanted = min(len(kept), max(6, round(frames * len(kept) / total)))
            if wanted >= 3:
                yield take, kept[np.linspace(0, len(kept) - 1, wanted).astype(int)].tolist()


def _brought(
    take: Take,
    indices: list[int],
    canonical: Canonical,
    surface: torch.Tensor,
    points: torch.Tensor,
    *,
    held: bool,
) -> Floats:
    """Bring frames of a shot into canonical space; luma [F, H * W]."""
    inverse = np.linalg.inv(canonical.camera_from_head)
    first = take.camera_from_head[indices[0]]
    wanted = set(indices)
    result = []
    for frame in take.frames(indices[0], indices[-1] + 1):
        if frame.index not in wanted:
            continue
        pose = take.camera_from_head[frame.index] if held else first
        where = observed_from_canonical_points(
            points[None],
            surface,
            torch.from_numpy(pose @ inverse).float()[None],
            torch.from_numpy(canonical.k).float(),
            torch.from_numpy(take.k).float(),
        )
        luma = torch.from_numpy(frame.rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32))
        result.append(sample(luma[None, None], where, mode="bicubic")[0, 0].numpy())
    return np.stack(result)
