"""The presenter's takes for the benchmark: what the avatar learns from, and what it is asked for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from speech2lip.atomic import read_json, write_json
from speech2lip.compute import usable_cores
from speech2lip.config import PresentSettings

SIZE = 320
LEARNED = "train"


@dataclass(frozen=True)
class Split:
    """Takes that differ from those learned from in one thing."""

    name: str
    note: str
    settings: PresentSettings


def _settings(
    sentences: Literal["train", "unseen"], voice: Literal["a", "b"], seed: int, takes: int | None = None
) -> PresentSettings:
    return PresentSettings(size=SIZE, split=sentences, voice=voice, seed=seed, takes=takes)


SPLITS = (
    Split(
        "sentences",
        "unseen sentences, the same voice; the head moves as in training",
        _settings("unseen", "a", 7),
    ),
    Split(
        "voice", "another voice, unseen sentences; the head moves as in training", _settings("unseen", "b", 8)
    ),
    Split(
        "poses",
        "unseen head movement; sentences and voice are those learned from",
        _settings("train", "a", 9, 4),
    ),
)


def film(work: Path) -> dict[str, list[Path]]:
    """Film what is missing in a work folder; return the takes to learn from, and those of each split."""
    takes = {LEARNED: _film(work / "train_a", _settings("train", "a", 0))}
    for split in SPLITS:
        takes[split.name] = _film(work / split.name, split.settings)
    return takes


def _film(folder: Path, settings: PresentSettings) -> list[Path]:
    """Film takes named after the folder: the same sentence may be filmed twice, with other movement."""
    from speech2lip_presenter import present

    if not folder.exists():
        partial = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(partial, ignore_errors=True)
        present(partial, settings=settings, workers=min(4, len(usable_cores())))
        for path in sorted(partial.iterdir()):
            path.rename(partial / path.name.replace(f"{settings.split}_{settings.voice}", folder.name, 1))
        partial.rename(folder)
    return sorted(folder.glob("*.mp4"))


def view(footage: Path, folder: Path, names: Sequence[str]) -> Path:
    """Make a footage folder that holds some takes of another one, in the same canonical space.

    The files are hard links, so it takes no room.
    """
    plain = read_json(footage / "footage.json")
    wanted = plain | {"takes": [name for name in plain["takes"] if name in names]}
    if folder.exists() and read_json(folder / "footage.json") == wanted:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "takes").mkdir(parents=True)
    os.link(footage / "canonical.safetensors", folder / "canonical.safetensors")
    for name in wanted["takes"]:
        shutil.copytree(footage / "takes" / name, folder / "takes" / name, copy_function=os.link)
    write_json(folder / "footage.json", wanted)
    return folder
