"""Judge an avatar on frames that it has never seen: the same frames, the same sound, its own lips."""

from __future__ import annotations

import contextlib
import logging
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from speech2lip._version import __version__
from speech2lip.atomic import check_output
from speech2lip.avatar import read_avatar
from speech2lip.compute import device_name
from speech2lip.config import EvaluateInputs, EvaluateOutputs, EvaluateSettings
from speech2lip.conventions import AnyPath
from speech2lip.decomposition.footage import Footage, read_footage
from speech2lip.errors import AvatarError, SettingsError
from speech2lip.evaluation.accumulate import Accumulator, Openings
from speech2lip.evaluation.cost import costs
from speech2lip.evaluation.cross_driven import (
    choose_pairs,
    drive_with_others,
    drive_with_silence,
    leak_figures,
)
from speech2lip.evaluation.held_out import Span, unseen_parts, unseen_spans
from speech2lip.evaluation.methods import AvatarLips, Method, all_methods
from speech2lip.evaluation.metrics.mouth import OpeningScale
from speech2lip.evaluation.metrics.published import published_observers
from speech2lip.evaluation.metrics.statistics import concordance, pearson, std_ratio
from speech2lip.evaluation.metrics.sync_judge import SyncJudgeObserver, judge_of
from speech2lip.evaluation.result import Result, Row, cost_line, ground_truth_line, metrics_table
from speech2lip.evaluation.runner import Runner
from speech2lip.evaluation.speech_labels import MISSING, true_opening
from speech2lip.inference.engine import Engine
from speech2lip.media.sound import SoundReader, check_speech
from speech2lip.progress import Progress

_LOG = logging.getLogger(__name__)


def evaluate(
    *,
    avatar: AnyPath,
    footage: AnyPath,
    inputs: EvaluateInputs | None = None,
    outputs: EvaluateOutputs | None = None,
    settings: EvaluateSettings | None = None,
) -> Result:
    """Measure an avatar on the held-out frames of its footage and print the table.

    Rows: `real_video` (the footage against itself: what the landmark detector's own jitter costs),
    `static_lips` (the mean lip patch in every frame: what any system must beat), `nearest` (lips of the
    training frame that sounds most alike), `ours`, and `paper` where such an avatar is given.
    docs/metrics.md tells what each figure means.

    Args:
        avatar: an avatar folder; it knows what it has never seen.
        footage: the footage that it was trained on.
        inputs: what else it is judged with: the paper's avatar, transcripts, sounds of unseen speakers.
        outputs: what is written: figures, a page.
        settings: how.

    Raises:
        AvatarError, FootageError, OutputError, SettingsError, SoundError: as their messages say.
    """
    inputs, outputs = inputs or EvaluateInputs(), outputs or EvaluateOutputs()
    settings = settings or EvaluateSettings()
    _check(inputs, outputs)
    person, prepared = read_avatar(Path(avatar)), read_footage(Path(footage))
    unseen = unseen_spans(person, prepared)
    spans = unseen_parts(person, prepared)
    engine = Engine(person, device=settings.device, precision=settings.precision)
    methods = all_methods(engine, prepared)
    if inputs.paper is not None:
        methods["paper"] = _paper(Path(inputs.paper), unseen, prepared, settings)
    observers = published_observers(settings, methods, engine.compute.device)
    scale = OpeningScale.of(prepared)
    accumulators = {name: Accumulator(scale) for name in methods}
    details: dict[str, object] = {"unseen_takes": len(unseen), "opening_threshold": scale.threshold}
    with contextlib.ExitStack() as stack:
        page = None
        if outputs.report is not None:
            from speech2lip.report.quality_page import QualityPage

            page = QualityPage(person, stack)
            observers = [page, *observers]
        judge = judge_of(person, prepared, steps=settings.judge_steps)
        if judge is not None:
            observers.append(SyncJudgeObserver(judge, methods))
        words = None if inputs.transcripts is None else Path(inputs.transcripts)
        runner = Runner(
            prepared, engine.paster, methods, accumulators, observers=observers, transcripts=words
        )
        details["phones"] = _follow(runner, spans)
        leaks, by_row, trained_on = _cross_drive(methods, accumulators, unseen, prepared, settings)
        details |= {"rows": by_row, "other_sounds_trained_on": trained_on}
        takes = {name: one.takes for name, one in accumulators.items()}
        if against := against_ground_truth(takes, spans):
            details["against_ground_truth"] = against
        rows = {name: dict(one.row()) for name, one in accumulators.items()}
        for columns in (leaks, *(observer.figures() for observer in observers)):
            for name, figures in columns.items():
                rows[name] |= figures
        result = Result(
            footage=prepared.folder.name,
            device=device_name(engine.compute),
            commit=commit(),
            seconds_trained=person.info.seconds_trained,
            rows=rows,
            cost=costs(engine, prepared, spans, settings),
            details=details,
        )
        about = heading(engine, prepared, spans)
        truth = ground_truth_line(details)
        parts = [about, metrics_table(rows), cost_line(result.cost), truth]
        _LOG.info("\n".join(part for part in parts if part))
        if page is not None and outputs.report is not None:
            page.write(Path(outputs.report), result, about, inputs.unseen_speakers, settings)
    if outputs.json is not None:
        result.save(Path(outputs.json))
    return result


