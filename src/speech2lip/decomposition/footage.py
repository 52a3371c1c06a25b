"""The footage folder: what preparation learned of a person's takes, read by everything later.

ana.footage/
  footage.json             format, settings, the takes with their sources and what was left out
  canonical.safetensors    camera, head pose, face shape, depth, picture, motion and jaw mask of canonical
  space
  takes/NAME/picture.mp4   every frame with its true time, upright, square pixels (H.264)
  takes/NAME/sound.flac    16 kHz mono; sample 0 is at the first frame
  takes/NAME/take.json     size, frame rate, source
  takes/NAME/track.safetensors   per frame: time, shot, landmarks, light, sharpness, how covered the mouth is
  takes/NAME/poses.safetensors   per frame: head pose, why it is left out of training (0: it is not)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from speech2lip.arrays import Array
from speech2lip.checks import Unfit
from speech2lip.config import PrepareSettings
from speech2lip.conventions import LANDMARK_COUNT, SAMPLE_RATE
from speech2lip.decomposition.av_offset import shifted
from speech2lip.decomposition.canonical import Canonical, LipPatch
from speech2lip.decomposition.staging import finish_move_for_reading
from speech2lip.decomposition.tracking.landmarks import KeptLandmarks
from speech2lip.errors import FootageError
from speech2lip.faces.landmarks import lip_opening
from speech2lip.formats import (
    FOOTAGE,
    CanonicalInfo,
    FootageInfo,
    Kept,
    Sizes,
    TakeInfo,
    inside,
    read_arrays,
    rigid,
    rising,
)
from speech2lip.geometry.rigid import camera_matrix
from speech2lip.media.sound import read_wave
from speech2lip.media.video import Frame, read_frames

WHOLE_SECONDS = 300.0
"""Takes up to this long are heard whole, longer ones part by part."""
SOUND_MARGIN = 2.0
"""Seconds that are read at both ends of a part; no listener looks further."""
_AT_ONCE = 1024
"""Frames whose landmarks are looked at together."""


class Rejection(IntEnum):
    """Why a frame is left out of training; the name is what users are told."""

    KEPT = 0
    NO_FACE = 1
    BROKEN_COLOURS = 2
    FACE_CUT_BY_THE_BORDER = 3
    FACE_TOO_SMALL = 4
    UNSURE_HEAD_POSE = 5
    HEAVY_BLUR = 6
    MOUTH_COVERED = 7
    TURNED_AWAY = 8
    SOMEBODY_ELSE = 9

    @property
    def words(self) -> str:
        """The name in words."""
        return self.name.lower().replace("_", " ")


_POSE = Kept(np.float64, ("T", 4, 4), -1e6, 1e6, check=rigid)
_TRACK = {
    "times": Kept(np.float64, ("T",), -1e-3, 1e7, check=rising),
    "light": Kept(np.float32, ("T", 3), 0, 256, missing=True),
    "shot": Kept(np.int32, ("T",), 0, 1e9),
    "sharpness": Kept(np.float32, ("T",), 0, 1e12),
    "covered": Kept(np.float32, ("T",), -1e6, 1e6, missing=True),
    "appearance_distances": Kept(np.float32, ("S", "S"), -1e3, 1e3, missing=True, optional=True),
    "look_gaps": Kept(np.float32, ("S", "S"), -1e3, 1e3, missing=True, optional=True),
}
"""The first pass; what it calls `look_gaps` in format 1 are `appearance_distances`."""
_POSES = {"camera_from_head": _POSE, "left_out": Kept(np.uint8, ("T",), 0, max(Rejection))}
_CANONICAL = {
    "k": Kept(np.float64, (3, 3), -1e6, 1e6),
    "camera_from_head": replace(_POSE, shape=(4, 4)),
    "shape": Kept(np.float64, (LANDMARK_COUNT, 3), -1e3, 1e3),
    "depth": Kept(np.float32, ("H", "W"), 1e-3, 1e5),
    "picture": Kept(np.uint8, ("H", "W", 3)),
    "motion": Kept(np.float32, ("H", "W"), 0, 256),
    "jaw_mask": Kept(np.float32, ("h", "w"), 0, 1.001),
}


@dataclass(frozen=True)
class Track:
    """What the first pass over a take has found."""

    folder: Path
    info: TakeInfo
    times: NDArray[np.float64]
    """[T] seconds from the first frame."""
    landmarks: NDArray[np.float32] | KeptLandmarks
    """[T, 478, 3] in pixels, NaN where no face was found; read from the folder as they are asked for."""
    light: NDArray[np.float32]
    """[T, 3] mean colour of the skin above the mouth, 0 to 255."""
    shot: NDArray[np.int32]
    """[T] number of the shot, from 0; frames of two shots are never consecutive."""
    sharpness: NDArray[np.float32]
    """[T]."""
    covered: NDArray[np.float32]
    """[T] how much more the lower face differs from its usual look than the upper one."""
    appearance_distances: NDArray[np.float32]
    """[S, S] how unlike the faces of two shots look."""

    @cached_property
    def seen(self) -> NDArray[np.bool_]:
        """[T] whether a face was found."""
        return ~np.isnan(self.landmarks[:, 0, 0])

    @property
    def name(self) -> str:
        """Of the take."""
        return self.folder.name

    @property
    def width(self) -> int:
        """Columns of the picture."""
        return self.info.width

    @property
    def height(self) -> int:
        """Rows of the picture."""
        return self.info.height

    @property
    def fps(self) -> Fraction:
        """Average frame rate; `times` holds the true ones."""
        return self.info.fps

    @property
    def source_path(self) -> Path:
        """The video that the take was read from, as it was named then; the take's name where none is."""
        return Path(self.info.source.path or self.name)


