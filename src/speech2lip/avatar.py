"""The avatar folder: a trained person, self-contained, safe to load, portable without the footage.

ana.avatar/
  avatar.json              format, version, sizes of the networks, what it was trained on and what it has
  never seen
  weights.safetensors      the networks
  canonical.safetensors    canonical geometry (as in the footage)
  base/NAME/picture.mp4    frames that it speaks over (H.264, true times)
  base/NAME/take.json      size and frame rate
  base/NAME/track.safetensors   per frame: time, head pose, light over the usual one,
                               opening of the eyes
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from speech2lip.arrays import Picture
from speech2lip.atomic import FolderKind, recover_folder
from speech2lip.checks import Unfit
from speech2lip.config import ModelSettings
from speech2lip.decomposition.canonical import Canonical
from speech2lip.decomposition.footage import read_canonical
from speech2lip.errors import AvatarError, FootageError, SettingsError
from speech2lip.formats import AVATAR, AvatarInfo, BaseInfo, Kept, read_arrays, rigid, rising
from speech2lip.geometry.rigid import camera_matrix
from speech2lip.head_track import HeadTrack
from speech2lip.media.video import Frame, probe_video, read_frames
from speech2lip.model import LipModel

AVATAR_KIND = FolderKind(
    "an avatar",
    manifest="avatar.json",
    key="format",
    files=(
        "avatar.json",
        "weights.safetensors",
        "canonical.safetensors",
        "base/*/picture.mp4",
        "base/*/take.json",
        "base/*/track.safetensors",
    ),
)
"""What may be overwritten by a new avatar."""
_TRACK = {
    "times": Kept(np.float64, ("T",), -1e-3, 1e7, check=rising),
    "camera_from_head": Kept(np.float64, ("T", 4, 4), -1e6, 1e6, check=rigid),
    "light": Kept(np.float32, ("T", 3), 0, 100),
    "eyes": Kept(np.float32, ("T",), -10, 10, optional=True),
}
_LARGEST = 1e9


@dataclass(frozen=True)
class BaseVideo:
    """Frames of the person that the avatar speaks over."""

    name: str
    folder: Path
    width: int
    height: int
    fps: Fraction
    times: NDArray[np.float64]
    head: HeadTrack
    eyes: NDArray[np.float32] | None = None
    """[T] opening of the eyes in eye units; None in older avatars."""

    @property
    def picture_path(self) -> Path:
        """The picture, H.264."""
        return self.folder / "picture.mp4"

    def frames(self, start: int, stop: int) -> Iterator[Frame]:
        """Decode frames start to stop (not included) in order.

        Raises:
            AvatarError: the video is missing, cut short or damaged.
        """
        following = start
        try:
            for frame in read_frames(self.picture_path, start_frame=start, stop_frame=stop):
                if frame.rgb.shape[:2] != (self.height, self.width):
                    raise self.damaged(f"frame {following} is not {self.width} x {self.height}")
                following += 1
                yield frame
        except FootageError as error:
            raise AvatarError(f"A base video of the avatar cannot be read: {error}") from error
        if following < min(stop, len(self.times)):
            raise self.damaged(f"it ends before frame {following} of {len(self.times)}")

    def spread_frames(self, count: int) -> list[tuple[Picture, HeadTrack]]:
        """Decode at most so many frames [H, W, 3], evenly spread, each with the track of its head."""
        chosen = np.unique(np.linspace(0, len(self.times) - 1, count).astype(int)).tolist()
        return [(frame.rgb, self.head[i]) for i in chosen for frame in self.frames(i, i + 1)]

    def damaged(self, why: str) -> AvatarError:
        """Return the line about a base video that is not what take.json says."""
        return AvatarError(f"{self.picture_path} is damaged: {why}. Copy the avatar again.")

    def frame_at(self, seconds: float) -> int:
        """Return the frame at a second of the take.

        Raises:
            SettingsError: the take ends before.
        """
        index = round(seconds * float(self.fps))
        if not 0 <= index < len(self.times):
            last = (len(self.times) - 1) / float(self.fps)
            raise SettingsError(
                f"--start {seconds:g} lies beyond the base video {self.name!r}: give 0 to {last:.2f} seconds"
            )
        return index


@dataclass(frozen=True)
class Avatar:
    """A trained person."""

    folder: Path
    info: AvatarInfo
    """The contents of avatar.json."""
    model: LipModel
    canonical: Canonical
    bases: tuple[BaseVideo, ...]
    """Longest first."""

    def base(self, name: str | None) -> BaseVideo:
        """Return a base video by name; None: the longest.

        Raises:
            SettingsError: there is none of that name.
        """
        for take in self.bases:
            if name is None or take.name == name:
                return take
        raise SettingsError(
            f"{self.folder} has no base video {name!r}; it has {', '.join(t.name for t in self.bases)}"
        )


def read_avatar(folder: Path) -> Avatar:
    """Read an avatar folder; nothing in it is executed.

    Raises:
        AvatarError: it is missing, of another format, or damaged.
    """
    recover_folder(folder)
    if not folder.is_dir():
        raise AvatarError(f"no avatar at {folder}; `speech2lip train` makes one")
    info = AVATAR.read(AvatarInfo, folder, AVATAR.manifest)
    with AVATAR.file(folder, "canonical.safetensors") as path:
        canonical = read_canonical(path, info.canonical)
    with AVATAR.file(folder, "weights.safetensors") as path:
        model = _read_model(path, info.model, canonical.patch.size)
    bases = tuple(_read_base(folder, name, canonical, info.focal) for name in info.bases)
    if not bases:
        raise AvatarError(f"{folder} has no base video to speak over; train it again")
    return Avatar(folder, info, model.eval(), canonical, bases)


def _read_model(path: Path, settings: ModelSettings, patch_size: tuple[int, int]) -> LipModel:
    """Read the networks; their size is compared with the file's before room for them is made."""
    with torch.device("meta"):
        wanted = LipModel(settings, patch_size).state_dict()
    kept = {}
    for name, one in wanted.items():
        # A pretrained encoder's projection has the encoder's size, which no setting tells.
        shape = tuple(size or "F" for size in one.shape)
        kept[name] = Kept(np.dtype(str(one.dtype).removeprefix("torch.")), shape, -_LARGEST, _LARGEST)
    weights = read_arrays(path, kept, {}, others=False)
    model = LipModel(settings, patch_size)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return model


