"""An avatar loaded and ready to speak: what any number of streams share."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import torch

from speech2lip.avatar import read_avatar
from speech2lip.config import SpeakSettings
from speech2lip.conventions import AnyPath
from speech2lip.inference.base_video import BaseVideoReader
from speech2lip.inference.engine import Engine
from speech2lip.inference.motion.motion import Motion, base_of

if TYPE_CHECKING:
    from typing_extensions import Self


class Speaker:
    """Holds the engine and the base video of an avatar; close it, or use it in a `with` block.

    Raises:
        AvatarError, SettingsError: as their messages say.
    """

    def __init__(self, avatar: AnyPath, *, settings: SpeakSettings | None = None) -> None:
        """Load an avatar folder and draw one frame, so that the first one of a stream is not late."""
        self.settings = settings or SpeakSettings()
        avatar = Path(avatar)
        person = read_avatar(avatar)
        self.name = avatar.name
        self.base = base_of(person, self.settings.take)
        self.engine = Engine(person, device=self.settings.device, precision=self.settings.precision)
        self.motion = Motion(person, self.base, self.settings)
        self.pictures = BaseVideoReader(self.base)
        spoken = self.engine.encode_speech(self.engine.mel_features(torch.zeros(16_000)), [0.5])
        first = self.first
        self.engine.renderer.speak([self.pictures[first]], self.base.head[first], spoken)

    @property
    def first(self) -> int:
        """Index of the base frame that streams begin with."""
        return self.motion.first

    def close(self) -> None:
        """Let go of the base video."""
        self.pictures.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
