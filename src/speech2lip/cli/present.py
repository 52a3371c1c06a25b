"""`speech2lip present`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class Arguments:
    """Write videos of the made presenter, nobody's face, each with the truth about it beside it."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder to write to."""
    takes: int | None = None
    """How many; None: all there are."""
    size: int = 384
    """Side of the square picture, in pixels."""
    fps: float = 25.0
    """Frames per second."""
    voice: Literal["a", "b"] = "a"
    """Which of the two voices; b has only unseen sentences."""
    split: Literal["train", "unseen"] = "train"
    """Sentences to train on, or ones to keep for testing."""
    seed: int = 0
    """Seed of the head's movement."""
    still: bool = False
    """Hold the head still."""
    overwrite: bool = False
    """Replace videos that are there."""
    workers: int = 1
    """Videos made at the same time."""


def run(arguments: Arguments) -> None:
    """Write the takes and name them."""
    from speech2lip import present
    from speech2lip.progress import Progress

    with Progress("Filming the presenter", total=1, unit="frames") as bar:
        paths = present(
            arguments.folder,
            takes=arguments.takes,
            size=arguments.size,
            fps=arguments.fps,
            voice=arguments.voice,
            split=arguments.split,
            seed=arguments.seed,
            still=arguments.still,
            overwrite=arguments.overwrite,
            workers=arguments.workers,
            progress=bar.show,
        )
    for path in paths:
        print(path)