@dataclass(frozen=True)
class Take(Track):
    """One source video of the person, prepared."""

    camera_from_head: NDArray[np.float64]
    """[T, 4, 4] head poses; of frames without a face, those of the nearest frame with one."""
    rejection: NDArray[np.uint8]
    """[T] of `Rejection`; 0 where the frame may be trained on."""
    focal: float
    """In units of the longer side."""
    sound_shift: float = 0.0
    """Seconds by which the sound comes after the lips; `wave` puts it right."""

    @classmethod
    def of(
        cls, track: Track, poses: Array, rejection: NDArray[np.uint8], focal: float, sound_shift: float = 0.0
    ) -> Take:
        """Return a tracked take with what fitting has found."""
        parts = {part.name: getattr(track, part.name) for part in fields(track)}
        return cls(
            **parts,
            camera_from_head=poses,
            rejection=rejection,
            focal=focal,
            sound_shift=sound_shift,
        )

    @property
    def k(self) -> NDArray[np.float64]:
        """Camera of the picture; [3, 3]."""
        return camera_matrix(self.width, self.height, self.focal)

    @property
    def kept(self) -> NDArray[np.bool_]:
        """[T] whether a frame may be trained on."""
        return self.rejection == Rejection.KEPT

    @cached_property
    def cuts(self) -> NDArray[np.intp]:
        """First frames after cuts: such a frame and the one before it are not consecutive."""
        return np.flatnonzero(np.diff(self.shot)) + 1

    @cached_property
    def lip_opening(self) -> NDArray[np.float32]:
        """Lip opening of every frame in eye units; [T], NaN without a face."""
        starts = range(0, len(self.times), _AT_ONCE)
        parts = [lip_opening(self.landmarks[start : start + _AT_ONCE]) for start in starts]
        return np.concatenate([np.zeros(0, np.float32), *parts])

    @property
    def seconds(self) -> float:
        """Length of the picture."""
        return len(self.times) / float(self.fps)

    @property
    def picture_path(self) -> Path:
        """The picture, H.264."""
        return self.folder / "picture.mp4"

    def frames(
        self, start: int = 0, stop: int | None = None, *, only: Container[int] | None = None
    ) -> Iterator[Frame]:
        """Decode frames start to stop (not included) in order, or of those `only` some."""
        return read_frames(self.picture_path, start_frame=start, stop_frame=stop, only=only)

    def wave(self) -> NDArray[np.float32]:
        """Read the sound in step with the picture; [S] at 16 kHz."""
        return shifted(read_wave(self.folder / "sound.flac"), self.sound_shift)

    def wave_around(self, start: float, stop: float) -> tuple[NDArray[np.float32], float]:
        """Read the sound of seconds start to stop, in step with the picture, with two more at both ends.

        Takes of up to five minutes are read whole. So memory does not grow with a take's length.

        Returns:
            [S] at 16 kHz, and the second of the take (a whole one) at which it begins.
        """
        if self.seconds <= WHOLE_SECONDS:
            return self.wave(), 0.0
        begins = max(0, math.floor(start - SOUND_MARGIN))
        first = begins * SAMPLE_RATE + round(self.sound_shift * SAMPLE_RATE)
        with soundfile.SoundFile(self.folder / "sound.flac") as file:
            last = min(math.ceil((stop + SOUND_MARGIN) * SAMPLE_RATE), file.frames)
            wave = np.zeros(max(0, last - begins * SAMPLE_RATE), np.float32)
            low, high = np.clip([first, first + len(wave)], 0, file.frames).tolist()
            file.seek(low)
            wave[low - first :][: high - low] = file.read(high - low, dtype="float32")
        return wave, float(begins)

    def rejection_counts(self) -> dict[str, int]:
        """Count the frames left out, by reason."""
        counts = Counter(int(reason) for reason in self.rejection if reason)
        return {Rejection(reason).words: count for reason, count in sorted(counts.items())}


