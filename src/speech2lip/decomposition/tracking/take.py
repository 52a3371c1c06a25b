"""First pass over a take: keep its picture and sound, find its landmarks, light and sharpness."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from speech2lip.arrays import Floats, Picture, Points
from speech2lip.atomic import new_folder_atomically, save_tensors, write_json
from speech2lip.checks import to_plain
from speech2lip.compute import prefetch
from speech2lip.config import PrepareSettings
from speech2lip.conventions import LANDMARK_COUNT
from speech2lip.decomposition.staging import TAKE_KIND
from speech2lip.decomposition.tracking.faces import (
    FACE_SIDE,
    appearance_distances,
    changes_abruptly,
    choose_person,
    follow_faces,
    upright_face,
)
from speech2lip.decomposition.tracking.landmarks import pack_landmarks, squeeze_landmarks
from speech2lip.decomposition.tracking.rejection import covered_scores
from speech2lip.errors import FootageError
from speech2lip.faces.landmarks import FACE_OVAL, SKIN, LandmarkDetector
from speech2lip.formats import SourceInfo, TakeInfo
from speech2lip.media.sound import read_wave, write_flac
from speech2lip.media.video import FASTEST, SLOWEST, Frame, VideoReader, probe_video
from speech2lip.media.video_writer import VideoFormat, VideoWriter

TRACKING = 3
"""Counts the ways takes were read; takes read in another way are read anew."""
LOOK_SECONDS = 0.5
"""Time between two looks for more faces than the one that is followed."""
MOST_FACES = 4
"""Faces followed at once, at most."""

THUMBNAIL = (36, 64)
"""Rows and columns of the picture that neighbouring frames are compared on."""
LEAST_CHANGE = 1.0
"""Grey levels: smaller changes are never cuts."""
LEAST_RATIO = 2.5
"""A cut changes the picture this many times as much as any of the frames around it. On 48 words of one
person, joined by jump cuts, it is 4.4 or more at cuts and 1.6 or less between; up to 2.4 in other footage.
"""
AROUND = 3
"""Frames before and after that a change is held against."""
_STILL = 0.4
"""Grey levels of change that a still picture has from coding noise."""


def check_take(path: Path) -> None:
    """Raise the one line that tells why a video cannot be a take: before any work is done."""
    info = probe_video(path)
    if not info.has_sound:
        raise FootageError(
            f"{path} has no sound; lips are learned from sound and picture together: record it with sound"
        )


def source_of(path: Path, settings: PrepareSettings) -> SourceInfo:
    """Describe a source file and the settings of its first pass, to tell whether that is up to date."""
    stat = path.stat()
    return SourceInfo(
        path=str(path.resolve()),
        bytes=stat.st_size,
        modified=stat.st_mtime_ns,
        small_face_pixels=settings.small_face_pixels,
        picture_crf=settings.picture_crf,
        face=settings.face,
        tracking=TRACKING,
    )


def track_take(
    path: Path, folder: Path, settings: PrepareSettings, *, report: Callable[[], None] = lambda: None
) -> None:
    """Read a video once and write its take folder, whole or not at all.

    Args:
        path: the video.
        folder: the take's folder, to be made or replaced.
        report: called after each frame.

    Raises:
        FootageError, SoundError: the video cannot be used.
    """
    info = probe_video(path)
    wave = read_wave(path)
    with new_folder_atomically(folder, replaces=TAKE_KIND) as partial:
        write_flac(partial / "sound.flac", wave)
        reader = VideoReader(path)
        seen = _track_frames(reader, partial / "picture.mp4", info.fps, settings, report)
        if not seen.times:
            raise FootageError(f"{path} holds no picture that can be decoded; record or export it again")
        people = 1
        if seen.several > 1 or seen.changes_face() or settings.face != "longest":
            seen, people = _follow_person(seen, partial / "picture.mp4", settings)
        track = seen.arrays()
        save_tensors(partial / "track.safetensors", track)
        fps, source = _true_rate(path, track["times"], info.fps), source_of(path, settings)
        take = TakeInfo(*seen.size, fps, broken_packets=reader.broken_packets, people=people, source=source)
        write_json(partial / "take.json", to_plain(take))


@dataclass
class _Seen:
    """What is kept of every frame while a take is read."""

    size: tuple[int, int] = (0, 0)
    """Width and height."""
    times: list[float] = field(default_factory=list)
    points: list[Points | None] = field(default_factory=list)
    light: list[Floats] = field(default_factory=list)
    sharpness: list[float] = field(default_factory=list)
    appearances: list[Picture] = field(default_factory=list)
    """Of frames with a face."""
    changes: list[float] = field(default_factory=list)
    several: int = 0
    """Looks at which more than one face was found."""

    def measure(self, rgb: Picture, points: Points | None) -> None:
        """Keep a frame's face."""
        self.points.append(points)
        self.light.append(np.full(3, np.nan, np.float32) if points is None else face_light(rgb, points))
        self.sharpness.append(0.0 if points is None else face_sharpness(rgb, points))
        if points is not None:
            self.appearances.append(upright_face(rgb, points))

    def changes_face(self) -> bool:
        """Tell whether somebody else's face takes the place of the one that is followed, without a cut."""
        frames = np.array([i for i, points in enumerate(self.points) if points is not None], np.intp)
        return changes_abruptly(self._faces(), frames, self.shots()[frames])

    def shots(self) -> NDArray[np.int32]:
        """Number the shots; [T]."""
        return shot_numbers(np.array(self.changes, np.float32))

    def _faces(self) -> Picture:
        return np.array(self.appearances, np.uint8).reshape(-1, FACE_SIDE, FACE_SIDE, 3)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as arrays, [T, ...] each."""
        none = np.full((LANDMARK_COUNT, 3), np.nan, np.float32)
        landmarks = np.array([none if p is None else p for p in self.points], np.float32)
        seen = np.array([p is not None for p in self.points], bool)
        covered = np.zeros(len(self.points), np.float32)
        covered[seen] = covered_scores(self._faces())
        shot = self.shots()
        return {
            "times": np.array(self.times, np.float64),
            **squeeze_landmarks(pack_landmarks(landmarks, max(self.size))),
            "light": np.array(self.light, np.float32),
            "sharpness": np.array(self.sharpness, np.float32),
            "covered": covered,
            "shot": shot,
            "appearance_distances": appearance_distances(self._faces(), shot[seen], int(shot.max()) + 1),
        }


def _track_frames(
    reader: VideoReader,
    picture_path: Path,
    fps: Fraction,
    settings: PrepareSettings,
    report: Callable[[], None],
) -> _Seen:
    """Keep the picture and follow one face through it; now and then look whether there are more."""
    seen, before = _Seen(), None
    look_every = max(1, round(LOOK_SECONDS * float(fps)))
    with ExitStack() as stack:
        detector = stack.enter_context(LandmarkDetector(enlarge_below=settings.small_face_pixels))
        scout = stack.enter_context(LandmarkDetector(faces=MOST_FACES, alone=True))
        kept = stack.enter_context(closing(prefetch(_kept(reader, picture_path, fps, settings))))
        for frame, now in kept:
            seen.size = (frame.rgb.shape[1], frame.rgb.shape[0])
            seen.changes.append(change_between(before, now))
            before = now
            abrupt = is_abrupt(seen.changes)
            if abrupt:
                detector.forget()
            if abrupt or frame.index % look_every == 0:
                seen.several += len(scout.detect_all(frame.rgb)) > 1
            seen.times.append(frame.time)
            seen.measure(frame.rgb, detector.detect(frame.rgb))
            report()
    return seen


def _kept(
    reader: VideoReader, path: Path, fps: Fraction, settings: PrepareSettings
) -> Generator[tuple[Frame, Floats]]:
    """Yield the frames, each kept before, and their thumbnails."""
    with ExitStack() as stack:
        writer: VideoWriter | None = None
        for frame in reader.frames():
            if writer is None:
                form = VideoFormat(width=frame.rgb.shape[1], height=frame.rgb.shape[0], fps=fps)
                writer = stack.enter_context(VideoWriter(path, form, crf=settings.picture_crf))
            writer.write(frame.rgb, time=frame.time)
            yield frame, thumbnail(frame.rgb)


def _follow_person(seen: _Seen, picture_path: Path, settings: PrepareSettings) -> tuple[_Seen, int]:
    """Follow all faces of a take that shows several, and keep the one that is picked."""
    shot = seen.shots()
    faces, appearances = [], []
    with LandmarkDetector(enlarge_below=settings.small_face_pixels, faces=MOST_FACES) as detector:
        for frame in VideoReader(picture_path).frames():
            if frame.index and frame.index < len(shot) and shot[frame.index] != shot[frame.index - 1]:
                detector.forget()
            faces.append(detector.detect_all(frame.rgb))
            appearances.append([upright_face(frame.rgb, points) for points in faces[-1]])
    if len(faces) != len(shot):
        raise FootageError(
            f"{picture_path} was not kept whole ({len(faces)} of {len(shot)} frames); try again"
        )
    chosen, people = choose_person(follow_faces(faces, shot, appearances), settings.face, len(shot))
    person = _Seen(seen.size, times=seen.times, changes=seen.changes)
    for frame, points in zip(VideoReader(picture_path).frames(), chosen, strict=True):
        person.measure(frame.rgb, points)
    return person, people


def _true_rate(path: Path, times: NDArray[np.float64], claimed: Fraction) -> Fraction:
    """Return the rate that the frame times show, or the claimed one where it agrees within 0.1 %.

    Raises:
        FootageError: no video has this rate.
    """
    if len(times) < 2:
        return claimed
    shown = (len(times) - 1) / float(times[-1] - times[0])
    if not SLOWEST <= shown <= FASTEST:
        raise FootageError(
            f"{path} shows {shown:.3g} frames a second; {SLOWEST} is the least, {FASTEST} the most. "
            "Are its times damaged? Export it again."
        )
    return claimed if abs(shown / float(claimed) - 1) < 1e-3 else Fraction(shown).limit_denominator(1001)


def face_light(rgb: Picture, points: Points) -> Floats:
    """Return the mean colour around skin points above the mouth; [3], 0 to 255, NaN where none is seen."""
    reach = max(1, round(float(np.ptp(points[:, 0])) / 60))
    places = np.round(points[list(SKIN), :2] - 0.5).astype(int)
    corners = zip(np.maximum(places - reach, 0), np.maximum(places + reach + 1, 0), strict=True)
    squares = [rgb[y0:y1, x0:x1].reshape(-1, 3) for (x0, y0), (x1, y1) in corners]
    colours = [square.mean(0) for square in squares if len(square)]
    return np.mean(colours or [np.full(3, np.nan)], axis=0).astype(np.float32)


def face_sharpness(rgb: Picture, points: Points) -> float:
    """Return the variance of the Laplacian of the face's luma; 0 where too little of it is in sight."""
    oval = points[list(FACE_OVAL), :2].clip(0, rgb.shape[1::-1])
    (x0, y0), (x1, y1) = oval.min(0).astype(int), oval.max(0).astype(int)
    luma = rgb[y0:y1, x0:x1].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return float(cv2.Laplacian(luma, cv2.CV_32F)[1:-1, 1:-1].var()) if min(luma.shape) >= 3 else 0.0


