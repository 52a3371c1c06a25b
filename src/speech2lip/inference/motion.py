"""How the head moves while an avatar speaks: as in the footage, still, as in another video, and turned."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from speech2lip.arrays import Array, Picture
from speech2lip.avatar import Avatar, BaseVideo
from speech2lip.composition.coverage import best_stretch, longest_run, region_surface, with_shares
from speech2lip.composition.occlusion import Foreground
from speech2lip.composition.reposing.background import learn_background
from speech2lip.composition.reposing.reposer import NECK, Reposer, offset_to, rotation_of
from speech2lip.config import SpeakSettings
from speech2lip.geometry.rigid import head_angles, transformed
from speech2lip.head_track import HeadTrack
from speech2lip.inference.order import calm_span, ping_pong_order, reversal_frames
from speech2lip.inference.pose_track import PoseTrack, read_driver, read_pose_track
from speech2lip.inference.torch_renderer import TorchRenderer
from speech2lip.media.picture import coded_from_rgb, rgb_from_coded
from speech2lip.model import SpeechFeatures

_LOG = logging.getLogger(__name__)

_KEPT = 0.35
"""Share of its own movement that a still head keeps."""
_SHOTS = 16
"""Frames of the base video that its background is learned from."""
_WARN_DEGREES = 15.0
"""How far beyond what the footage shows a head is turned before the user is told."""
_TRIED_SECONDS = (10.0, 60.0)
"""A turned head's movement is tried for so long, at least and at most, to tell how far it turns away."""
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
    drawn: float = 1.0
    """How much of the drawn lips is shown, from 0 (the head has turned away: the filmed ones) to 1."""

    @property
    def indices(self) -> tuple[int, ...]:
        """The frames that are needed."""
        return (self.index, self.index + 1) if self.part else (self.index,)


