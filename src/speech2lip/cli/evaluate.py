"""`speech2lip evaluate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from speech2lip.config import EvaluateSettings


@dataclass(frozen=True)
class Arguments:
    """Measure an avatar on the part of its footage that it has never seen."""

    avatar: Path
    """The avatar."""
    footage: Path
    """The footage that it was trained on."""
    json: Path | None = None
    """A file for the figures too."""
    settings: Annotated[EvaluateSettings, tyro.conf.arg(name="")] = field(default_factory=EvaluateSettings)
    """How."""


def run(arguments: Arguments) -> None:
    """Measure and print the table."""
    from speech2lip import evaluate

    evaluate(
        avatar=arguments.avatar, footage=arguments.footage, json=arguments.json, settings=arguments.settings
    )
