"""What is behind the head: the background from frames that saw it, and the outline of the head before it.

A head that is carried away leaves a hole. Other frames of the take saw what is in it, as the head stood
elsewhere; what no frame saw is filled smoothly from around. Hair belongs to the head where it departs from
that background, on average over many frames and in canonical space, so that the outline holds still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, distance_transform_edt, gaussian_filter, label, maximum_filter
from torch.nn import functional

from speech2lip.arrays import Floats, Picture
from speech2lip.composition.reposing.head_mesh import STEP, HeadMesh, read_nodes
from speech2lip.geometry.mapping import sample
from speech2lip.geometry.splat import splat
from speech2lip.head_track import HeadTrack

_ZONE = 0.4
"""Eye units beyond the outline of the head where hair may be: there no frame tells of the background."""
_DEPARTS = (9.0, 22.0)
"""Grey levels of difference from the background at which something is surely that, and surely not."""
_HOLE = 0.04
"""Matte from which the old place of the head is filled."""
_ROWS = 64
"""Rows of the background that are worked on at once."""


@dataclass(frozen=True)
class Background:
    """The background of a take and the matte of the head before it."""

    picture: Floats
    """[H, W, 3] from 0 to 255."""
    matte: Floats
    """[R', C'] in [0, 1] over the lattice of the head, at every canonical pixel."""

    def compose(
        self, colours: Floats, frame: Picture, start: tuple[int, int], new: Floats, old: Floats
    ) -> Floats:
        """Put a carried head before the background.

        Args:
            colours: [h, w, 3] the carried head and what came along.
            frame: [H, W, 3] where it comes from.
            start: x, y in the frame where the box [h, w] begins.
            new, old: [h, w, 2] places of the lattice that the box shows, now and before; NaN for none.
        """
        height, width = colours.shape[:2]
        box = (slice(start[1], start[1] + height), slice(start[0], start[0] + width))
        now, hole = self._matte_at(new, elsewhere=1.0), self.hole(old)
        original = frame[box].astype(np.float32)
        filled = filled_smoothly(self.picture[box], original, ~hole)
        behind = np.where(hole[..., None], filled, original)
        composed: Floats = behind + (colours - behind) * now[..., None]
        return composed

    def hole(self, at: Floats) -> NDArray[np.bool_]:
        """Tell where the head stands, and a little around it, from places [h, w, 2] of the lattice."""
        covered: NDArray[np.bool_] = maximum_filter(self._matte_at(at, elsewhere=0.0), size=7) > _HOLE
        return covered

    def _matte_at(self, at: Floats, *, elsewhere: float) -> Floats:
        return read_nodes(self.matte[..., None], at * STEP, elsewhere=elsewhere)[..., 0]


def filled_smoothly(base: Floats, picture: Floats, known: NDArray[np.bool_]) -> Floats:
    """Continue a picture into where it is not known: a base picture, brought into its light from around.

    Args:
        base, picture: [H, W, 3]; known: [H, W].

    Returns:
        [H, W, 3]: the base and a smooth difference, which is that of the picture where it is known.
    """
    difference = torch.from_numpy(np.ascontiguousarray(picture - base)).permute(2, 0, 1)[None]
    weight = torch.from_numpy(known.astype(np.float32))[None, None]
    filled: Floats = base + _pull_push(difference.float(), weight)[0].permute(1, 2, 0).numpy()
    return filled


def _pull_push(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Fill values [1, C, H, W] where their weight [1, 1, H, W] is 0 from ever coarser means of the rest."""
    height, width = values.shape[-2:]
    if max(height, width) <= 2:
        mean = (values * weight).sum((2, 3), keepdim=True) / weight.sum().clamp_min(1e-6)
        return values * weight + mean * (1 - weight)
    pad = (0, width % 2, 0, height % 2)
    total = functional.avg_pool2d(functional.pad(values * weight, pad), 2)
    share = functional.avg_pool2d(functional.pad(weight, pad), 2)
    coarse = _pull_push(total / share.clamp_min(1e-6), (4 * share).clamp_max(1))
    size = (coarse.shape[-2] * 2, coarse.shape[-1] * 2)
    fine = functional.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
    return values * weight + fine[..., :height, :width] * (1 - weight)


