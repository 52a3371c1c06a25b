"""`speech2lip export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Arguments:
    """Write an avatar as ONNX graphs and tables, for players without Python."""

    avatar: Path
    """The avatar."""
    onnx: Path
    """The folder to write."""
    overwrite: bool = False
    """Replace a folder of this name."""


def run(arguments: Arguments) -> None:
    """Write the folder."""
    from speech2lip import export

    export(arguments.avatar, onnx=arguments.onnx, overwrite=arguments.overwrite)
