"""`speech2lip prepare`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from speech2lip.config import PrepareSettings


@dataclass(frozen=True)
class Arguments:
    """Learn the head of one person from videos: a footage folder, to train from.

    The work is kept take by take: the same command again goes on where it stopped.
    """

    takes: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Videos of one person, with sound; a folder stands for the videos in it."""
    footage: Path
    """The folder to make or to go on with."""
    report: Path | None = None
    """Write a page about the footage here (HTML): pictures, what was left out and why, advice."""
    overwrite: bool = False
    """Read every take anew, those too that could not be used last time."""
    settings: Annotated[PrepareSettings, tyro.conf.arg(name="")] = field(default_factory=PrepareSettings)
    """How."""


def run(arguments: Arguments) -> None:
    """Prepare the takes."""
    from speech2lip import prepare

    prepare(
        arguments.takes,
        footage=arguments.footage,
        settings=arguments.settings,
        report=arguments.report,
        overwrite=arguments.overwrite,
    )