def learn_background(mesh: HeadMesh, shots: Sequence[tuple[Picture, HeadTrack]]) -> Background:
    """Learn background and matte from frames of one take, spread over it.

    Args:
        mesh: the head of the same person.
        shots: frames [H, W, 3] of one size, each with the track of its head.
    """
    size = shots[0][0].shape[:2]
    near = [_near_head(mesh, head, (size[0], size[1])) for _, head in shots]
    frames = [frame for frame, _ in shots]
    picture = _median_where(frames, [~zone for zone in near])
    departs, count = np.zeros((2, *_enlarged(mesh.beyond[..., None]).shape[:2]))
    for (frame, head), zone in zip(shots, near, strict=True):
        behind = filled_smoothly(picture, frame.astype(np.float32), ~zone)
        difference = gaussian_filter(np.abs(frame - behind).mean(-1), 1.0).astype(np.float32)
        seen = mesh.project(head)
        where = _enlarged(seen[..., :2])
        inside = ((where > 0) & (where < (size[1], size[0]))).all(-1)
        found = sample(torch.from_numpy(difference)[None, None], torch.from_numpy(where)[None])[0, 0].numpy()
        departs += found * inside
        count += inside
    first = Background(picture, _matte(departs / np.maximum(count, 1), mesh))
    # Now that the outline is known, frames tell of the background right up to it.
    covered = [first.hole(splat(mesh.project(head), (size[0], size[1]))[0]) for _, head in shots]
    return replace(first, picture=_median_where(frames, [~hole for hole in covered]))


def _near_head(mesh: HeadMesh, head: HeadTrack, size: tuple[int, int]) -> NDArray[np.bool_]:
    where, _ = splat(mesh.project(head), size)
    beyond = read_nodes(mesh.beyond[..., None], where, elsewhere=np.inf)[..., 0]
    return np.asarray(beyond < _ZONE)


def _median_where(frames: list[Picture], free: list[NDArray[np.bool_]]) -> Floats:
    """Return the median of frames at each pixel over those in which it is free, filled where none is."""
    picture = np.zeros(frames[0].shape, np.float32)
    known = np.any(free, axis=0)
    for start in range(0, len(picture), _ROWS):
        rows = slice(start, start + _ROWS)
        stack = np.stack([frame[rows] for frame in frames]).astype(np.float32)
        where = np.stack([one[rows] for one in free])
        stack[~where] = np.inf
        ordered = np.sort(stack, axis=0)
        middle = ((where.sum(0) - 1) // 2).clip(0)
        picture[rows] = np.take_along_axis(ordered, middle[None, ..., None], axis=0)[0]
    picture[~known] = 0
    return filled_smoothly(np.zeros_like(picture), picture, known)


def _enlarged(nodes: Floats) -> Floats:
    """Interpolate values [R, C, D] of the nodes at every canonical pixel."""
    table = torch.from_numpy(np.ascontiguousarray(nodes)).permute(2, 0, 1)[None]
    rows, columns = (nodes.shape[0] - 1) * STEP + 1, (nodes.shape[1] - 1) * STEP + 1
    fine = functional.interpolate(table, size=(rows, columns), mode="bilinear", align_corners=True)
    enlarged: Floats = np.ascontiguousarray(fine[0].permute(1, 2, 0).numpy())
    return enlarged


def _matte(departs: NDArray[np.float64], mesh: HeadMesh) -> Floats:
    """Turn the mean difference from the background into the matte of head and hair."""
    pixel = mesh.step_units / STEP
    beyond = _enlarged(mesh.beyond[..., None])[..., 0]
    below = _enlarged(mesh.below[..., None])[..., 0]
    low, high = _DEPARTS
    matte = np.clip((gaussian_filter(departs, 1.0) - low) / (high - low), 0, 1)
    core = _enlarged(mesh.core[..., None])[..., 0] > 0.5
    solid = binary_fill_holes((matte > 0.5) | core)
    numbers, _ = label(solid)
    mine = solid & np.isin(numbers, np.unique(numbers[core]))
    matte = np.where(mine, 1, matte * maximum_filter(mine, size=5))
    # Hair that flows on beyond what is looked at, neck and shoulders bend instead of being cut out.
    nearest = distance_transform_edt(beyond > _ZONE, return_distances=False, return_indices=True)
    reach = max(3, round(_ZONE / 4 / pixel))
    on = gaussian_filter(maximum_filter(matte, size=2 * reach)[tuple(nearest)], reach)
    part = np.clip(4 * (beyond / _ZONE - 0.75), 0, 1)
    matte = gaussian_filter(matte, 0.8)
    matte = np.maximum(matte * (beyond <= _ZONE), on * part)
    return np.maximum(matte, np.clip(3 * below - 1, 0, 1)).astype(np.float32)
