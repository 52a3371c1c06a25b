"""`speech2lip present`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from speech2lip.config import PresentSettings


@dataclass(frozen=True)
class Arguments:
    """Write videos of the made presenter, nobody's face, each with the truth about it beside it."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder to write to."""
    overwrite: bool = False
    """Replace videos that are there."""
    workers: int = 1
    """Videos made at the same time."""
    settings: Annotated[PresentSettings, tyro.conf.arg(name="")] = field(default_factory=PresentSettings)
    """What and how."""


def run(arguments: Arguments) -> None:
    """Write the takes and name them."""
    from speech2lip import present
    from speech2lip.progress import Progress

    with Progress("Filming the presenter", total=1, unit="frames") as bar:
        paths = present(
            arguments.folder,
            settings=arguments.settings,
            overwrite=arguments.overwrite,
            workers=arguments.workers,
            progress=bar.show,
        )
    for path in paths:
        print(path)
