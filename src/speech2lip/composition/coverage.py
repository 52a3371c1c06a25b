"""Which head poses can be spoken over, which frames are shown, and how lips come and go elsewhere.

Where too much of the replaced region has turned out of sight, drawn lips are smeared over what lies behind
the face.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, gaussian_filter1d

from speech2lip.arrays import Array
from speech2lip.decomposition.canonical import Canonical, eye_distance
from speech2lip.geometry.mapping import sample_array
from speech2lip.geometry.rigid import rays, unbroken_runs

Flags = NDArray[np.bool_]
One = TypeVar("One")

FADE_SECONDS = 0.12
"""Over which drawn lips come and go, so that nothing pops."""
LEAST_SECONDS = 4.0
"""A stretch that is shown to and fro must be as long, or speech returns too often to the same frames."""
MOST_HIDDEN = 0.03
"""Share of the replaced region that may have turned away from the camera."""
_STEADY_SECONDS = 0.05
"""Over which what is hidden is smoothed, so that lips do not come and go with the tremble of head poses."""
_POINTS_DOWN = 28
"""Points of the region from top to bottom, about: the share is then known to a third of a per cent."""
_SMOOTH = 0.06
"""Eye units over which the learned depth is smoothed, as for turned heads: its ripple is no surface."""


@dataclass(frozen=True)
class RegionSurface:
    """Points of the replaced region with what they face, in canonical camera space."""

    points: Array
    """[N, 3] in eye units."""
    normals: Array
    """[N, 3] of length 1, towards the camera."""
    weights: Array
    """[N] share of each in the region, by the jaw mask; their sum is 1."""
    canonical_from_head: Array
    """[4, 4]."""

    def hidden_share(self, camera_from_head: Array) -> Array:
        """Return how much of the region has turned away from the camera; [T] in [0, 1].

        There the mapping folds: places of the patch lie on top of one another or on the background.

        Args:
            camera_from_head: [T, 4, 4] head poses.
        """
        observed_from_canonical = camera_from_head @ np.linalg.inv(self.canonical_from_head)
        rotation, shift = observed_from_canonical[:, :3, :3], observed_from_canonical[:, :3, 3]
        camera = -np.einsum("tji,tj->ti", rotation, shift)
        away = (self.normals * self.points).sum(1) - camera @ self.normals.T >= 0
        behind = rotation[:, 2] @ self.points.T + shift[:, 2:] <= 0
        share: Array = (away | behind) @ self.weights
        return share

    def bears(self, camera_from_head: Array) -> Flags:
        """Tell which head poses [T, 4, 4] can be spoken over; [T]."""
        return self.hidden_share(camera_from_head) <= MOST_HIDDEN

    def bears_frames(self, camera_from_head: Array, *, fps: float) -> Flags:
        """Tell which frames of an unbroken take can be spoken over, the tremble of its head poses apart; [T].

        Args:
            camera_from_head: [T, 4, 4]; fps: of the T frames.
        """
        hidden = gaussian_filter1d(self.hidden_share(camera_from_head), _STEADY_SECONDS * fps, mode="nearest")
        return np.asarray(hidden <= MOST_HIDDEN)


def region_surface(canonical: Canonical) -> RegionSurface:
    """Take the surface of the replaced region from a canonical space."""
    rows, columns = canonical.jaw_mask.shape
    step = max(1, round(rows / _POINTS_DOWN))
    x0, y0, x1, y1 = canonical.patch.box
    weights = canonical.jaw_mask[step // 2 :: step, step // 2 :: step].astype(np.float64)
    inside = weights > 0.05
    x = x0 + (np.arange(step // 2, columns, step) + 0.5) / columns * (x1 - x0)
    y = y0 + (np.arange(step // 2, rows, step) + 0.5) / rows * (y1 - y0)
    pixels = np.stack(np.meshgrid(x, y), axis=-1)[inside]
    smooth = _SMOOTH * eye_distance(canonical.points)
    depth = gaussian_filter(canonical.depth.astype(np.float64), smooth, mode="nearest")
    points = _unprojected(pixels, depth, canonical.k)
    right, down = (
        _unprojected(pixels + one, depth, canonical.k) - _unprojected(pixels - one, depth, canonical.k)
        for one in np.eye(2)
    )
    normals = np.cross(down, right)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    share = weights[inside] / weights[inside].sum()
    return RegionSurface(points, normals, share, canonical_from_head=canonical.camera_from_head)


def _unprojected(pixels: Array, depth: Array, k: Array) -> Array:
    """Return where pixels [N, 2] of the canonical picture lie in its camera space; [N, 3]."""
    return rays(k, pixels) * sample_array(depth, pixels)[:, None]


def longest_run(flags: Flags) -> tuple[int, int]:
    """Return (start, stop) of the longest run of True; (0, 0) without any."""
    return max(unbroken_runs(flags), key=lambda run: run[1] - run[0], default=(0, 0))


def best_stretch(flags: Flags, *, fps: float, start: int = 0) -> tuple[int, int]:
    """Choose the frames, first and stop, that are shown under speech.

    That is the longest run of frames that can be spoken over, or the one that holds frame `start`, where that
    was asked for (is not 0). Where none is long enough it is the whole take.

    Args:
        flags: [T] which frames can be spoken over.
    """
    long = [run for run in unbroken_runs(flags) if run[1] - run[0] >= LEAST_SECONDS * fps]
    wished = [run for run in long if start and run[0] <= start < run[1]]
    return max(wished or long, key=lambda run: run[1] - run[0], default=(0, len(flags)))


def drawn_shares(flags: Flags, *, fps: float) -> Array:
    """Return how much of the drawn lips is shown in each frame; [T] in [0, 1].

    0 where a frame cannot be spoken over, 1 from the length of a fade before and after such frames on.

    Args:
        flags: [T] which frames can be spoken over, of one unbroken take.
    """
    if flags.all():
        return np.ones(len(flags))
    return np.minimum(distance_transform_edt(flags) / (_fade_frames(fps) + 1), 1.0)


def with_shares(
    items: Iterator[One], can_be_spoken_over: Callable[[One], bool], *, fps: float
) -> Iterator[tuple[One, float]]:
    """Yield items without end, each with the share of the drawn lips that it shows, as `drawn_shares` does.

    It looks ahead as far as a fade reaches.
    """
    reach = _fade_frames(fps)
    around: deque[tuple[One | None, bool]] = deque([(None, True)] * reach, maxlen=2 * reach + 1)
    for item in items:
        around.append((item, can_be_spoken_over(item)))
        one = around[reach][0]
        if len(around) > 2 * reach and one is not None:
            yield one, float(drawn_shares(np.array([flag for _, flag in around]), fps=fps)[reach])


def _fade_frames(fps: float) -> int:
    return max(1, round(FADE_SECONDS * fps))
