"""`python -m benchmarks speed`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks.speed.bench import measure_speed
from speech2lip.config import SpeakSettings


@dataclass(frozen=True)
class Arguments:
    """Measure how fast the first avatar of a folder speaks, at several picture sizes; nothing is trained."""

    work: Path = Path("runs/bench")
    """Folder with avatars in it."""
    results: Path = Path("benchmarks/results")
    """`speed.json` is written here."""
    page: Path = Path("docs/speed.md")
    """The page that is made of it."""
    settings: Annotated[SpeakSettings, tyro.conf.arg(name="")] = field(default_factory=SpeakSettings)
    """How."""


def main(arguments: Arguments) -> None:
    """Run the benchmark."""
    measure_speed(arguments.work, results=arguments.results, page=arguments.page, settings=arguments.settings)
