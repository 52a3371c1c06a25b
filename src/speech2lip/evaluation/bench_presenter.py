"""The presenter's takes for the benchmark: what the avatar learns from, and what it is asked for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from speech2lip.storage import read_json, write_json

SIZE = 320
LEARNED = "train"


@dataclass(frozen=True)
class Split:
    """Takes that differ from those learned from in one thing."""

    name: str
    note: str
    sentences: str
    """`train` or `unseen`."""
    voice: str
    seed: int
    """Of the head's movement."""
    takes: int | None = None
    """How many; all by default."""


SPLITS = (
    Split("sentences", "unseen sentences, the same voice; the head moves as in training", "unseen", "a", 7),
    Split("voice", "another voice, unseen sentences; the head moves as in training", "unseen", "b", 8),
    Split("poses", "unseen head movement; sentences and voice are those learned from", "train", "a", 9, 4),
)


def film(work: Path) -> dict[str, list[Path]]:
    """Film what is missing in a work folder; return the takes to learn from, and those of each split."""
    takes = {LEARNED: _film(work / "train_a", sentences="train", voice="a", seed=0, takes=None)}
    for split in SPLITS:
        takes[split.name] = _film(
            work / split.name,
            sentences=split.sentences,
            voice=split.voice,
            seed=split.seed,
            takes=split.takes,
        )
    return takes


def _film(folder: Path, *, sentences: str, voice: str, seed: int, takes: int | None) -> list[Path]:
    """Film takes named after the folder: the same sentence may be filmed twice, with other movement."""
    from speech2lip.presenter import present

    if not folder.exists():
        partial = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(partial, ignore_errors=True)
        workers = min(4, os.cpu_count() or 1)
        present(partial, size=SIZE, voice=voice, split=sentences, seed=seed, takes=takes, workers=workers)
        for path in sorted(partial.iterdir()):
            path.rename(partial / path.name.replace(f"{sentences}_{voice}", folder.name, 1))
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
