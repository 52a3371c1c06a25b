"""The rows of the table: who makes the frames that are judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speech2lip.avatar import Avatar
from speech2lip.composition.paste import Place
from speech2lip.conventions import MEL_BANDS
from speech2lip.decomposition.footage import Footage, Take
from speech2lip.errors import SettingsError
from speech2lip.evaluation.nearest import NearestLips, places_of
from speech2lip.inference.engine import Engine
from speech2lip.media.video import Frame
from speech2lip.synthesis.speech import log_mel

Picture = NDArray[np.uint8]
Moments = NDArray[np.float64]


class Maker(Protocol):
    """Makes frames of a row."""

    def make(self, take: Take, frames: Sequence[Frame], mel: Tensor, moments: Moments) -> list[Picture]:
        """Show the frames with the lips of the moments [T] (seconds in `mel`); the sound may be another's."""
        ...


class RealVideo:
    """The frames themselves: what the measuring costs."""

    def make(self, take: Take, frames: Sequence[Frame], mel: Tensor, moments: Moments) -> list[Picture]:
        """Return the frames as they are."""
        return [frame.rgb for frame in frames]


def hear(makers: Iterable[Maker], wave: NDArray[np.float32]) -> Tensor:
    """Return the spectrum of a wave [S] with all that any of the makers hears of it; [M, F].

    Raises:
        SettingsError: two of them hear with a pretrained encoder: what it hears has one place.
    """
    sound = torch.from_numpy(wave)
    hearing = [maker.engine for maker in makers if isinstance(maker, Spoken) and maker.engine.listener]
    if len(hearing) > 1:
        raise SettingsError("two avatars that hear with pretrained encoders cannot be judged at once")
    return hearing[0].hear(sound) if hearing else log_mel(sound)


@dataclass(frozen=True)
class _Pasting:
    engine: Engine
    usual: NDArray[np.float32]

    def places(self, take: Take, frames: Sequence[Frame]) -> list[Place]:
        return places_of(self.engine.paster, take, [frame.index for frame in frames], self.usual)

    def paste(self, take: Take, frames: Sequence[Frame], patches: Tensor) -> list[Picture]:
        together = zip(frames, patches, self.places(take, frames), strict=True)
        return [self.engine.compose(frame.rgb, patch, place) for frame, patch, place in together]


class StaticLips(_Pasting):
    """The mean lip patch in every frame."""

    def make(self, take: Take, frames: Sequence[Frame], mel: Tensor, moments: Moments) -> list[Picture]:
        """Paste the same lips everywhere."""
        return self.paste(take, frames, self.engine.reference.expand(len(frames), -1, -1, -1))


@dataclass(frozen=True)
class Nearest(_Pasting):
    """Lips of the training frame that sounds most alike."""

    lips: NearestLips

    def make(self, take: Take, frames: Sequence[Frame], mel: Tensor, moments: Moments) -> list[Picture]:
        """Paste what was seen when it last sounded like this."""
        return self.paste(take, frames, self.lips.patches(mel[:MEL_BANDS], moments))


class Spoken(_Pasting):
    """The avatar."""

    def make(self, take: Take, frames: Sequence[Frame], mel: Tensor, moments: Moments) -> list[Picture]:
        """Let the avatar speak."""
        spoken = self.engine.listen(mel, moments)
        return self.engine.speak_frames([f.rgb for f in frames], self.places(take, frames), spoken)


def usual_light_of(avatar: Avatar) -> NDArray[np.float32]:
    """Return the skin colour that the avatar was trained in; [3]."""
    return np.array(avatar.info.usual_light, np.float32)


def makers(avatar: Avatar, footage: Footage, engine: Engine, others: Mapping[str, Maker]) -> dict[str, Maker]:
    """Return the makers of all rows, in the table's order."""
    usual = usual_light_of(avatar)
    nearest = NearestLips(avatar, footage, engine.paster)
    rows: dict[str, Maker] = {"real_video": RealVideo(), "static_lips": StaticLips(engine, usual)}
    if len(nearest):
        rows["nearest"] = Nearest(engine, usual, nearest)
    return rows | {"ours": Spoken(engine, usual)} | dict(others)
