"""How the head moves while an avatar speaks: as in the footage, still, as in another video, and turned."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from speech2lip.avatar import Avatar, BaseTake
from speech2lip.composition.backdrop import learn_backdrop
from speech2lip.composition.new_pose import NECK, Turner, offset_to, rotation_of
from speech2lip.composition.paste import Place
from speech2lip.config import SpeakSettings
from speech2lip.decomposition.head_pose import head_angles
from speech2lip.inference.base_motion import calm_span, smooth_order, turning_points
from speech2lip.inference.motion_files import PoseTrack, read_driver, read_pose_track
from speech2lip.inference.motion_front import Front
from speech2lip.inference.planes import Picture
from speech2lip.media.coded import coded_from_rgb, rgb_from_coded

Array = NDArray[np.float64]

_KEPT = 0.35
"""Share of its own movement that a still head keeps."""
_SHOTS = 16
"""Frames of the base take that its background is learned from."""
_WARN_DEGREES = 15.0
"""How far beyond what the footage shows a head is turned before the user is told."""
_SWAY = 0.12
"""Shift of the neck, in eye units, that another video's head may bring along, softly limited."""


@dataclass(frozen=True)
class Shown:
    """Which base frame is shown, and how its head is moved."""

    index: int
    part: float = 0.0
    """How far on the way to the next frame, from 0 to 1: the mixture of both is shown."""
    offset: Array | None = None
    """[4, 4] rigid movement of the head in camera space; None leaves the frame as it was filmed."""

    @property
    def indices(self) -> tuple[int, ...]:
        """The frames that are needed."""
        return (self.index, self.index + 1) if self.part else (self.index,)


class Motion:
    """Plans which frames are shown and how their heads are turned, and turns them; streams may share it."""

    def __init__(self, person: Avatar, base: BaseTake, settings: SpeakSettings) -> None:
        """Read what the settings name and learn the background, where heads are to be turned.

        Raises:
            SettingsError, FootageError, AvatarError: as their messages say.
        """
        self.base, self.settings = base, settings
        self._fps = float(base.fps)
        self._poses = base.camera_from_head
        fixed = (settings.yaw_degrees, settings.pitch_degrees, settings.roll_degrees)
        self._fixed = np.array(fixed, np.float64)
        self._track = PoseTrack(np.zeros(1), np.zeros((1, 3)))
        if settings.poses is not None:
            self._track = read_pose_track(settings.poses)
        self._driver: Array | None = None
        if settings.motion not in ("base", "still"):
            self._driver = read_driver(Path(settings.motion), fps=self._fps)
        start, stop = (
            (0, len(base.times)) if settings.motion == "base" else calm_span(self._poses, fps=self._fps)
        )
        eyes = None if base.eyes is None else base.eyes[start:stop]
        first, last = turning_points(self._poses[start:stop], fps=self._fps, eyes=eyes)
        self._turns = (start + first, start + last)
        begin = base.frame_at(settings.start) if settings.motion == "base" else start
        self.first = begin
        """Index of the base frame that speech begins with."""
        self._hold = Rotation.from_matrix(self._poses[start:stop, :3, :3]).mean()
        self._neck = _necks(self._poses[start:stop]).mean(0)
        self._turner = self._make_turner(person) if self.turns else None
        self._front = Front(person, base) if settings.keep_in_front else None

    @property
    def turns(self) -> bool:
        """Whether heads are turned at all."""
        return bool(self.settings.motion != "base" or self._fixed.any() or self._track.degrees.any())

    def shown(self) -> Iterator[Shown]:
        """Yield without end what is shown, frame by frame."""
        driver = self._driven()
        for number, at in enumerate(smooth_order(self.first, *self._turns)):
            index, part = int(at), at % 1
            if not self.turns:
                yield Shown(index, part)
                continue
            pose = _between(self._poses, index, part)
            yield Shown(index, part, self._offset(pose, number / self._fps, next(driver)))

    def picture(self, filmed: Sequence[Picture], shown: Shown, device: torch.device) -> tuple[Picture, Place]:
        """Return the picture that is shown, uint8 [3 H / 2, W], and where the head is in it.

        Args:
            filmed: the frames `shown.indices`.
        """
        coded, place = filmed[0], self.base.place(shown.index, device)
        if shown.part:
            coded = mixed(coded, filmed[1], shown.part)
            place = mixed_place(place, self.base.place(shown.index + 1, device), shown.part)
        if shown.offset is None or self._turner is None:
            return coded, place
        rgb, moved = self._turner.turn(rgb_from_coded(coded), place, shown.offset)
        return coded_from_rgb(rgb), moved

    def finish(self, composed: Picture, picture: Picture, shown: Shown, place: Place) -> Picture:
        """Return a composed picture with what was in front of the mouth in front again, where that is wanted.

        Args:
            composed: with lips; picture, place: as `picture` returned them.
        """
        return composed if self._front is None else self._front.keep(composed, picture, shown.indices, place)

    def remarks(self) -> list[str]:
        """Say what the user should know before the head moves: what stays in front, and warnings."""
        if self._front is None:
            return self.warnings()
        found, count = len(self._front.covered), len(self.base.times)
        told = f"nothing was found in front of the mouth in {count} frames"
        if found:
            told = f"something is in front of the mouth in {found} of {count} frames and stays there"
        return [told, *self.warnings()]

    def warnings(self) -> list[str]:
        """Say how far beyond what the footage shows the head is turned, where that is much."""
        angles = head_angles(self._poses)
        low, high = np.percentile(angles, [1, 99], axis=0)
        wanted = self._extremes(angles)
        told = []
        for axis, name in enumerate(("yaw", "pitch", "roll")):
            beyond = max(low[axis] - wanted[0][axis], wanted[1][axis] - high[axis])
            if beyond > _WARN_DEGREES:
                told.append(
                    f"{name} is turned {beyond:.0f} degrees beyond what the footage shows "
                    f"({low[axis]:.0f} to {high[axis]:.0f}): more than {_WARN_DEGREES:.0f} looks wrong"
                )
        return told

    def _extremes(self, angles: Array) -> tuple[Array, Array]:
        """Return the least and greatest yaw, pitch and roll that will be shown."""
        if self.settings.motion == "base":
            own = np.percentile(angles, [1, 99], axis=0)
        else:
            held = self._hold.as_matrix()
            turned = np.eye(3)[None] if self._driver is None else _deviations(self._driver)
            own = head_angles(_as_poses(turned @ held))
            own = np.stack([own.min(0), own.max(0)])
        extra = self._track.degrees + self._fixed
        return own[0] + extra.min(0), own[1] + extra.max(0)

    def _make_turner(self, person: Avatar) -> Turner:
        turner = Turner(person.canonical)
        device = torch.device("cpu")
        chosen = np.unique(np.linspace(0, len(self.base.times) - 1, _SHOTS).astype(int)).tolist()
        shots = [
            (frame.rgb, self.base.place(index, device))
            for index in chosen
            for frame in self.base.frames(index, index + 1)
        ]
        turner.backdrop = learn_backdrop(turner, shots)
        return turner

    def _driven(self) -> Iterator[tuple[Array, Array]]:
        """Yield rotation [3, 3] and shift of the neck [3] that another video's head brings."""
        if self._driver is None:
            yield from itertools.repeat((np.eye(3), np.zeros(3)))
        else:
            turned = _deviations(self._driver)
            necks = _necks(self._driver)
            shifts = _SWAY * np.tanh((necks - np.median(necks, axis=0)) / _SWAY)
            for at in smooth_order(0, *turning_points(self._driver, fps=self._fps)):
                index, part = int(at), at % 1
                yield _between(turned, index, part), _between(shifts, index, part)

    def _offset(self, pose: Array, seconds: float, driven: tuple[Array, Array]) -> Array:
        rotation, shift = pose[:3, :3], np.zeros(3)
        if self.settings.motion != "base":
            kept = _KEPT if self._driver is None else 0.0
            own = (Rotation.from_matrix(rotation) * self._hold.inv()).as_rotvec()
            rotation = driven[0] @ (Rotation.from_rotvec(kept * own) * self._hold).as_matrix()
            shift = (1 - kept) * (self._neck - _necks(pose[None])[0]) + driven[1]
        angles = head_angles(_as_poses(rotation[None]))[0] + self._fixed + self._track.at(seconds)
        return offset_to(pose, rotation_of(*angles), shift)


