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
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file

from speech2lip.composition.paste import Place
from speech2lip.config import ModelSettings, from_plain
from speech2lip.decomposition.canonical import Canonical
from speech2lip.decomposition.footage import read_canonical
from speech2lip.decomposition.head_pose import camera_matrix, steady_head_poses
from speech2lip.errors import AvatarError, FootageError, SettingsError
from speech2lip.media.video import Frame, read_frames
from speech2lip.model import LipModel
from speech2lip.storage import FolderKind, read_json, recover_folder

FORMAT = 1
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


@dataclass(frozen=True)
class BaseTake:
    """Frames of the person that the avatar speaks over."""

    name: str
    folder: Path
    width: int
    height: int
    fps: Fraction
    focal: float
    times: NDArray[np.float64]
    camera_from_head: NDArray[np.float64]
    """[T, 4, 4]."""
    light: NDArray[np.float32]
    """[T, 3] over the usual light."""
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

    def damaged(self, why: str) -> AvatarError:
        """Return the line about a base video that is not what take.json says."""
        return AvatarError(f"{self.picture_path} is damaged: {why}. Copy the avatar again.")

    @cached_property
    def steady_from_head(self) -> NDArray[np.float64]:
        """[T, 4, 4] head poses without quick movement."""
        return steady_head_poses(self.camera_from_head, fps=float(self.fps))

    def place(self, index: int, device: torch.device) -> Place:
        """Return where and in what light the head is in a frame."""
        return Place(
            camera_from_head=torch.from_numpy(self.camera_from_head[index]).float().to(device),
            k=torch.from_numpy(camera_matrix(self.width, self.height, self.focal)).float().to(device),
            light=torch.from_numpy(self.light[index]).to(device),
            steady_from_head=torch.from_numpy(self.steady_from_head[index]).float().to(device),
        )


@dataclass(frozen=True)
class Avatar:
    """A trained person."""

    folder: Path
    about: dict[str, Any]
    """The contents of avatar.json."""
    model: LipModel
    canonical: Canonical
    bases: tuple[BaseTake, ...]
    """Longest first."""

    def base(self, name: str | None) -> BaseTake:
        """Return a base take by name; None: the longest.

        Raises:
            SettingsError: there is none of that name.
        """
        for take in self.bases:
            if name is None or take.name == name:
                return take
        raise SettingsError(
            f"{self.folder} has no base take {name!r}; it has {', '.join(t.name for t in self.bases)}"
        )


def read_avatar(folder: Path) -> Avatar:
    """Read an avatar folder; nothing in it is executed.

    Raises:
        AvatarError: it is missing, of another format, or damaged.
    """
    recover_folder(folder)
    if not folder.is_dir():
        raise AvatarError(f"no avatar at {folder}; `speech2lip train` makes one")
    about = read_json(folder / "avatar.json", error=AvatarError)
    if about.get("format") != FORMAT:
        raise AvatarError(
            f"{folder} has avatar format {about.get('format')!r}, this version reads {FORMAT}; train it again"
        )
    try:
        canonical = read_canonical(folder / "canonical.safetensors", about["canonical"])
        # Avatars that do not say what they hear were made when there was nothing but mel.
        settings = from_plain(ModelSettings, {"speech": "mel", **about["model"]})
        model = LipModel(settings, canonical.patch.size)
        model.load_state_dict(load_file(folder / "weights.safetensors"))
        bases = tuple(_read_base(folder / "base" / name, about["focal"]) for name in about["bases"])
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, SafetensorError, SettingsError) as error:
        reason = " ".join(str(error).split())[:160]
        raise AvatarError(
            f"{folder} is damaged ({type(error).__name__}: {reason}); copy it again or train it again"
        ) from error
    if not bases:
        raise AvatarError(f"{folder} has no base take to speak over; train it again")
    return Avatar(folder, about, model.eval(), canonical, bases)


def _read_base(folder: Path, focal: float) -> BaseTake:
    plain = read_json(folder / "take.json", error=AvatarError)
    if not (folder / "picture.mp4").is_file():
        raise FileNotFoundError(f"{folder / 'picture.mp4'} is missing")
    track = load_arrays(folder / "track.safetensors")
    return BaseTake(
        name=folder.name,
        folder=folder,
        width=plain["width"],
        height=plain["height"],
        fps=Fraction(plain["fps"]),
        focal=focal,
        times=track["times"],
        camera_from_head=track["camera_from_head"],
        light=track["light"],
        eyes=track.get("eyes"),
    )
