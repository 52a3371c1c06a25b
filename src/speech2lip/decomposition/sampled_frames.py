"""Frames sampled from all takes at the canonical picture's scale, and brought into canonical space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speech2lip.arrays import Array
from speech2lip.decomposition.canonical import Space, fill_polygon, jaw_outline
from speech2lip.decomposition.footage import Take
from speech2lip.geometry.mapping import observed_from_canonical_points, pixel_centres, sample
from speech2lip.geometry.rigid import rays, to_pixels
from speech2lip.progress import Progress

_AT_ONCE = 12
"""Frames brought into canonical space together."""


@dataclass(frozen=True)
class Sample:
    """F frames, shrunk to the canonical scale and padded to one size."""

    frames: torch.Tensor
    """[F, 3, H, W] in [0, 1]."""
    places: list[tuple[int, int]]
    """Number of the take and frame index of each."""
    shrunk: Array
    """[F, 3, 3] from a take's pixels to the frame's."""
    home: int
    """Which of them is the canonical frame."""

    def poses(self, takes: Sequence[Take]) -> Array:
        """Return the head poses that takes give the frames; [F, 4, 4]."""
        return np.stack([takes[n].camera_from_head[i] for n, i in self.places])

    def ks(self, takes: Sequence[Take]) -> Array:
        """Return the frames' cameras; [F, 3, 3]."""
        return np.stack([s @ takes[n].k for s, (n, _) in zip(self.shrunk, self.places, strict=True)])

    def views(self, takes: Sequence[Take], space: Space) -> Views:
        """Return the frames at the head poses that takes give them; the mouth's colours are not trusted."""
        trusted = ~fill_polygon(jaw_outline(space.points), pixel_centres(*space.size).numpy())
        parts = (self.poses(takes) @ np.linalg.inv(space.camera_from_head), space.k, self.ks(takes), trusted)
        return Views(self.frames, *(torch.from_numpy(part).float() for part in parts))

    def home_picture(self, takes: Sequence[Take], space: Space) -> NDArray[np.uint8]:
        """Return the canonical frame as the canonical camera sees it; [H, W, 3]."""
        seen = rays(space.k, pixel_centres(*space.size).double().numpy())
        where = torch.from_numpy(to_pixels(self.ks(takes)[self.home], seen)).float()
        return as_picture(sample(self.frames[self.home : self.home + 1], where[None])[0])


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

    def warped(self, depth: Tensor, chosen: slice) -> tuple[Tensor, Tensor]:
        """Bring frames into canonical space; [F, 3, H, W], and whether each shows the place, [F, 1, H, W]."""
        frames, points = self.frames[chosen], pixel_centres(*depth.shape)
        where = observed_from_canonical_points(
            points.reshape(1, -1, 2),
            depth,
            self.observed_from_canonical[chosen],
            self.k_canonical,
            self.k_observed[chosen],
        ).reshape(len(frames), *points.shape)
        size = where.new_tensor([frames.shape[-1], frames.shape[-2]])
        return sample(frames, where), ((where > 0) & (where < size)).all(-1)[:, None].float()

    def mean(self, depth: Tensor) -> Tensor:
        """Return the mean of the frames in canonical space; [3, H, W]."""
        total, weight = torch.zeros(()), torch.zeros(())
        for start in range(0, len(self.frames), _AT_ONCE):
            picture, inside = self.warped(depth, slice(start, start + _AT_ONCE))
            seen = inside * self.weight + 1e-4
            total, weight = total + (picture * seen).sum(0), weight + seen.sum(0)
        return total / weight

    def motion(self, depth: Tensor, mean: Tensor) -> Tensor:
        """Return the mean absolute deviation from the mean canonical picture; [H, W] in grey levels."""
        total = torch.zeros(depth.shape)
        for n in range(len(self.frames)):
            picture = self.warped(depth, slice(n, n + 1))[0][0]
            gain = picture.mean((1, 2), keepdim=True) / mean.mean((1, 2), keepdim=True)
            total += (picture / gain - mean).abs().mean(0)
        return total / len(self.frames) * 255


def sample_frames(takes: Sequence[Take], scale: float, *, count: int, home: tuple[str, int]) -> Sample:
    """Decode frames spread over all takes, and the canonical one.

    Args:
        scale: pixels of the canonical picture for one of a take.
        count: frames at most, besides the canonical one.
        home: name of the canonical frame's take, and its index.
    """
    every = [(n, int(i)) for n, take in enumerate(takes) for i in np.flatnonzero(take.kept)]
    chosen = {every[int(j)] for j in np.linspace(0, len(every) - 1, min(len(every), count))}
    canonical = ([take.name for take in takes].index(home[0]), home[1])
    wanted: dict[int, list[int]] = {}
    for n, i in sorted(chosen | {canonical}):
        wanted.setdefault(n, []).append(i)
    places, pictures, shrunk = [], [], []
    with Progress("Reading frames", total=len(wanted)) as progress:
        for number, (n, indices) in enumerate(wanted.items()):
            take = takes[n]
            size = (round(take.width * scale), round(take.height * scale))
            for frame in take.frames(min(indices), max(indices) + 1, only=indices):
                small = frame.rgb if scale >= 1 else cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA)
                places.append((n, frame.index))
                pictures.append(np.asarray(small))
                shrunk.append(np.diag([small.shape[1] / take.width, small.shape[0] / take.height, 1.0]))
            progress.set(number + 1)
    height, width = max(p.shape[0] for p in pictures), max(p.shape[1] for p in pictures)
    padded = [
        np.pad(p, ((0, height - p.shape[0]), (0, width - p.shape[1]), (0, 0)), mode="edge") for p in pictures
    ]
    frames = torch.from_numpy(np.stack(padded)).permute(0, 3, 1, 2).float() / 255
    return Sample(frames, places, np.stack(shrunk), places.index(canonical))


def as_picture(mean: Tensor) -> NDArray[np.uint8]:
    """Return a picture [3, H, W] in [0, 1] as [H, W, 3]."""
    picture: NDArray[np.uint8] = (mean.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    return picture
