"""Who is benchmarked: people in a folder of footage, and the presenter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

VIDEOS = (".mp4", ".mkv", ".mov", ".mpg", ".mpeg", ".avi", ".webm", ".m4v")
SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".m4a")
PRESENTER = "presenter"
SPEECH = "speech"
"""Folder of unseen speakers' sounds beside the people's folders."""

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
GRID_WORDS: tuple[dict[str, str], ...] = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {},
    dict(zip("z123456789", _DIGITS, strict=True)),
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)
"""Words of a GRID sentence by the letters of its file's name (Cooke et al. 2006); the fourth is itself."""


@dataclass(frozen=True)
class Subject:
    """One person to train and judge an avatar of."""

    name: str
    benchmark: str
    """I, II, P or own."""
    minutes: float
    """Training that this person gets where time is no limit."""
    takes: tuple[Path, ...] = ()
    missing: str = ""
    """Why there is no footage."""


EXPECTED = (
    Subject("grid_s1", "I", 15.0),
    Subject(PRESENTER, "P", 8.0),
    Subject("words", "II", 3.0),
    Subject("hdtf_RD_Radio34_000", "II", 3.0),
    Subject("hdtf_WDA_BobMenendez_000", "II", 3.0),
    Subject("hdtf_WDA_KatieHill_000", "II", 3.0),
    Subject("whitehouse", "II", 3.0),
)
"""The benchmark's people, the most telling first."""

PEOPLE_IN_ONE_FOLDER = ("hdtf",)
"""Folders in which every video is another person."""


def subjects(data: Path | None) -> list[Subject]:
    """List the benchmark's people and whoever else is in a folder of footage.

    A folder with videos in it is one person; a folder of such folders is many. Nothing fails where footage is
    missing: the subject says so.
    """
    here = _people(data) if data is not None else {}
    reason = "SPEECH2LIP_DATA names no folder" if data is None else f"not in the folder {data.name}"
    known = []
    for subject in EXPECTED:
        takes = here.pop(subject.name, ())
        missing = "" if takes or subject.name == PRESENTER else f"no footage: {reason}"
        known.append(Subject(subject.name, subject.benchmark, subject.minutes, takes, missing))
    if data is not None and not any(subject.takes for subject in known) and here:
        # A user's own folder: the people of our tables are not expected in it.
        known = []
    return known + [Subject(name, "own", 15.0, takes) for name, takes in here.items()]


def sounds_beside(data: Path | None) -> list[Path]:
    """List the sounds of unseen speakers beside the people's footage."""
    folder = data / SPEECH if data is not None else None
    return _files(folder, SOUNDS) if folder is not None and folder.is_dir() else []


def grid_words(name: str) -> str | None:
    """Return the words of a GRID sentence from its file's name; None for any other name."""
    if len(name) != len(GRID_WORDS):
        return None
    words = [
        known.get(letter, letter if not known else "") for letter, known in zip(name, GRID_WORDS, strict=True)
    ]
    return " ".join(words) if all(words) else None


def _people(data: Path) -> dict[str, tuple[Path, ...]]:
    if own := _files(data, VIDEOS):
        return {data.resolve().name: tuple(own)}
    people: dict[str, tuple[Path, ...]] = {}
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        takes = _files(folder, VIDEOS)
        if folder.name in PEOPLE_IN_ONE_FOLDER:
            people |= {f"{folder.name}_{take.stem}": (take,) for take in takes}
        elif takes:
            people[folder.name] = tuple(takes)
    return people


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)
