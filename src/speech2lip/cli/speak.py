"""`speech2lip speak`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from speech2lip.config import SpeakSettings


@dataclass(frozen=True)
class Arguments:
    """Let an avatar speak a sound file."""

    sound: Annotated[Path, tyro.conf.Positional]
    """Somebody speaking: any sound or video file of any length."""
    avatar: Path
    """The avatar."""
    output: Path
    """The video to write: .mp4, .mkv or .mov."""
    overwrite: bool = False
    """Replace a video of this name."""
    settings: Annotated[SpeakSettings, tyro.conf.arg(name="")] = field(default_factory=SpeakSettings)
    """How."""


def run(arguments: Arguments) -> None:
    """Write the video."""
    from speech2lip import speak

    speak(
        arguments.sound,
        avatar=arguments.avatar,
        output=arguments.output,
        settings=arguments.settings,
        overwrite=arguments.overwrite,
    )
