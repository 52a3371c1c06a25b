"""Depth of the whole head in canonical space: begins at the face mesh, is refined photometrically."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
from scipy.ndimage import distance_transform_edt, gaussian_filter
from torch import Tensor
from torch.nn import functional

from speech2lip.decomposition.regions import eye_distance, fill_polygon
from speech2lip.faces.landmarks import CHIN, FACE_OVAL, SUBNASALE
from speech2lip.geometry.mapping import look_up, observed_from_canonical_points, pixel_centres

_BACK = 0.5
"""How far behind the edge of the face the head's sides and hair lie, in eye units."""
_STEEP = 0.8
"""How fast the head recedes at that edge."""
_STIFFNESS = 0.05
"""Weight of the correction's squared differences between neighbouring cells."""


def mesh_depth(points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    """Interpolate depth between the points of the face and carry it on beyond them.

    Args:
        points: [N, 3]: canonical pixels x, y and depth in eye units.
        size: (H, W) of the canonical picture.

    Returns:
        [H, W] in eye units, smooth.
    """
    y, x = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
    inside = LinearNDInterpolator(points[:, :2], points[:, 2])(x, y)
    beyond = NearestNDInterpolator(points[:, :2], points[:, 2])(x, y)
    sigma = 0.03 * max(size)
    far = gaussian_filter(beyond, 2 * sigma)
    depth = np.where(np.isnan(inside), far, inside)
    smooth: NDArray[np.float32] = gaussian_filter(depth, sigma / 3).astype(np.float32)
    return smooth


def head_depth(points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the depth that is assumed before any is learned: the mesh, and a head that recedes beyond it.

    Beyond the sides and the top of the face the head curves back; neck and shoulders, which do not turn with
    it, go on as `mesh_depth` has them.

    Args:
        points: [478, 3]: canonical pixels x, y and depth in eye units; size: (H, W) of the canonical picture.

    Returns:
        [H, W] in eye units.
    """
    unit = eye_distance(points[:, :2])
    where = pixel_centres(*size).numpy()
    face = fill_polygon(points[list(FACE_OVAL), :2], where)
    away = distance_transform_edt(~face) / unit
    nose, chin = points[SUBNASALE, 1], points[CHIN[0], 1]
    sides = np.clip((chin - where[..., 1]) / (chin - nose), 0, 1)
    back = _BACK * (1 - np.exp(-away * _STEEP / _BACK)) * sides
    smooth: NDArray[np.float32] = gaussian_filter(back, 0.03 * unit).astype(np.float32)
    return mesh_depth(points, size) + smooth


@dataclass(frozen=True)
class Views:
    """Frames at many head poses, to be brought into canonical space."""

    frames: Tensor
    """[F, 3, H_o, W_o] in [0, 1]."""
    observed_from_canonical: Tensor
    """[F, 4, 4]."""
    k_canonical: Tensor
    k_observed: Tensor
    """[3, 3] and [F, 3, 3]."""
    weight: Tensor
    """[H, W], 0 where colours are not to be trusted (the mouth)."""

    def chosen(self, which: Tensor) -> Views:
        """Return some of the frames; `which`: [F] of bool."""
        return dataclasses.replace(
            self,
            frames=self.frames[which],
            observed_from_canonical=self.observed_from_canonical[which],
            k_observed=self.k_observed[which],
        )

    def brought(self, depth: Tensor, chosen: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Bring frames into canonical space; [F, 3, H, W], and the weight where they show it [F, 1, H, W]."""
        height, width = depth.shape
        frames, transforms = self.frames[chosen], self.observed_from_canonical[chosen]
        points = pixel_centres(height, width).reshape(1, -1, 2)
        where = observed_from_canonical_points(
            points, depth, transforms, self.k_canonical, self.k_observed[chosen]
        )
        size = where.new_tensor([frames.shape[-1], frames.shape[-2]])
        inside = ((where > 0) & (where < size)).all(-1).float().reshape(len(frames), 1, height, width)
        return look_up(frames, where).reshape(len(frames), 3, height, width), inside * self.weight


def learn_depth(
    initial: Tensor,
    views: Views,
    *,
    steps: int = 150,
    cells: int = 24,
    batch: int = 12,
    report: Callable[[int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Refine the depth so that frames at many head poses agree when they are brought into canonical space.

    The depth is the initial one times (1 + a smooth correction); the loss is the absolute colour difference
    between each warped frame and the mean of all, after the mean light of both has been made equal, plus the
    correction's roughness.

    Args:
        initial: [H, W] in eye units.
        views: what is brought into agreement.
        steps: of the optimiser; 0 learns nothing.
        cells: of the correction, across the picture.
        batch: frames looked at in one step.
        report: called with the number of steps done.

    Returns:
        The refined depth, [H, W], and the mean of the frames in canonical space, [3, H, W].
    """
    height, width = initial.shape
    random = torch.Generator().manual_seed(0)
    correction = torch.zeros(1, 1, cells, cells, requires_grad=True)

    def depth_now() -> Tensor:
        up = functional.interpolate(correction, size=(height, width), mode="bicubic", align_corners=False)
        return initial * (1 + up[0, 0])

    def warped(chosen: Tensor) -> tuple[Tensor, Tensor]:
        return views.brought(depth_now(), chosen)

    if steps == 0:  # the optimiser alone takes a second to import
        with torch.no_grad():
            return depth_now(), _mean_picture(warped, len(views.frames), batch)
    optimiser = torch.optim.Adam([correction], lr=4e-3)
    mean = torch.zeros(3, height, width)
    for step in range(steps + 1):
        if step % 25 == 0 or step == steps:
            with torch.no_grad():
                mean = _mean_picture(warped, len(views.frames), batch)
            if step == steps:
                break
        chosen = torch.randperm(len(views.frames), generator=random)[:batch]
        picture, inside = warped(chosen)
        gain = (picture * inside).sum((2, 3)) / (mean * inside).sum((2, 3)).clamp_min(1e-3)
        difference = (picture - mean * gain[..., None, None].detach()).abs() * inside
        rough = (
            (correction.diff(dim=2) ** 2).mean()
            + (correction.diff(dim=3) ** 2).mean()
            + 0.02 * (correction**2).mean()
        )
        loss = difference.sum() / inside.sum().clamp_min(1.0) / 3 + _STIFFNESS * cells * rough
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if report is not None:
            report(step + 1)
    return depth_now().detach(), mean


def disagreement(depth: Tensor, mean: Tensor, views: Views) -> float:
    """Return how far frames brought into canonical space are from their mean picture, in grey levels.

    Args:
        depth: [H, W] in eye units.
        mean: [3, H, W].
        views: frames to compare.

    Returns:
        The mean absolute colour difference, after the mean light of both has been made equal.
    """
    total, count = 0.0, 0.0
    for n in range(len(views.frames)):
        picture, inside = views.brought(depth, slice(n, n + 1))
        gain = (picture * inside).sum((2, 3)) / (mean * inside).sum((2, 3)).clamp_min(1e-3)
        away = (picture - mean * gain[..., None, None]).abs().mean(1, keepdim=True)
        total += float((away * inside).sum())
        count += float(inside.sum())
    return 255 * total / max(count, 1.0)


def _mean_picture(warped: Callable[[Tensor], tuple[Tensor, Tensor]], count: int, batch: int) -> Tensor:
    total, weight = torch.zeros(()), torch.zeros(())
    for start in range(0, count, batch):
        picture, inside = warped(torch.arange(start, min(start + batch, count)))
        seen = inside + 1e-4
        total = total + (picture * seen).sum(0)
        weight = weight + seen.sum(0)
    return total / weight