def _read_base(avatar: Path, name: str, canonical: Canonical, focal: float) -> BaseVideo:
    info = AVATAR.read(BaseInfo, avatar, f"base/{name}/take.json")
    with AVATAR.file(avatar, f"base/{name}/track.safetensors") as path:
        track = read_arrays(path, _TRACK, {})
    with AVATAR.file(avatar, f"base/{name}/picture.mp4") as path:
        _check_picture(path, (info.width, info.height), len(track["times"]))
    folder = path.parent
    return BaseVideo(
        name=folder.name,
        folder=folder,
        width=info.width,
        height=info.height,
        fps=info.fps,
        times=track["times"],
        head=HeadTrack.of(
            track["camera_from_head"],
            canonical=canonical,
            k=camera_matrix(info.width, info.height, focal),
            light_gain=track["light"],
            fps=float(info.fps),
        ),
        eyes=track.get("eyes"),
    )


def _check_picture(path: Path, size: tuple[int, int], frames: int) -> None:
    try:
        video = probe_video(path)
    except FootageError as error:
        raise Unfit(str(error)) from error
    if (video.width, video.height) != size:
        raise Unfit(
            f"it is {video.width} x {video.height} pixels, where take.json says {size[0]} x {size[1]}"
        )
    if video.frame_count is not None and video.frame_count < frames:
        raise Unfit(f"it holds {video.frame_count} frames, where track.safetensors has {frames}")