def thumbnail(rgb: NDArray[np.uint8]) -> Floats:
    """Shrink a frame [H, W, 3] to what cuts are looked for on; [36, 64, 3], 0 to 255."""
    small = cv2.resize(rgb, THUMBNAIL[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def change_between(before: Floats | None, now: Floats) -> float:
    """Return the mean absolute difference of two thumbnails in grey levels; 0 for the first frame."""
    return 0.0 if before is None else float(np.abs(now - before).mean())


def is_abrupt(changes: list[float]) -> bool:
    """Tell from the past alone whether the newest change may be a cut: a tracker should look anew."""
    newest, past = changes[-1], changes[-1 - AROUND : -1]
    return newest > 4 * LEAST_CHANGE and newest > LEAST_RATIO * max([_STILL, *past])


def shot_numbers(changes: Floats) -> NDArray[np.int32]:
    """Number the shots of a take from 0; [T].

    A cut is one change that stands out from those around it. A flash is two of them, a fast nod many.

    Args:
        changes: [T] change of each frame against the one before, in grey levels; see `change_between`.
    """
    others = np.ones(2 * AROUND + 1, bool)
    others[AROUND] = False
    around = np.maximum(maximum_filter(changes, footprint=others, mode="constant"), _STILL)
    cut = (changes > LEAST_CHANGE) & (changes > LEAST_RATIO * around)
    cut[:1] = False
    return np.cumsum(cut, dtype=np.int32)
