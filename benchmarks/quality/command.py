"""`python -m benchmarks quality`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks.quality.bench import BenchPlaces, BenchPlan, measure_quality
from speech2lip.config import EvaluateSettings


@dataclass(frozen=True)
class Arguments:
    """Train and judge an avatar of everybody there is footage of, and write the tables."""

    data: Path | None = None
    """Folder of footage, each person a folder in it; None: the one named by SPEECH2LIP_DATA."""
    minutes: float = 60.0
    """For all training together."""
    only: tuple[str, ...] = ()
    """Names of the people to measure; all without."""
    paper: bool = False
    """Train a second avatar of everybody as the paper does it, in as much time: one more row."""
    work: Path = Path("runs/bench")
    """Footage and avatars are kept here, and used again."""
    results: Path = Path("benchmarks/results")
    """One JSON file for each table."""
    page: Path = Path("docs/quality.md")
    """The page that is made of all result files."""
    settings: Annotated[EvaluateSettings, tyro.conf.arg(name="")] = field(default_factory=EvaluateSettings)
    """How."""


def main(arguments: Arguments) -> None:
    """Run the benchmark."""
    measure_quality(
        data=arguments.data,
        plan=BenchPlan(arguments.minutes, arguments.only, arguments.paper),
        places=BenchPlaces(arguments.work, arguments.results, arguments.page),
        settings=arguments.settings,
    )
