"""Video(s) of one person in, a footage folder out."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from speech2lip.atomic import locked, output_errors, read_json, write_json
from speech2lip.checks import Unfit, parse
from speech2lip.config import PrepareSettings
from speech2lip.conventions import AnyPath
from speech2lip.decomposition.canonical import named_frame
from speech2lip.decomposition.fit import fit_takes
from speech2lip.decomposition.footage import Footage, read_footage, read_track
from speech2lip.decomposition.staging import Staging, claim_folder
from speech2lip.decomposition.tracking.faces import check_pick
from speech2lip.decomposition.tracking.take import check_take, source_of, track_take
from speech2lip.errors import FootageError, OutputError, SoundError, Speech2LipError
from speech2lip.formats import FOOTAGE, SourceInfo
from speech2lip.media.video import probe_video
from speech2lip.progress import Progress

_LOG = logging.getLogger(__name__)

_SUFFIXES = frozenset(
    {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv"}
)
"""What counts as a video in a folder of takes."""


def prepare(
    takes: Sequence[AnyPath],
    *,
    footage: AnyPath,
    settings: PrepareSettings | None = None,
    report: AnyPath | None = None,
    overwrite: bool = False,
) -> Footage:
    """Prepare takes of one person: landmarks, head poses, canonical space, depth, masks, sound.

    The work is kept take by take: the same call again goes on where it stopped, and does nothing when nothing
    has changed. Footage that was good before stays as it is until the new one is complete.

    Args:
        takes: videos of one person, each with sound; a folder stands for all videos in it.
        footage: the folder to make (see `footage` for its contents) or to go on with.
        settings: how; the defaults suit a person looking into the camera.
        report: an HTML page to write about the footage: pictures, what was left out and why, advice; only
            such a page is overwritten.
        overwrite: read every take anew, those too that could not be used last time.

    Raises:
        FootageError: a video cannot be used; what was prepared before stays.
        OutputError: the folder or the report cannot be written to, holds something else, or another process
            works on it.
        SettingsError: a setting makes no sense.
    """
    footage, report = Path(footage), None if report is None else Path(report)
    settings = settings or PrepareSettings()
    check_pick(settings.face)
    named_frame(settings.canonical_frame)
    if report is not None:
        from speech2lip.report.footage_page import check_report, write_report

        check_report(report)
    if not takes:
        raise FootageError("no take given; name at least one video of the person")
    named = _name_takes(_videos_of([Path(take) for take in takes]))
    for path in named.values():
        check_take(path)
        if footage.is_dir() and path.resolve().is_relative_to(footage.resolve()):
            raise OutputError(f"{path} lies in {footage}, which preparing changes; move the videos elsewhere")
    FOOTAGE.refuse_newer(footage)
    claim_folder(footage)
    with locked(footage):
        result = _prepare(named, Staging(footage), settings, overwrite)
    if report is not None:
        write_report(result, report)
        _LOG.info(f"{report}: what the footage is like")
    return result


def _prepare(named: dict[str, Path], staging: Staging, settings: PrepareSettings, overwrite: bool) -> Footage:
    footage = staging.footage
    began = time.monotonic()
    failed = {} if overwrite else _known_failures(footage, named, settings)
    fresh = {
        name: path
        for name, path in named.items()
        if overwrite or (name not in failed and not _is_up_to_date(staging.track(name), path, settings))
    }
    known = None if fresh else _finished(footage, named, settings)
    if known is not None:
        _LOG.info(f"{footage} is up to date: {len(named)} takes")
        staging.remove_if_empty()
        return known
    staging.check(fresh)
    failed |= _track_all(fresh, staging, settings)
    _write_failures(footage, failed)
    kept = [name for name in named if name not in failed]
    reasons = {name: failure.reason for name, failure in failed.items()}
    whole = len(fresh) == len(named)  # otherwise the figure of frames a second would flatter
    fit_takes(staging, kept, reasons, settings, began=began if whole else None)
    staging.finish()
    result = read_footage(footage)
    frames = sum(len(take.times) for take in result.takes)
    _LOG.info(f"{footage}: {len(result.takes)} takes, {frames} frames in {time.monotonic() - began:.0f} s")
    return result


@dataclass(frozen=True)
class _Failure:
    """Why a take cannot be used, and what it was read from."""

    reason: str
    source: SourceInfo


def _known_failures(footage: Path, named: dict[str, Path], settings: PrepareSettings) -> dict[str, _Failure]:
    """Return takes that could not be used last time and have not changed since."""
    path = footage / "takes" / "failed.json"
    try:
        plain = read_json(path) if path.is_file() else {}
        known = {name: parse(_Failure, plain[name]) for name in named if name in plain}
    except (Speech2LipError, Unfit):  # then they are tried once more
        return {}
    return {name: one for name, one in known.items() if one.source == source_of(named[name], settings)}


def _write_failures(footage: Path, failed: dict[str, _Failure]) -> None:
    path = footage / "takes" / "failed.json"
    if failed:
        with output_errors(path):
            path.parent.mkdir(exist_ok=True)
        write_json(path, {name: asdict(failure) for name, failure in failed.items()})
    else:
        path.unlink(missing_ok=True)


def _videos_of(takes: Sequence[Path]) -> list[Path]:
    """Put the videos of a folder in its place; what else is in it is counted."""
    videos: list[Path] = []
    for take in takes:
        if not take.is_dir():
            videos.append(take)
            continue
        files = [path for path in sorted(take.iterdir()) if path.is_file() and not path.name.startswith(".")]
        found = [path for path in files if path.suffix.lower() in _SUFFIXES]
        if not found:
            raise FootageError(f"{take} has no video in it ({', '.join(sorted(_SUFFIXES))}); name the files")
        others = len(files) - len(found)
        _LOG.info(f"{take}: {len(found)} videos" + (f"; other files left alone: {others}" if others else ""))
        videos += found
    return videos


def _name_takes(takes: Sequence[Path]) -> dict[str, Path]:
    """Name takes after their files; names differ in more than case, which some file systems do not see."""
    named: dict[str, Path] = {}
    taken = {"failed.json"}
    for path in sorted(takes):
        stem = path.stem.lstrip(".") or "take"
        name, count = stem, 2
        while name.casefold() in taken:
            name, count = f"{stem}-{count}", count + 1
        taken.add(name.casefold())
        named[name] = path
    return named


def _is_up_to_date(folder: Path, path: Path, settings: PrepareSettings) -> bool:
    """Tell whether a take was read from this file with these settings, and what was read is whole."""
    try:
        return read_track(folder).info.source == source_of(path, settings)
    except Speech2LipError:
        return False


def _finished(footage: Path, named: dict[str, Path], settings: PrepareSettings) -> Footage | None:
    """Return the footage where it is that of these takes and settings, and whole."""
    try:
        found = read_footage(footage)
    except Speech2LipError:
        return None
    same = found.info.settings == settings and {*found.info.takes, *found.info.rejected_takes} == set(named)
    return found if same else None


def _track_all(fresh: dict[str, Path], staging: Staging, settings: PrepareSettings) -> dict[str, _Failure]:
    """Track takes; one that turns out unusable is told and left out: returned, by name."""
    failed: dict[str, _Failure] = {}
    videos = {name: probe_video(path) for name, path in fresh.items()}
    seconds = {name: video.seconds or 0.0 for name, video in videos.items()}
    with Progress("Finding the face", total=sum(seconds.values()) or 1.0, unit="s of video") as progress:
        for name, path in fresh.items():
            done, rate = progress.done, max(float(videos[name].fps), 1.0)
            try:
                track_take(path, staging.take(name), settings, report=partial(progress.advance, 1 / rate))
            except (FootageError, SoundError) as error:
                failed[name] = _Failure(str(error), source_of(path, settings))
                _LOG.info(f"left out take {name}: {error}")
            progress.set(done + seconds[name])
    return failed
