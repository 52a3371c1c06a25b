"""What crosses the mouth in a base video is found before speaking, and stays in front of the lips."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from speech2lip.composition.occlusion import (
    Flags,
    departures,
    in_front,
    learn_usual_face,
    mask_in_frame,
    node_colours,
)
from speech2lip.composition.reposing.reposer import Reposer
from speech2lip.conventions import Picture
from speech2lip.head_track import HeadTrack
from speech2lip.media.yuv import split

if TYPE_CHECKING:
    from speech2lip.avatar import Avatar, BaseVideo

_SHOTS = 32
"""Frames of the take that the usual face is learned from."""


class Front:
    """Knows what is in front of the mouth in each frame of a base video."""

    def __init__(self, person: Avatar, base: BaseVideo) -> None:
        """Look through the whole take; a few milliseconds a frame and its decoding."""
        self._turner = turner = Reposer(person.canonical)
        count = len(base.times)
        chosen = np.unique(np.linspace(0, count - 1, _SHOTS).astype(int)).tolist()
        shots = [(frame.rgb, base.head[index]) for index in chosen for frame in base.frames(index, index + 1)]
        face = learn_usual_face(turner, person.canonical, shots)
        frames = base.frames(0, count)
        levels = [
            departures(face, node_colours(turner, frame.rgb, base.head[index]))
            for index, frame in enumerate(frames)
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
        mask = mask_in_frame(self._turner, np.logical_or.reduce(covered), head, size)
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
