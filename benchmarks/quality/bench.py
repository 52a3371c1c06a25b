"""`python -m benchmarks quality`: prepare, train and judge everybody there is, and write the tables."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from benchmarks.machine import machine
from benchmarks.quality.cross import drive_with_unseen_speaker, unseen_speakers
from benchmarks.quality.page import quality_page
from benchmarks.quality.presenter import LEARNED, SPLITS, film, view
from benchmarks.quality.subjects import PRESENTER, Subject, grid_words, sounds_beside, subjects
from benchmarks.robustness.bench import robustness
from speech2lip.atomic import output_errors, write_atomically
from speech2lip.avatar import Avatar, read_avatar
from speech2lip.compute import device_name
from speech2lip.config import (
    EvaluateInputs,
    EvaluateOutputs,
    EvaluateSettings,
    TrainSettings,
)
from speech2lip.decomposition.footage import read_footage
from speech2lip.errors import SettingsError, Speech2LipError
from speech2lip.evaluation.evaluate import commit, evaluate
from speech2lip.evaluation.held_out import unseen_parts, unseen_spans
from speech2lip.evaluation.methods import AvatarLips
from speech2lip.evaluation.result import Result, Row
from speech2lip.inference.engine import Engine

_LOG = logging.getLogger(__name__)

LEAST_MINUTES = 0.5
"""Training below this tells nothing; the subject waits for another day."""
UNSEEN_SECONDS = 12.0
"""Of each sound of an unseen speaker, at most."""
ROBUSTNESS_FRAMES = 300
"""Frames, about, that are drawn in each other voice."""
_SPLITS = {
    "I": "takes 4, 14, 24 ... in sorted order are held out",
    "II": "the last 10 % is held out (every tenth take where there are ten)",
    "own": "every tenth take, or the last 10 %, is held out",
    "P": "whole takes are held out",
}


@dataclass(frozen=True)
class Arguments:
    """Train and judge an avatar of everybody there is footage of, and write the tables."""

    data: Path | None = None
    """Folder of footage, each person a folder in it; None: the one named by SPEECH2LIP_DATA."""
    minutes: float = 60.0
    """For all training together; shared out by how much each person would get without a limit."""
    only: tuple[str, ...] = ()
    """Names of the people to measure; all without."""
    paper: bool = False
    """Train a second avatar of everybody as the paper does it, in as much time: one more row. One that is in
    the work folder (`NAME.paper.avatar`) is judged in any case.
    """
    work: Path = Path("runs/bench")
    """Footage and avatars are kept here, and used again."""
    results: Path = Path("benchmarks/results")
    """One JSON file for each table."""
    page: Path = Path("docs/quality.md")
    """The page that is made of all result files."""
    settings: Annotated[EvaluateSettings, tyro.conf.arg(name="")] = field(default_factory=EvaluateSettings)
    """How avatars are judged."""


def main(arguments: Arguments) -> None:
    """Train and judge an avatar of everybody there is footage of, as far as the time allows.

    What is in the work folder already (footage, avatars) is kept and judged as it is. Where footage or
    time is missing the tables say so; nothing fails.

    Raises:
        SettingsError: no such folder of footage, or nobody of a name in `only`.
    """
    work, results, page, only = arguments.work, arguments.results, arguments.page, arguments.only
    named = arguments.data or os.environ.get("SPEECH2LIP_DATA")
    folder = Path(named) if named else None
    if folder is not None and not folder.is_dir():
        raise SettingsError(
            f"there is no folder of footage {folder}; name one with --data or SPEECH2LIP_DATA"
        )
    everybody = subjects(folder)
    unknown = sorted(set(only) - {subject.name for subject in everybody})
    if unknown:
        names = ", ".join(subject.name for subject in everybody)
        raise SettingsError(f"nobody is called {unknown[0]!r}; there are {names}")
    with output_errors(work):
        for place in (work, results, page.absolute().parent):
            place.mkdir(parents=True, exist_ok=True)
    chosen = [subject for subject in everybody if not only or subject.name in only]
    shares = share_time(chosen, arguments.minutes / 2 if arguments.paper else arguments.minutes)
    runs = _Bench(folder, work, results, arguments.settings, paper=arguments.paper)
    for subject in chosen:
        runs.run(subject, shares.get(subject.name, 0.0))
        with write_atomically(page) as partial:
            partial.write_text(quality_page(results), encoding="utf-8")
    _LOG.info(f"{page}: the tables; {results}: the figures")


def share_time(chosen: Sequence[Subject], minutes: float) -> dict[str, float]:
    """Share minutes of training out; people at the end of the list go without when there is too little."""
    able = [subject for subject in chosen if not subject.missing]
    while able:
        scale = min(1.0, minutes / sum(subject.minutes for subject in able))
        if min(subject.minutes for subject in able) * scale >= LEAST_MINUTES or len(able) == 1:
            return {subject.name: subject.minutes * scale for subject in able}
        able.pop()
    return {}


def _other_languages_first(sounds: Sequence[Path]) -> list[Path]:
    """Order sounds so that those in another language than the benchmark's people speak come first."""
    return sorted(sounds, key=lambda path: (path.stem.lower().startswith("english"), path.stem))