class Motion:
    """Plans which frames are shown and how their heads are turned, and turns them; streams may share it."""

    def __init__(self, person: Avatar, base: BaseVideo, settings: SpeakSettings) -> None:
        """Read what the settings name and learn the background, where heads are to be turned.

        Raises:
            SettingsError, FootageError, AvatarError: as their messages say.
        """
        self.base, self.settings = base, settings
        self._fps = float(base.fps)
        self._poses = base.head.camera_from_head
        track = PoseTrack(np.zeros(1), np.zeros((1, 3)))
        if settings.poses is not None:
            track = read_pose_track(settings.poses)
        fixed = (settings.yaw_degrees, settings.pitch_degrees, settings.roll_degrees)
        self._track = PoseTrack(track.times, track.degrees + fixed)
        self._driver: Array | None = None
        if settings.motion not in ("base", "still"):
            self._driver = read_driver(Path(settings.motion), fps=self._fps)
        self.reposes = bool(settings.motion != "base" or self._track.degrees.any())
        """Whether heads are turned at all."""
        self._surface = region_surface(person.canonical)
        self._can_be_spoken_over = self._surface.bears_frames(self._poses, fps=self._fps)
        begin = base.frame_at(settings.start) if settings.motion == "base" else 0
        start, stop = best_stretch(self._can_be_spoken_over, fps=self._fps, start=begin)
        self.stretch = (start, stop)
        """Frames of the base video, first and stop, that are shown."""
        if settings.motion != "base":
            begin, stop = (start + edge for edge in calm_span(self._poses[start:stop], fps=self._fps))
            start = begin
        eyes = None if base.eyes is None else base.eyes[start:stop]
        first, last = reversal_frames(self._poses[start:stop], fps=self._fps, eyes=eyes)
        self._reversals = (start + first, start + last)
        self.first = min(max(begin, start), stop - 1)
        """Index of the base frame that speech begins with."""
        self._hold = Rotation.from_matrix(self._poses[start:stop, :3, :3]).mean()
        self._neck = _necks(self._poses[start:stop]).mean(0)
        self._reposer: Reposer | None = None
        if self.reposes:
            self._reposer = Reposer(person.canonical)
            self._reposer.background = learn_background(self._reposer.mesh, base.spread_frames(_SHOTS))
        self._foreground = Foreground(person, base) if settings.keep_in_front else None

    def shown(self) -> Iterator[Shown]:
        """Yield without end what is shown, frame by frame."""
        if not self.reposes and self._can_be_spoken_over[slice(*self.stretch)].all():
            yield from self._planned()
            return
        for one, share in with_shares(self._planned(), self._bears, fps=self._fps):
            yield replace(one, drawn=share)

    def _bears(self, shown: Shown) -> bool:
        """Tell whether what is shown can be spoken over, as the head is turned in it."""
        if shown.offset is None:
            return bool(self._can_be_spoken_over[list(shown.indices)].all())
        return bool(self._surface.bears(self.heads([shown]).camera_from_head)[0])

    def _planned(self) -> Iterator[Shown]:
        """Yield without end which frames are shown and how their heads are turned."""
        driver = self._driven()
        for number, at in enumerate(ping_pong_order(self.first, *self._reversals)):
            one = Shown(int(at), at % 1)
            if self.reposes:
                pose = self.base.head.at([at]).camera_from_head[0]
                one = replace(one, offset=self._offset(pose, number / self._fps, next(driver)))
            yield one

    def heads(self, shown: Sequence[Shown]) -> HeadTrack:
        """Return where the heads are in the pictures that are shown."""
        filmed = self.base.head.at([one.index + one.part for one in shown])
        return filmed.moved(np.stack([np.eye(4) if one.offset is None else one.offset for one in shown]))

    def picture(self, filmed: Sequence[Picture], shown: Shown) -> Picture:
        """Return the picture that is shown, uint8 [3 H / 2, W].

        Args:
            filmed: the frames `shown.indices`.
        """
        coded = mixed(filmed[0], filmed[1], shown.part) if shown.part else filmed[0]
        if shown.offset is None or self._reposer is None:
            return coded
        head = self.base.head.at([shown.index + shown.part])
        return coded_from_rgb(self._reposer.repose(rgb_from_coded(coded), head, shown.offset))

    def finish(self, composed: Picture, picture: Picture, shown: Shown, head: HeadTrack) -> Picture:
        """Return a composed picture as it is shown.

        With what was in front of the mouth in front again, where that is wanted, and faded where the head
        turns away.

        Args:
            composed: with lips; picture: without; head: where the head is in it.
        """
        if self._foreground is not None:
            composed = self._foreground.keep(composed, picture, shown.indices, head)
        return composed if shown.drawn == 1 else mixed(picture, composed, shown.drawn)

    def speak(
        self,
        renderer: TorchRenderer,
        filmed: Sequence[Sequence[Picture]],
        shown: Sequence[Shown],
        spoken: SpeechFeatures,
    ) -> list[Picture]:
        """Return the pictures that are shown, uint8 [3 H / 2, W], speaking where they can be spoken over.

        Args:
            filmed: for each the frames `shown.indices`.
            spoken: what speech says about their moments.
        """
        pictures = [self.picture(*one) for one in zip(filmed, shown, strict=True)]
        heads = self.heads(shown)
        drawn = [index for index, one in enumerate(shown) if one.drawn > 0]
        for index, one in enumerate(shown):
            if not one.drawn:
                pictures[index] = pictures[index].copy()  # what was decoded is kept for other streams
        if drawn:
            composed = renderer.speak([pictures[index] for index in drawn], heads[drawn], spoken.of(drawn))
            for index, picture in zip(drawn, composed, strict=True):
                pictures[index] = self.finish(picture, pictures[index], shown[index], heads[index])
        return pictures

    def log_messages(self) -> None:
        """Tell the user what is beyond the footage and what stays in front."""
        for message in self.messages():
            _LOG.info(message)

    def messages(self) -> list[str]:
        """Say what the user should know: what cannot be spoken over, what stays in front, and warnings."""
        messages = self._not_spoken_over()
        if self._foreground is not None:
            found, count = len(self._foreground.covered), len(self.base.times)
            messages.append(
                f"something is in front of the mouth in {found} of {count} frames and stays there"
                if found
                else f"nothing was found in front of the mouth in {count} frames"
            )
        return messages + self.warnings()

    def _not_spoken_over(self) -> list[str]:
        """Say how much of the base video, or of a turned head's movement, cannot be spoken over."""
        if self.reposes:
            seconds = 2 * (self._reversals[1] - self._reversals[0] + 1) / self._fps
            count = round(min(max(seconds, _TRIED_SECONDS[0]), _TRIED_SECONDS[1]) * self._fps)
            away = sum(one.drawn < 1 for one in itertools.islice(self.shown(), count))
            what = f"of the first {count} frames"
        else:
            away, count = int((~self._can_be_spoken_over).sum()), len(self.base.times)
            what = f"of {count} frames of the base video"
        if not away:
            return []
        skipped = not self.reposes and self.stretch != (0, count)
        how = "they are skipped" if skipped else "their own lips are shown there"
        return [f"{away} {what} cannot be spoken over (head turned away): {how}"]

    def warnings(self) -> list[str]:
        """Say how far beyond what the footage shows the head is turned, where that is much."""
        low, high = filmed = np.percentile(head_angles(self._poses), [1, 99], axis=0)
        own = filmed
        if self.settings.motion != "base":
            turned = np.eye(3)[None] if self._driver is None else _deviations(self._driver)
            held = head_angles(turned @ self._hold.as_matrix())
            own = np.stack([held.min(0), held.max(0)])
        least, most = own + np.stack([self._track.degrees.min(0), self._track.degrees.max(0)])
        beyond = np.maximum(low - least, most - high)
        return [
            f"{name} is turned {beyond[axis]:.0f} degrees beyond what the footage shows "
            f"({low[axis]:.0f} to {high[axis]:.0f}): more than {_WARN_DEGREES:.0f} looks wrong"
            for axis, name in enumerate(("yaw", "pitch", "roll"))
            if beyond[axis] > _WARN_DEGREES
        ]

    def _driven(self) -> Iterator[tuple[Array, Array]]:
        """Yield rotation [3, 3] and shift of the neck [3] that another video's head brings."""
        if self._driver is None:
            yield from itertools.repeat((np.eye(3), np.zeros(3)))
            return
        necks = _necks(self._driver)
        turned = _deviations(self._driver).reshape(-1, 9)
        both = np.concatenate([turned, _SWAY * np.tanh((necks - np.median(necks, axis=0)) / _SWAY)], axis=1)
        for at in ping_pong_order(0, *reversal_frames(self._driver, fps=self._fps)):
            index, part = int(at), at % 1
            # Neighbouring poses differ so little that a mean is one.
            one = both[index] * (1 - part) + both[index + 1] * part if part else both[index]
            yield one[:9].reshape(3, 3), one[9:]

    def _offset(self, pose: Array, seconds: float, driven: tuple[Array, Array]) -> Array:
        rotation, shift = pose[:3, :3], np.zeros(3)
        if self.settings.motion != "base":
            kept = _KEPT if self._driver is None else 0.0
            own = (Rotation.from_matrix(rotation) * self._hold.inv()).as_rotvec()
            rotation = driven[0] @ (Rotation.from_rotvec(kept * own) * self._hold).as_matrix()
            shift = (1 - kept) * (self._neck - _necks(pose[None])[0]) + driven[1]
        angles = head_angles(rotation[None])[0] + self._track.at(seconds)
        return offset_to(pose, rotation_of(*angles), shift)


def mixed(first: Picture, second: Picture, part: float) -> Picture:
    """Mix two pictures, `part` of the second."""
    weight = round(256 * part)
    total = first.astype(np.uint16) * (256 - weight) + second.astype(np.uint16) * weight
    return ((total + 128) >> 8).astype(np.uint8)


def _necks(poses: Array) -> Array:
    """Return where the neck is in camera space; [T, 3]."""
    return transformed(poses, NECK[None])[:, 0]


def _deviations(poses: Array) -> Array:
    """Return the rotations [T, 3, 3] by which heads are turned from their mean pose, in camera space."""
    turned = Rotation.from_matrix(poses[:, :3, :3])
    return np.asarray((turned * turned.mean().inv()).as_matrix())


def base_of(person: Avatar, take: str | None) -> BaseVideo:
    """Return the base video of a name; None: the one with the longest stretch that can be spoken over.

    Raises:
        SettingsError: there is none of that name.
    """
    if take is not None:
        return person.base(take)
    surface = region_surface(person.canonical)

    def seconds(base: BaseVideo) -> float:
        fps = float(base.fps)
        start, stop = longest_run(surface.bears_frames(base.head.camera_from_head, fps=fps))
        return (stop - start) / fps

    return max(person.bases, key=seconds)
