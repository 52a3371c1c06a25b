"""`speech2lip live`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from speech2lip.config import LiveSettings


@dataclass(frozen=True)
class Arguments:
    """Let an avatar speak live, on a local page, from the microphone, a pipe or a file."""

    avatar: Path
    """The avatar."""
    sound: str = "mic"
    """`mic`, a sound file, a named pipe of raw 16-bit samples, or `-` for such from standard input."""
    settings: Annotated[LiveSettings, tyro.conf.arg(name="")] = field(default_factory=LiveSettings)
    """How."""


def run(arguments: Arguments) -> None:
    """Serve the page until the sound ends."""
    from speech2lip import live

    live(arguments.avatar, sound=arguments.sound, settings=arguments.settings)
