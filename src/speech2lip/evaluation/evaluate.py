"""Judge an avatar on frames that it has never seen: the same frames, the same sound, its own lips."""

from __future__ import annotations

import contextlib
import logging
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.robustness.revoiced import compare_voices, revoiced_rows
from speech2lip._version import __version__
from speech2lip.atomic import check_output
from speech2lip.avatar import Avatar, read_avatar
from speech2lip.compute import device_name
from speech2lip.config import EvaluateInputs, EvaluateOutputs, EvaluateSettings, SpeakSettings
from speech2lip.conventions import AnyPath
from speech2lip.decomposition.footage import Footage, read_footage
from speech2lip.errors import AvatarError, SettingsError
from speech2lip.evaluation import cross_driven as driven
from speech2lip.evaluation.accumulate import Tally
from speech2lip.evaluation.cost import gflop_per_frame, known_costs, speaking_costs
from speech2lip.evaluation.ground_truth import against_truth, truth_line
from speech2lip.evaluation.held_out import Span, unseen_spans
from speech2lip.evaluation.methods import Maker, Spoken, makers, usual_light_of
from speech2lip.evaluation.metrics.closure import OpeningScale
from speech2lip.evaluation.result import Result, Row, format_revoiced
from speech2lip.evaluation.runner import GivenWeights, Judge, Watcher, Watchers
from speech2lip.evaluation.speech_labels import MISSING
from speech2lip.evaluation.sync.expert import LEAST_SECONDS, SyncTrials, judge_of
from speech2lip.faces.landmarks import LandmarkDetector
from speech2lip.inference.engine import Engine
from speech2lip.media.sound import check_speech
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
        inputs: what else it is judged with: the paper's avatar, transcripts, strangers' sounds.
        outputs: what is written: figures, a page.
        settings: how.

    Raises:
        AvatarError, FootageError, OutputError, SettingsError, SoundError: as their messages say.
    """
    avatar, footage, settings = Path(avatar), Path(footage), settings or EvaluateSettings()
    inputs, outputs = inputs or EvaluateInputs(), outputs or EvaluateOutputs()
    json, report, foreign = _checked(inputs, outputs)
    given = GivenWeights(settings)
    person, prepared = read_avatar(avatar), read_footage(footage)
    unseen = unseen_spans(person, prepared)
    spans = [part for span in unseen for part in span.parts() if len(part.kept)]
    engine = Engine(person, device=settings.device, precision=settings.precision)
    others = _others(_path(inputs.paper), unseen, prepared, settings)
    rows = makers(person, prepared, engine, others)
    scale = OpeningScale.measure(np.concatenate([take.opening for take in prepared.takes]))
    tallies = {name: Tally(scale) for name in rows}
    with contextlib.ExitStack() as stack:
        page = None
        if report is not None:
            from speech2lip.report.quality_page import Report, show_foreign

            page = stack.enter_context(Report(report, person))
        words = _path(inputs.transcripts)
        judge = Judge(prepared, engine.paster, rows, tallies, transcripts=words)
        expert = judge_of(person, prepared, steps=settings.judge_steps)
        trials = None if expert is None else SyncTrials(expert, rows)
        experts = given.experts(rows, engine.compute.device)
        watchers = [watcher for watcher in (page, trials, *experts) if watcher is not None]
        sources = _judge_all(judge, spans, Watchers(watchers))
        figures, details = _drive_all(rows, tallies, unseen, person, prepared, settings)
        for given_expert in experts:
            for name, row in given_expert.figures().items():
                figures.setdefault(name, {}).update(row)
        details |= {
            "phones": sources or MISSING,
            "unseen_takes": len(unseen),
            "opening_threshold": scale.threshold,
        }
        details |= _sync_details(trials, settings)
        exact = against_truth({name: tally.takes for name, tally in tallies.items()}, spans)
        details |= {"against_exact_truth": exact} if exact else {}
        costs, trouble = _costs(person, prepared, engine, spans, settings)
        if trouble:
            _LOG.info(trouble)
        result = Result(
            footage=prepared.folder.name, device=device_name(engine.compute), commit=commit(),
            seconds_trained=person.info.seconds_trained,
            rows={
                name: tally.row() | figures.get(name, {}) | (trials.rows[name].verdict() if trials else {})
                for name, tally in tallies.items()
            },
            cost=costs, details=details,
            revoiced=_revoiced(rows["ours"], spans, prepared, settings),
        )  # fmt: skip
        _LOG.info(_told(result, heading(person, prepared, spans, engine)))
        if page is not None:
            page.foreign = show_foreign(avatar, foreign, settings) if foreign else None
            page.finish(result, heading(person, prepared, spans, engine))
    if json is not None:
        result.save(json)
    return result


def _path(path: AnyPath | None) -> Path | None:
    return None if path is None else Path(path)


def _checked(inputs: EvaluateInputs, outputs: EvaluateOutputs) -> tuple[Path | None, Path | None, list[Path]]:
    """Return where figures and page are written and what strangers say, once it is known that all can be."""
    json, report = _path(outputs.json), _path(outputs.report)
    foreign = [Path(sound) for sound in inputs.foreign]
    for path in filter(None, (json, report)):
        check_output(path, overwrite=outputs.overwrite)
    for sound in foreign:
        check_speech(sound)
    if foreign and report is None:
        raise SettingsError("foreign sounds are shown in the report; name a page to write (--report)")
    return json, report, foreign


def _told(result: Result, about: str) -> str:
    """Return what is printed."""
    parts = [about, result.markdown(), result.cost_line() + "\n"]
    if result.revoiced:
        parts += ["In other voices:\n", format_revoiced(result.revoiced)]
    exact = truth_line(result.details.get("against_exact_truth"))
    return "\n".join([*parts, exact] if exact else parts).rstrip() + "\n"


def _revoiced(
    ours: Maker, spans: Sequence[Span], footage: Footage, settings: EvaluateSettings
) -> dict[str, Row]:
    if not settings.revoiced:
        return {}
    assert isinstance(ours, Spoken), f"the avatar's own row is made by {type(ours).__name__}"
    return revoiced_rows(compare_voices(ours, spans, footage, frames=settings.revoiced_frames))


def _others(
    paper: Path | None, spans: Sequence[Span], footage: Footage, settings: EvaluateSettings
) -> dict[str, Maker]:
    """Return the maker of the row `paper`; its avatar must not have seen what is judged."""
    if paper is None:
        return {}
    other = read_avatar(paper)
    unseen = {(span.take.name, span.start, span.stop) for span in unseen_spans(other, footage)}
    if not {(span.take.name, span.start, span.stop) for span in spans} <= unseen:
        raise AvatarError(
            f"{paper} has seen frames that are judged here; train it with the same footage and hold-out"
        )
    engine = Engine(other, device=settings.device, precision=settings.precision)
    return {"paper": Spoken(engine, usual_light_of(other))}


def _judge_all(judge: Judge, spans: Sequence[Span], watcher: Watcher | None) -> list[str]:
    """Judge all frames under their own sound; return how the phones of the takes are known."""
    sources: set[str] = set()
    done = 0
    with Progress("Evaluating", total=sum(len(span.kept) for span in spans), unit="frames") as progress:
        for span in spans:
            for count in judge.follow(span, watcher):
                done += count
                progress.set(done)
            if judge.heard is not None and judge.heard.source is not None:
                sources.add(judge.heard.source)
    return sorted(sources)


def _sync_details(trials: SyncTrials | None, settings: EvaluateSettings) -> dict[str, object]:
    """Tell how well the judge of sync knows late sound from true sound on held-out real video, or why not."""
    if trials is not None:
        return {"sync_judge": {"tells_shifts_of_frames": trials.rows["real_video"].told_shifts()}}
    reason = f"less than {LEAST_SECONDS:g} s to learn from" if settings.judge_steps else "not asked for"
    return {"sync_judge": {"missing": reason}}


def _drive_all(
    rows: dict[str, Maker],
    tallies: dict[str, Tally],
    spans: Sequence[Span],
    avatar: Avatar,
    footage: Footage,
    settings: EvaluateSettings,
) -> tuple[dict[str, dict[str, float | None]], dict[str, object]]:
    """Drive the rows with silence and with other takes' sound; return figures by row, and details."""

    def detect() -> LandmarkDetector:
        return LandmarkDetector(enlarge_below=footage.settings.small_face_pixels)

    made = {name: maker for name, maker in rows.items() if name != "real_video"}
    if settings.silent_frames:
        driven.drive_with_silence(made, tallies, spans, frames=settings.silent_frames, detect=detect)
    whole = [Span(take, 0, len(take.times)) for take in footage.takes]
    shown = driven.pieces(spans, max(settings.pairing_frames, driven.LEAST_PAIRED))
    sounds, trained_on = driven.other_sounds(shown, whole) if shown else ([], False)
    pairs = []
    if settings.pairings and sounds:
        pairs = driven.pair_up(shown, sounds, pairings=settings.pairings, frames=settings.pairing_frames)
    figures: dict[str, dict[str, float | None]] = {}
    by_row: dict[str, dict[str, object]] = {name: tally.details() for name, tally in tallies.items()}
    for name, found in driven.drive_with_others(made, pairs, footage.takes, detect=detect).items():
        figures[name], more = driven.leak_figures(found)
        by_row[name] |= more
    return figures, {"rows": by_row, "other_sounds_trained_on": trained_on}


