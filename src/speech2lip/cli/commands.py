"""The arguments of each command; it calls the public function of its name with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

import speech2lip
from speech2lip.config import (
    EvaluateInputs,
    EvaluateOutputs,
    EvaluateSettings,
    LiveSettings,
    PrepareSettings,
    PresentSettings,
    SpeakSettings,
    TrainSettings,
)


class Command:
    """Arguments named as the parameters of the public function that is called with them."""

    def run(self) -> int:
        """Run the command; return the exit code."""
        getattr(speech2lip, type(self).__name__.lower())(**vars(self))
        return 0


@dataclass(frozen=True)
class Prepare(Command):
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


@dataclass(frozen=True)
class Train(Command):
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
    prepare_settings: Annotated[PrepareSettings, tyro.conf.arg(name="prepare")] = field(
        default_factory=PrepareSettings
    )
    """How to prepare videos."""


@dataclass(frozen=True)
class Speak(Command):
    """Let an avatar speak a sound file."""

    sound: Annotated[Path, tyro.conf.Positional]
    """Somebody speaking: any sound or video file of any length."""
    avatar: Path
    """The avatar."""
    output: Path
    """The video to write: .mp4, .mkv or .mov."""
    overwrite: bool = False
    """Replace a video of this name."""
    settings: Annotated[SpeakSettings, tyro.conf.arg(name="")] = field(default_factory=SpeakSettings)
    """How."""


@dataclass(frozen=True)
class Live(Command):
    """Let an avatar speak live, on a local page, from the microphone, a pipe or a file."""

    avatar: Path
    """The avatar."""
    sound: str = "mic"
    """`mic`, a sound file, a named pipe of raw 16-bit samples, or `-` for such from standard input."""
    settings: Annotated[LiveSettings, tyro.conf.arg(name="")] = field(default_factory=LiveSettings)
    """How."""


@dataclass(frozen=True)
class Evaluate(Command):
    """Measure an avatar on the part of its footage that it has never seen."""

    avatar: Path
    """The avatar."""
    footage: Path
    """The footage that it was trained on."""
    inputs: Annotated[EvaluateInputs, tyro.conf.arg(name="")] = field(default_factory=EvaluateInputs)
    """What else it is judged with."""
    outputs: Annotated[EvaluateOutputs, tyro.conf.arg(name="")] = field(default_factory=EvaluateOutputs)
    """What is written."""
    settings: Annotated[EvaluateSettings, tyro.conf.arg(name="")] = field(default_factory=EvaluateSettings)
    """How."""


@dataclass(frozen=True)
class Export(Command):
    """Write an avatar as ONNX graphs and tables, for players without Python."""

    avatar: Path
    """The avatar."""
    onnx: Path
    """The folder to write."""
    overwrite: bool = False
    """Replace a folder of this name."""


@dataclass(frozen=True)
class Demo(Command):
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


@dataclass(frozen=True)
class Present(Command):
    """Write videos of the made presenter, nobody's face, each with the truth about it beside it."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder to write to."""
    overwrite: bool = False
    """Replace videos that are there."""
    workers: int = 1
    """Videos made at the same time."""
    settings: Annotated[PresentSettings, tyro.conf.arg(name="")] = field(default_factory=PresentSettings)
    """What and how."""

    def run(self) -> int:
        """Write the takes and name them."""
        print(*speech2lip.present(**vars(self)), sep="\n")
        return 0


@dataclass(frozen=True)
class Doctor(Command):
    """Show what this machine has: versions, devices, what is missing and how to install it."""

    def run(self) -> int:
        """Print the findings; the exit code is 1 when a required part is missing."""
        from speech2lip import _doctor

        checks = _doctor.doctor()
        print(_doctor.report(checks))
        return int(any(check.required and not check.good for check in checks))