@dataclass(frozen=True)
class Footage:
    """All takes of one person in one canonical space."""

    folder: Path
    settings: PrepareSettings
    takes: tuple[Take, ...]
    canonical: Canonical
    info: FootageInfo
    """The contents of footage.json."""


def read_footage(folder: Path) -> Footage:
    """Read a prepared footage folder.

    Raises:
        FootageError: there is none, it is of another format, or a file of it is missing or damaged.
    """
    finish_move_for_reading(folder)
    if not (folder / "footage.json").is_file():
        advice = (
            "run `speech2lip prepare` first"
            if not folder.exists()
            else "preparing it has not finished: run `speech2lip prepare` again"
        )
        raise FootageError(f"{folder} is not a footage folder; {advice}")
    info = FOOTAGE.read(FootageInfo, folder, FOOTAGE.manifest)
    settings = info.settings if info.focal is None else replace(info.settings, focal=info.focal)
    shifts = {name: offset.shift_seconds for name, offset in info.sound_offsets.items()}
    takes = []
    for name in info.takes:
        inside(folder, f"takes/{name}/take.json", error=FootageError)
        track = read_track(folder / "takes" / name)
        with FOOTAGE.file(folder / "takes" / name, "poses.safetensors") as path:
            fitted = read_arrays(path, _POSES, {"T": len(track.times)})
        poses, rejection = fitted["camera_from_head"], fitted["left_out"]
        takes.append(Take.of(track, poses, rejection, settings.focal, shifts.get(name, 0.0)))
    with FOOTAGE.file(folder, "canonical.safetensors") as path:
        canonical = read_canonical(path, info.canonical)
    return Footage(folder, settings, tuple(takes), canonical, info)


def read_track(folder: Path) -> Track:
    """Read what the first pass over a take has left.

    Raises:
        FootageError: a file of it is missing or damaged, or is a link.
    """
    info = FOOTAGE.read(TakeInfo, folder, "take.json")
    for name in ("picture.mp4", "sound.flac"):
        inside(folder, name, error=FootageError)
    sizes = Sizes()
    with FOOTAGE.file(folder, "track.safetensors") as path:
        arrays = read_arrays(path, _TRACK, sizes)
        if "look_gaps" in arrays:
            arrays["appearance_distances"] = arrays.pop("look_gaps")
        if arrays["shot"].max() >= sizes.get("S", 0):
            raise Unfit(f"shot must be below {sizes.get('S', 0)}, not {arrays['shot'].max()}")
        landmarks = KeptLandmarks(path, frames=len(arrays["times"]), longer_side=max(info.width, info.height))
    return Track(folder, info, landmarks=landmarks, **arrays)


def canonical_tensors(canonical: Canonical) -> dict[str, NDArray[Any]]:
    """Return the arrays of a canonical space, as they are kept in files."""
    return {name: getattr(canonical, name) for name in _CANONICAL}


def canonical_plain(canonical: Canonical) -> dict[str, Any]:
    """Return the rest of a canonical space, as JSON values."""
    return {
        "take": canonical.take,
        "frame_index": canonical.frame_index,
        "patch_box": list(canonical.patch.box),
        "patch_size": list(canonical.patch.size),
    }


def read_canonical(path: Path, info: CanonicalInfo) -> Canonical:
    """Read a canonical space from its tensors and its JSON values.

    Raises:
        Unfit: the tensors are not what they should be.
    """
    sizes = dict(zip("hw", info.patch_size, strict=True))
    tensors = read_arrays(path, _CANONICAL, sizes)
    k = tensors["k"]
    if not (k[0, 0] > 0 and k[1, 1] > 0 and (k[2] == (0, 0, 1)).all()):
        raise Unfit("k is no camera")
    return Canonical(
        take=info.take,
        frame_index=info.frame_index,
        size=(sizes["H"], sizes["W"]),
        patch=LipPatch(info.patch_box, info.patch_size),
        **tensors,
    )