def _between(values: Array, index: int, part: float) -> Array:
    """Return a value [T, ...] between two frames; neighbouring poses differ so little that a mean is one."""
    if not part:
        one: Array = values[index]
        return one
    mean: Array = values[index] * (1 - part) + values[index + 1] * part
    return mean


def mixed(first: Picture, second: Picture, part: float) -> Picture:
    """Mix two pictures, `part` of the second."""
    weight = round(256 * part)
    total = first.astype(np.uint16) * (256 - weight) + second.astype(np.uint16) * weight
    return ((total + 128) >> 8).astype(np.uint8)


def mixed_place(first: Place, second: Place, part: float) -> Place:
    """Mix the places of neighbouring frames."""
    pairs = [(getattr(first, f.name), getattr(second, f.name)) for f in fields(Place)]
    return Place(*(torch.lerp(a, b, part) for a, b in pairs))


def _necks(poses: Array) -> Array:
    """Return where the neck is in camera space; [T, 3]."""
    necks: Array = poses[:, :3, :3] @ NECK + poses[:, :3, 3]
    return necks


def _deviations(poses: Array) -> Array:
    """Return the rotations [T, 3, 3] by which heads are turned from their mean pose, in camera space."""
    turned = Rotation.from_matrix(poses[:, :3, :3])
    deviations: Array = (turned * turned.mean().inv()).as_matrix()
    return deviations


def _as_poses(rotations: Array) -> Array:
    poses = np.tile(np.eye(4), (len(rotations), 1, 1))
    poses[:, :3, :3] = rotations
    return poses


def turned_pictures(
    motion: Motion, filmed: Sequence[Sequence[Picture]], shown: Sequence[Shown], device: torch.device
) -> tuple[list[Picture], list[Place]]:
    """Return the pictures that are shown and where the head is in each."""
    both = [motion.picture(frames, one, device) for frames, one in zip(filmed, shown, strict=True)]
    return [picture for picture, _ in both], [place for _, place in both]


Say = Callable[[str], None]


def tell(motion: Motion, say: Say) -> None:
    """Tell the user what is beyond the footage and what stays in front."""
    for line in motion.remarks():
        say(line)
