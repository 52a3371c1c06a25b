"""`speech2lip train`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from speech2lip.config import PrepareSettings, TrainSettings


@dataclass(frozen=True)
class Arguments:
    """Make an avatar from videos of one person (they are prepared first), or from footage that is prepared.

    Stopped or killed, the same command goes on where it was.
    """

    takes: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Videos of one person, with sound, or folders of them; none where prepared footage is given."""
    avatar: Path = tyro.MISSING
    """The folder to make."""
    footage: Path | None = None
    """Prepared footage; with videos, where to keep what is learned of them (None: beside the avatar)."""
    overwrite: bool = False
    """Replace an avatar of this name; it stays until the new one is complete."""
    settings: Annotated[TrainSettings, tyro.conf.arg(name="")] = field(default_factory=TrainSettings)
    """How to train."""
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    """How to prepare videos."""


def run(arguments: Arguments) -> None:
    """Train the avatar."""
    from speech2lip import train

    train(
        arguments.takes,
        avatar=arguments.avatar,
        footage=arguments.footage,
        settings=arguments.settings,
        prepare_settings=arguments.prepare,
        overwrite=arguments.overwrite,
    )
