"""`speech2lip evaluate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from speech2lip.config import EvaluateInputs, EvaluateOutputs, EvaluateSettings


@dataclass(frozen=True)
class Arguments:
    """Measure an avatar on the part of its footage that it has never seen."""

    avatar: Path
    """The avatar."""
    footage: Path
    """The footage that it was trained on."""
    paper: Path | None = None
    """An avatar of the same footage that was trained as the paper does it: one more row."""
    transcripts: Path | None = None
    """Folder with the words of the takes, TAKE.txt; None: beside the source videos."""
    json: Path | None = None
    """A file for the figures too."""
    report: Path | None = None
    """An .html page with the table, players and plots."""
    foreign: tuple[Path, ...] = ()
    """Sounds of strangers; the page shows the person speaking 20 s of them."""
    settings: Annotated[EvaluateSettings, tyro.conf.arg(name="")] = field(default_factory=EvaluateSettings)
    """How."""


def run(arguments: Arguments) -> None:
    """Measure and print the table."""
    from speech2lip import evaluate

    evaluate(
        avatar=arguments.avatar,
        footage=arguments.footage,
        inputs=EvaluateInputs(arguments.paper, arguments.transcripts, arguments.foreign),
        outputs=EvaluateOutputs(arguments.json, arguments.report),
        settings=arguments.settings,
    )