def _check(inputs: EvaluateInputs, outputs: EvaluateOutputs) -> None:
    """Make sure that figures and page can be written, and that all sounds can be read."""
    for path in (outputs.json, outputs.report):
        if path is not None:
            check_output(Path(path), overwrite=outputs.overwrite)
    for sound in inputs.unseen_speakers:
        check_speech(SoundReader(Path(sound)))
    if inputs.unseen_speakers and outputs.report is None:
        raise SettingsError(
            "sounds of unseen speakers are shown in the report; name a page to write (--report)"
        )


def _paper(paper: Path, spans: Sequence[Span], footage: Footage, settings: EvaluateSettings) -> Method:
    """Return the method of the row `paper`; its avatar must not have seen what is judged."""
    other = read_avatar(paper)
    unseen = {(span.take.name, span.start, span.stop) for span in unseen_spans(other, footage)}
    if not {(span.take.name, span.start, span.stop) for span in spans} <= unseen:
        raise AvatarError(
            f"{paper} has seen frames that are judged here; train it with the same footage and hold-out"
        )
    engine = Engine(other, device=settings.device, precision=settings.precision)
    return AvatarLips(engine)


def _follow(runner: Runner, spans: Sequence[Span]) -> list[str] | str:
    """Judge all frames under their own sound; return how the phones of the takes are known."""
    done = 0
    with Progress("Evaluating", total=sum(len(span.kept) for span in spans), unit="frames") as progress:
        for span in spans:
            for _ in runner.follow(span):
                done += 1
                progress.set(done)
    return sorted(runner.phone_sources) or MISSING


def _cross_drive(
    methods: Mapping[str, Method],
    accumulators: Mapping[str, Accumulator],
    spans: Sequence[Span],
    footage: Footage,
    settings: EvaluateSettings,
) -> tuple[dict[str, Row], dict[str, dict[str, object]], bool]:
    """Drive the methods with silence and with other takes' sound.

    Returns:
        Figures and details by method, and whether the avatar was trained on the other sounds.
    """
    made = {name: method for name, method in methods.items() if name != "real_video"}
    if settings.silent_frames:
        drive_with_silence(made, accumulators, spans, footage, frames=settings.silent_frames)
    pairs, trained_on = choose_pairs(spans, footage, settings)
    figures: dict[str, Row] = {}
    details = {name: one.details() for name, one in accumulators.items()}
    for name, pairings in drive_with_others(made, pairs, footage).items():
        figures[name], more = leak_figures(pairings)
        details[name] |= more
    return figures, details, trained_on


def against_ground_truth(
    rows: Mapping[str, Sequence[Openings]], spans: Sequence[Span]
) -> dict[str, dict[str, float]]:
    """Compare detected lip openings with the exact ones, over all takes that have them.

    The row of real video is the detector alone: its correlation is the most that any row can reach, its bias
    (detected minus exact, eye units) and its ratio are the detector's own.

    Args:
        rows: method to the openings of the takes, in the order of the spans.

    Returns:
        Method to figures; empty without such takes.
    """
    truths = [true_opening(span.take) for span in spans]
    found = {}
    for name, takes in rows.items():
        pairs = [
            (one.made, truth[span.start : span.stop][: len(one.made)])
            for one, truth, span in zip(takes, truths, spans, strict=True)
            if truth is not None
        ]
        if pairs:
            made, true = (np.concatenate(side) for side in zip(*pairs, strict=True))
            found[name] = {
                "opening_r": round(pearson(made, true), 4),
                "opening_ccc": round(concordance(made, true), 4),
                "opening_std_ratio": round(std_ratio(made, true), 4),
                "opening_bias": round(float(np.nanmean(made - true)), 4),
            }
    return found


def heading(engine: Engine, footage: Footage, spans: Sequence[Span]) -> str:
    """Say what was judged, in one line."""
    about = engine.avatar.info
    frames, takes = sum(len(span.kept) for span in spans), len({span.take.name for span in spans})
    return (
        f"{footage.folder.name}: {frames} held-out frames of {takes} takes; "
        f"trained {about.seconds_trained:.0f} s on {about.seconds_footage:.0f} s of footage "
        f"({about.device}, {about.precision}); "
        f"drawn on {device_name(engine.compute)} in {engine.precision}\n"
    )


def commit() -> str:
    """Name the code: the commit where it runs from its own checkout, marked when files were changed since.

    Elsewhere it is the version: a repository that only encloses the environment says nothing about it.
    """
    here = Path(__file__).resolve()
    try:
        top = _git("rev-parse", "--show-toplevel")
        if (Path(top) / "src" / "speech2lip" / "evaluation" / here.name).resolve() == here:
            return _git("describe", "--always", "--dirty", "--exclude=*")
    except (OSError, subprocess.SubprocessError):  # no git, or no repository
        pass
    return f"version {__version__}"


def _git(*words: str) -> str:
    words, folder = ("git", *words), Path(__file__).resolve().parent
    found = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True, timeout=10)
    return found.stdout.strip()