def _costs(
    avatar: Avatar, footage: Footage, engine: Engine, spans: Sequence[Span], settings: EvaluateSettings
) -> tuple[dict[str, float | None], str | None]:
    costs = known_costs(avatar, footage) | {"gflop_per_frame": gflop_per_frame(avatar, engine)}
    if not settings.measure_cost:
        return costs, None
    longest = max(spans, key=lambda span: len(span.times)).take
    speaking = SpeakSettings(device=settings.device, precision=engine.precision)
    measured, trouble = speaking_costs(avatar.folder, longest.folder / "sound.flac", speaking)
    return costs | measured, trouble


def heading(avatar: Avatar, footage: Footage, spans: Sequence[Span], engine: Engine) -> str:
    """Say what was judged, in one line."""
    about = avatar.info
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
        top = _git("rev-parse", "--show-toplevel", folder=here.parent)
        if (Path(top) / "src" / "speech2lip" / "evaluation" / here.name).resolve() == here:
            return _git("describe", "--always", "--dirty", "--exclude=*", folder=here.parent)
    except (OSError, subprocess.SubprocessError):  # no git, or no repository
        pass
    return f"version {__version__}"


def _git(*words: str, folder: Path) -> str:
    found = subprocess.run(
        ["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=10
    )
    return found.stdout.strip()
