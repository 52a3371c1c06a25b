"""`speech2lip demo`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Arguments:
    """Film a made presenter, train an avatar of it, let it speak a new sentence, and measure it.

    What is there already is kept: the same command again goes on where it stopped.
    """

    folder: Annotated[Path, tyro.conf.Positional] = Path("demo")
    """Folder for everything."""
    minutes: float = 5.5
    """Time for the training."""
    takes: int = 16
    """Videos to learn from, about 10 s each."""
    size: int = 384
    """Side of the square picture, in pixels."""


def run(arguments: Arguments) -> None:
    """Run the journey."""
    from speech2lip import demo

    demo(arguments.folder, minutes=arguments.minutes, takes=arguments.takes, size=arguments.size)