class _Bench:
    """Runs subjects one after the other; what goes wrong with one is told in its row."""

    def __init__(
        self,
        data: Path | None,
        work: Path,
        results: Path,
        settings: EvaluateSettings,
        *,
        paper: bool = False,
    ) -> None:
        self.data, self.work, self.results, self.settings = data, work, results, settings
        self.paper = paper

    def run(self, subject: Subject, minutes: float) -> None:
        """Measure one person, or write why not."""
        missing = subject.missing or ("" if minutes else "no time left for it (--minutes)")
        if not missing:
            _LOG.info(f"{subject.name}: {minutes:.1f} minutes of training")
            try:
                (self._presenter if subject.name == PRESENTER else self._person)(subject, minutes)
            except Speech2LipError as error:
                missing = " ".join(str(error).split())
        path = self._path(subject.benchmark, subject.name)
        if not missing:
            return
        _LOG.info(f"{subject.name}: not measured: {missing}")
        if not any(self.results.glob(f"{path.stem}*.json")):
            details = {"benchmark": subject.benchmark, "missing": missing}
            Result(footage=subject.name, device="none", details=details).save(path)

    def _person(self, subject: Subject, minutes: float) -> None:
        footage, avatar = (self.work / f"{subject.name}.{kind}" for kind in ("footage", "avatar"))
        self._prepare(subject.takes, footage)
        self._train(footage, avatar, minutes, hold_out=None)
        paper = self._paper(subject.name, footage, minutes)
        self._judge(subject.benchmark, subject.name, avatar, footage, paper=paper)
        self._unseen_speakers(subject.name, avatar, footage)

    def _presenter(self, subject: Subject, minutes: float) -> None:
        takes = film(self.work / "takes")
        footage, avatar = self.work / "presenter.footage", self.work / "presenter.avatar"
        self._prepare([path for paths in takes.values() for path in paths], footage)
        names = {kind: [path.stem for path in paths] for kind, paths in takes.items()}
        seen = view(footage, self.work / "presenter-train.footage", names[LEARNED])
        self._train(seen, avatar, minutes, hold_out=0.0)
        paper = self._paper(subject.name, seen, minutes, hold_out=0.0)
        for split in SPLITS:
            shown = view(
                footage, self.work / f"presenter-{split.name}.footage", names[LEARNED] + names[split.name]
            )
            name = f"presenter_{split.name}"
            self._judge(subject.benchmark, name, avatar, shown, paper=paper, note=split.note)
        self._path(subject.benchmark, subject.name).unlink(missing_ok=True)

    def _prepare(self, takes: Sequence[Path], footage: Path) -> None:
        from speech2lip.decomposition.prepare import prepare

        prepare(takes, footage=footage)

    def _paper(
        self, name: str, footage: Path, minutes: float, *, hold_out: float | None = None
    ) -> Path | None:
        """Return the avatar trained as the paper does it; None where there is none and none is wanted."""
        avatar = self.work / f"{name}.paper.avatar"
        if self.paper:
            try:
                self._train(footage, avatar, minutes, hold_out=hold_out, preset="paper")
            except Speech2LipError as error:
                _LOG.info(f"{name}: no row of the paper's preset: {' '.join(str(error).split())}")
        return avatar if avatar.exists() else None

    def _train(
        self,
        footage: Path,
        avatar: Path,
        minutes: float,
        *,
        hold_out: float | None,
        preset: Literal["default", "paper"] = "default",
    ) -> None:
        from speech2lip.training.train import train

        if avatar.exists():
            _LOG.info(f"{avatar} is there already; remove it to train it anew")
            return
        settings = TrainSettings(
            minutes=minutes,
            hold_out=hold_out,
            device=self.settings.device,
            precision=self.settings.precision,
            preset=preset,
        )
        train(avatar=avatar, footage=footage, settings=settings)

    def _judge(
        self, benchmark: str, name: str, avatar: Path, footage: Path, *, paper: Path | None, note: str = ""
    ) -> None:
        report = self.work / f"{name}.html"
        words = self._transcripts(footage)
        result = evaluate(
            avatar=avatar,
            footage=footage,
            inputs=EvaluateInputs(paper, words, _other_languages_first(sounds_beside(self.data))),
            outputs=EvaluateOutputs(report=report),
            settings=self.settings,
        )
        more: dict[str, Any] = {"split": _SPLITS[benchmark]} | ({"note": note} if note else {})
        more["robustness"] = self._robustness(avatar, footage)
        if paper is not None:
            more["paper_seconds_trained"] = read_avatar(paper).info.seconds_trained
        self._save(benchmark, name, result, avatar, more)

    def _transcripts(self, footage: Path) -> Path | None:
        """Write the words of GRID sentences, which their names tell; None where the names tell nothing."""
        known = {take.name: grid_words(take.name) for take in read_footage(footage).takes}
        if not all(known.values()):
            return None
        folder = self.work / f"{footage.stem}.words"
        folder.mkdir(exist_ok=True)
        for name, words in known.items():
            (folder / f"{name}.txt").write_text(f"{words}\n", encoding="utf-8")
        return folder

    def _robustness(self, avatar: Path, footage: Path) -> dict[str, Row]:
        """Let the held-out takes speak in other voices."""
        person, prepared = read_avatar(avatar), read_footage(footage)
        spans = unseen_parts(person, prepared)
        return robustness(self._method(person), spans, prepared, frames=ROBUSTNESS_FRAMES)

    def _method(self, person: Avatar) -> AvatarLips:
        return AvatarLips(Engine(person, device=self.settings.device, precision=self.settings.precision))

    def _unseen_speakers(self, name: str, avatar: Path, footage: Path) -> None:
        """Benchmark III: other voices, other languages, a synthetic voice."""
        person, prepared = read_avatar(avatar), read_footage(footage)
        method, spans = self._method(person), unseen_spans(person, prepared)
        rows = {
            sound.name: drive_with_unseen_speaker(method, spans, sound, prepared, seconds=UNSEEN_SECONDS)
            for sound in unseen_speakers(sounds_beside(self.data))
        }
        result = Result(
            footage=name,
            device=device_name(method.engine.compute),
            commit=commit(),
            seconds_trained=person.info.seconds_trained,
            rows=rows,
        )
        more = {"split": "held-out frames, others' sound", "note": "no picture truth"}
        self._save("III", name, result, avatar, more)

    def _save(
        self, benchmark: str, name: str, result: Result, avatar: Path, more: Mapping[str, object]
    ) -> None:
        seconds = read_avatar(avatar).info.seconds_footage
        about = {"benchmark": benchmark, "machine": machine(), "seconds_footage": seconds}
        details = {**result.details, **about, **more}
        dataclasses.replace(result, footage=name, details=details).save(self._path(benchmark, name))

    def _path(self, benchmark: str, name: str) -> Path:
        return self.results / f"{benchmark}_{name}.json"
