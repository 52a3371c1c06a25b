"""Where and in what light the head is in each frame of a video: one table, computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from speech2lip.arrays import Array, Floats
from speech2lip.decomposition.canonical import Canonical
from speech2lip.geometry.rigid import steady_head_poses

if TYPE_CHECKING:
    from speech2lip.decomposition.footage import Take

_POSE_RADIANS = 0.2
"""Rotation that is described to the lip field by 1."""


@dataclass(frozen=True)
class HeadTrack:
    """The head in T frames of one video; `track[frames]` is the track of some of them."""

    camera_from_head: Array
    """[T, 4, 4] head poses."""
    k: Array
    """[3, 3] camera of the video."""
    light_gain: Floats
    """[T, 3] skin colour of the frames over that of the person's canonical light."""
    pose: Floats
    """[T, 6] the lip field's input: `pose_numbers` of head poses without quick movement."""

    @staticmethod
    def of(
        camera_from_head: Array,
        *,
        canonical: Canonical,
        k: Array,
        light_gain: Floats,
        fps: float,
        cuts: Sequence[int] | NDArray[np.intp] = (),
    ) -> HeadTrack:
        """Describe the head of a video.

        Args:
            camera_from_head: [T, 4, 4]; canonical: of the person.
            k: [3, 3]; light_gain: [T, 3]; fps: of the T frames.
            cuts: first frames after cuts, across which nothing is smoothed.
        """
        shots = np.split(camera_from_head, cuts)
        steady = np.concatenate([steady_head_poses(shot, fps=fps) for shot in shots])
        pose = pose_numbers(steady @ np.linalg.inv(canonical.camera_from_head))
        return HeadTrack(camera_from_head, k, light_gain, pose)

    @staticmethod
    def of_take(take: Take, canonical: Canonical, skin_colour: Floats) -> HeadTrack:
        """Describe the head of a take, its light over a skin colour [3] from 0 to 255."""
        return HeadTrack.of(
            take.camera_from_head,
            canonical=canonical,
            k=take.k,
            light_gain=light_gain(take.light, skin_colour),
            fps=float(take.fps),
            cuts=take.cuts,
        )

    def __len__(self) -> int:
        return len(self.camera_from_head)

    def __getitem__(self, frames: int | slice | Sequence[int] | NDArray[np.intp]) -> HeadTrack:
        """Return the track of some frames, or of one, in their order."""
        some = frames if isinstance(frames, slice) else np.atleast_1d(frames)
        return HeadTrack(self.camera_from_head[some], self.k, self.light_gain[some], self.pose[some])

    def at(self, frames: Sequence[float]) -> HeadTrack:
        """Return the track at frames and between them, where it is mixed of both as pictures are."""
        place = np.asarray(frames, np.float64)
        before = self[place.astype(np.intp)]
        after = self[np.minimum(place.astype(np.intp) + 1, len(self) - 1)]
        part = place % 1
        return replace(
            before,
            camera_from_head=_mixed(before.camera_from_head, after.camera_from_head, part[:, None, None]),
            light_gain=_mixed(before.light_gain, after.light_gain, part[:, None]).astype(np.float32),
            pose=_mixed(before.pose, after.pose, part[:, None]).astype(np.float32),
        )

    def moved(self, offsets: Array) -> HeadTrack:
        """Return the track of heads that were carried by rigid movements [4, 4] or [T, 4, 4] of camera space.

        What the lips are told of the head stays: it is within what they were trained on.
        """
        return replace(self, camera_from_head=offsets @ self.camera_from_head)


def _mixed(before: Array | Floats, after: Array | Floats, part: Array) -> Array:
    """Mix neighbouring frames; their poses differ so little that the mean of two is one."""
    mean: Array = before * (1 - part) + after * part
    return mean


def pose_numbers(observed_from_canonical: Array) -> Floats:
    """Describe head poses to the lip field: rotation vector and shift from the canonical one.

    The numbers are about 1 where the pose differs much.

    Args:
        observed_from_canonical: [T, 4, 4].

    Returns:
        [T, 6].
    """
    turn = Rotation.from_matrix(observed_from_canonical[:, :3, :3]).as_rotvec() / _POSE_RADIANS
    shift = np.tanh(observed_from_canonical[:, :3, 3])
    return np.concatenate([turn, shift], axis=1).astype(np.float32)


def median_skin_colour(takes: Sequence[Take]) -> Floats:
    """Return the median skin colour of the frames that are not left out; [3]."""
    colour: Floats = np.median(np.concatenate([t.light[t.kept] for t in takes]), axis=0)
    return colour


def light_gain(light: Floats, skin_colour: Floats) -> Floats:
    """Return the light of frames [..., 3] over a skin colour [3], kept within a factor of 2."""
    with np.errstate(invalid="ignore"):
        gain = np.clip(np.nan_to_num(light / np.maximum(skin_colour, 1.0), nan=1.0), 0.5, 2.0)
    return gain.astype(np.float32)
