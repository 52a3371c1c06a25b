"""What crosses the mouth in the footage, a hand or a microphone, is found and kept in front of the lips.

An open mouth departs from the person's usual face as well. So only that counts which departs far from what
each place of the face ever shows, reaches into the jaw region from outside it, and stays for some frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import (
    binary_closing,
    binary_dilation,
    binary_fill_holes,
    distance_transform_edt,
    gaussian_filter,
    label,
)
from torch.nn import functional

from speech2lip.arrays import Floats, Picture
from speech2lip.composition.reposing.head_mesh import HeadMesh, read_nodes
from speech2lip.composition.reposing.reposer import Reposer
from speech2lip.decomposition.canonical import Canonical
from speech2lip.geometry.mapping import sample, sample_array
from speech2lip.geometry.splat import splat
from speech2lip.head_track import HeadTrack
from speech2lip.media.yuv import split

if TYPE_CHECKING:
    from speech2lip.avatar import Avatar, BaseVideo

_SHOTS = 32
"""Frames of the take that the usual face is learned from."""
Flags = NDArray[np.bool_]
Levels = NDArray[np.uint8]

_CLOSED = 2
"""Nodes across which gaps in something in front are closed."""
_LEVELS = 15.0
"""Grey levels by which something in front departs from the face at least."""
_SPREADS = 4.0
"""How many times the place's own spread it departs at least."""
_WEAK = 0.45
"""Share of both from which a node counts that lies near one that departs enough: skin before skin."""
_GROWN = 6
"""Nodes how near."""
_LASTING = 4
"""Frames that something in front stays at least."""
_FLOOR = 5.0
"""Grey levels of spread that every place is granted: noise, and what was not seen while learning."""
_APART = 0.08
"""Eye units outside the jaw region from which a departure cannot be the jaw's own."""
_OUTSIDE = 0.03
"""Square eye units outside the jaw region that something in front covers at least."""
_INSIDE = 0.01
"""Square eye units inside it."""


@dataclass(frozen=True)
class UsualFace:
    """What each place of a head usually shows in a take, at the nodes of its lattice."""

    colour: Floats
    """[R, C, 3] median from 0 to 255, in the canonical light."""
    spread: Floats
    """[R, C] standard deviation, robust, in grey levels."""
    jaw: Flags
    """[R, C] where lips are drawn."""
    outside: Flags
    """[R, C] face and neck, surely outside that."""
    area: float
    """Square eye units of a node."""


def node_colours(reposer: Reposer, frame: Picture, head: HeadTrack) -> Floats:
    """Read the nodes' colours in a frame [H, W, 3], in the canonical light; [R, C, 3], NaN outside it."""
    seen = reposer.mesh.project(head)[..., :2]
    apart = float(np.median(np.linalg.norm(np.diff(seen, axis=1), axis=-1)))
    size = max(1, round(apart))
    picture = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
    coarse = functional.avg_pool2d(picture, size, ceil_mode=True, count_include_pad=False)
    found = sample(coarse, torch.from_numpy(seen / size)[None])[0].permute(1, 2, 0).numpy()
    inside = ((seen >= 0) & (seen < (frame.shape[1], frame.shape[0]))).all(-1)
    colours: Floats = np.where(inside[..., None], found / head.light_gain[0], np.nan)
    return colours.astype(np.float32)


def learn_usual_face(
    reposer: Reposer, canonical: Canonical, shots: Sequence[tuple[Picture, HeadTrack]]
) -> UsualFace:
    """Learn what a head usually shows from frames [H, W, 3] spread over a take, most of them uncovered."""
    colours = np.stack([node_colours(reposer, frame, head) for frame, head in shots])
    known = np.isfinite(colours[..., 0]).any(0)
    filled = np.where(known[..., None], colours, 0)
    median = np.nanmedian(filled, axis=0)
    away = np.abs(filled - median).mean(-1)
    spread = 1.4826 * np.nanmedian(away, axis=0) + np.where(known, 0, np.inf)
    jaw = _jaw_at(reposer.mesh, canonical)
    distance = distance_transform_edt(~(jaw > 0.02)) * reposer.mesh.step_units
    near = (reposer.mesh.beyond < 0.4) & (distance > _APART) & np.isfinite(spread)
    # The face moves a little against its own mesh: each place is granted what its neighbours show.
    around = gaussian_filter(np.where(np.isfinite(spread), spread, 0), 1.0)
    spread = np.maximum(np.maximum(spread, around), _FLOOR)
    return UsualFace(
        colour=median.astype(np.float32),
        spread=spread.astype(np.float32),
        jaw=jaw > 0.3,
        outside=near,
        area=reposer.mesh.step_units**2,
    )


def _jaw_at(mesh: HeadMesh, canonical: Canonical) -> NDArray[np.float64]:
    """Read the jaw mask at the nodes; [R, C]."""
    x0, y0, x1, y1 = canonical.patch.box
    rows, columns = canonical.jaw_mask.shape
    pixels = (mesh.canonical - [x0, y0]) / [x1 - x0, y1 - y0] * [columns, rows]
    within = ((pixels >= 0) & (pixels <= [columns, rows])).all(-1)
    return sample_array(canonical.jaw_mask, pixels) * within


def departures(face: UsualFace, colours: Floats) -> Levels:
    """Tell which nodes [R, C] show something that is not the face: 2; perhaps not, 1; the face, 0."""
    away = np.nan_to_num(np.abs(colours - face.colour).mean(-1))
    least = np.maximum(_LEVELS, _SPREADS * face.spread)
    return (away > _WEAK * least).astype(np.uint8) + (away > least)


def in_front(face: UsualFace, departing: Sequence[Levels]) -> list[Flags]:
    """Choose what of the departures of successive frames is in front of the mouth.

    Args:
        departing: [R, C] of each frame, in order of time.

    Returns:
        Nodes that something in front covers, for each frame.
    """
    found = []
    for index, levels in enumerate(departing):
        around = [departing[i] == 2 for i in (index - 1, index + 1) if 0 <= i < len(departing)]
        lasting = levels == 2
        if around:
            lasting &= binary_dilation(np.logical_or.reduce(around), iterations=2)
        found.append(_reaching_in(face, lasting))
    kept = _long_enough([bool(nodes.any()) for nodes in found])
    nothing = np.zeros(face.jaw.shape, np.bool_)
    chosen = zip(found, departing, kept, strict=True)
    return [_grown(nodes, levels) if keep else nothing for nodes, levels, keep in chosen]


def _reaching_in(face: UsualFace, departing: Flags) -> Flags:
    """Keep the connected parts that cover enough both outside the jaw region and inside it."""
    numbers, count = label(departing, structure=np.ones((3, 3)))
    outside = np.bincount(numbers[face.outside], minlength=count + 1) * face.area
    inside = np.bincount(numbers[face.jaw], minlength=count + 1) * face.area
    wanted = (outside >= _OUTSIDE) & (inside >= _INSIDE)
    wanted[0] = False
    reaching: Flags = wanted[numbers]
    return reaching


def _long_enough(flagged: Sequence[bool]) -> list[bool]:
    """Keep runs of enough frames: what is in front does not come and go in an instant."""
    numbers, count = label(np.array(flagged, np.bool_))
    lengths = np.bincount(numbers, minlength=count + 1)
    return [bool(number and lengths[number] >= min(_LASTING, len(flagged))) for number in numbers]


def _grown(nodes: Flags, levels: Levels) -> Flags:
    """Add what lies near and departs a little, and close gaps: hands and microphones are solid."""
    near = binary_dilation(nodes, iterations=_GROWN, mask=levels > 0) | nodes
    closed = binary_closing(np.pad(near, _CLOSED), iterations=_CLOSED)[_CLOSED:-_CLOSED, _CLOSED:-_CLOSED]
    solid: Flags = binary_fill_holes(closed)
    return solid


def mask_in_frame(reposer: Reposer, nodes: Flags, head: HeadTrack, size: tuple[int, int]) -> Floats:
    """Carry covered nodes into a frame of size (H, W); [H, W] in [0, 1], soft at its edge."""
    if not nodes.any():
        return np.zeros(size, np.float32)
    where, _ = splat(reposer.mesh.project(head), size)
    soft = gaussian_filter(binary_dilation(nodes).astype(np.float32), 0.6)
    return np.clip(2 * read_nodes(soft[..., None], where)[..., 0] - 0.5, 0, 1)


class Foreground:
    """Knows what is in front of the mouth in each frame of a base video."""

    def __init__(self, person: Avatar, base: BaseVideo) -> None:
        """Look through the whole take; a few milliseconds a frame and its decoding."""
        self._reposer = reposer = Reposer(person.canonical)
        face = learn_usual_face(reposer, person.canonical, base.spread_frames(_SHOTS))
        levels = [
            departures(face, node_colours(reposer, frame.rgb, base.head[index]))
            for index, frame in enumerate(base.frames(0, len(base.times)))
        ]
        self.covered: dict[int, Flags] = {
            index: nodes for index, nodes in enumerate(in_front(face, levels)) if nodes.any()
        }
        """Nodes that something covers, for the frames in which there is something."""

    def keep(self, composed: Picture, shown: Picture, indices: tuple[int, ...], head: HeadTrack) -> Picture:
        """Return a composed picture with what is in front of the mouth as it was shown before.

        Args:
            composed, shown: uint8 [3 H / 2, W] (yuv420p) with and without the drawn lips.
            indices: frames of the take that are shown.
            head: where the head is in the picture.
        """
        covered = [self.covered[index] for index in indices if index in self.covered]
        if not covered:
            return composed
        size = (shown.shape[0] * 2 // 3, shown.shape[1])
        mask = mask_in_frame(self._reposer, np.logical_or.reduce(covered), head, size)
        return mixed_by(composed, shown, mask)


def mixed_by(first: Picture, second: Picture, mask: NDArray[np.float32]) -> Picture:
    """Mix two pictures uint8 [3 H / 2, W]; where the mask [H, W] is 1 the second is seen, bit for bit."""
    new = first.copy()
    height, width = mask.shape
    halved = mask.reshape(height // 2, 2, width // 2, 2).max(axis=(1, 3))
    for plane, other, part in zip(split(new), split(second), (mask, halved, halved), strict=True):
        there = part > 0
        mixed = plane[there] + (other[there].astype(np.float32) - plane[there]) * part[there]
        plane[there] = np.rint(mixed).astype(np.uint8)
    return new
