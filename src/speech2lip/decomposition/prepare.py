"""Video(s) of one person in, a footage folder out."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

import speech2lip
from speech2lip.config import PrepareSettings, to_plain
from speech2lip.decomposition.faces import check_pick
from speech2lip.decomposition.fitting import fit_poses
from speech2lip.decomposition.footage import (
    FORMAT,
    Footage,
    Take,
    canonical_plain,
    canonical_tensors,
    read_footage,
    read_take,
    unpack_landmarks,
)
from speech2lip.decomposition.landmarks import FACE_OVAL
from speech2lip.decomposition.left_out import find_strangers, reasons_of
from speech2lip.decomposition.settling import settle_canonical
from speech2lip.decomposition.sound_offset import LEAST_OFFSET_MS, SoundOffset, find_offsets
from speech2lip.decomposition.tracking import check_take, source_of, track_take
from speech2lip.errors import FootageError, OutputError, SoundError, Speech2LipError
from speech2lip.progress import Progress
from speech2lip.storage import check_output, output_errors, read_json, write_atomically, write_json

Say = Callable[[str], None]


def prepare(
    takes: Sequence[Path],
    *,
    footage: Path,
    settings: PrepareSettings | None = None,
    report: Path | None = None,
    overwrite: bool = False,
    say: Say = print,
) -> Footage:
    """Prepare takes of one person: landmarks, head poses, canonical space, depth, masks, sound.

    The work is kept take by take: the same call again goes on where it stopped, and does nothing when nothing
    has changed.

    Args:
        takes: videos of one person, each with sound.
        footage: the folder to make (see `footage` for its contents) or to go on with.
        settings: how; the defaults suit a person looking into the camera.
        report: an HTML page to write about the footage: pictures, what was left out and why, advice.
        overwrite: read every take anew, those too that could not be used last time.
        say: where to tell what was found.

    Raises:
        FootageError: a video cannot be used; what was prepared before stays.
        OutputError: the folder or the report cannot be written to.
        SettingsError: a setting makes no sense.
    """
    settings = settings or PrepareSettings()
    check_pick(settings.face)
    if report is not None:
        check_output(report, overwrite=True)
    result = _prepare(takes, footage, settings, overwrite, say)
    if report is not None:
        from speech2lip.decomposition.report import write_report

        write_report(result, report)
        say(f"{report}: what the footage is like")
    return result


def _prepare(
    takes: Sequence[Path], footage: Path, settings: PrepareSettings, overwrite: bool, say: Say
) -> Footage:
    if not takes:
        raise FootageError("no take given; name at least one video of the person")
    named = _name_takes(takes)
    for path in named.values():
        check_take(path)
    _claim_folder(footage)
    began = time.monotonic()
    failed = {} if overwrite else _known_failures(footage, named, settings)
    fresh = [
        name
        for name, path in named.items()
        if overwrite or (name not in failed and not _is_up_to_date(footage / "takes" / name, path, settings))
    ]
    if not fresh and _is_finished(footage, named, settings):
        say(f"{footage} is up to date: {len(named)} takes")
        return read_footage(footage)
    _write_failures(footage, failed)
    (footage / "footage.json").unlink(missing_ok=True)
    failed |= _track_all({name: named[name] for name in fresh}, footage, settings, say)
    _write_failures(footage, failed)
    kept = [name for name in named if name not in failed]
    result = _fit(footage, kept, {name: failed[name]["reason"] for name in failed}, settings, say)
    frames = sum(len(take.times) for take in result.takes)
    seconds = time.monotonic() - began
    if len(fresh) == len(named):  # otherwise the figure would flatter
        plain = read_json(footage / "footage.json")
        write_json(footage / "footage.json", plain | {"prepare_fps": round(frames / seconds, 1)})
    say(f"{footage}: {len(result.takes)} takes, {frames} frames in {seconds:.0f} s")
    return result


def _known_failures(
    footage: Path, named: dict[str, Path], settings: PrepareSettings
) -> dict[str, dict[str, Any]]:
    """Return takes that could not be used last time and have not changed since: {name: reason, source}."""
    path = footage / "takes" / "failed.json"
    known = read_json(path) if path.is_file() else {}
    return {
        name: known[name]
        for name, source in named.items()
        if name in known and known[name].get("source") == source_of(source, settings)
    }


def _write_failures(footage: Path, failed: dict[str, dict[str, Any]]) -> None:
    path = footage / "takes" / "failed.json"
    if failed:
        write_json(path, failed)
    else:
        path.unlink(missing_ok=True)


def _name_takes(takes: Sequence[Path]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for path in sorted(Path(take) for take in takes):
        name, count = path.stem, 2
        while name in named:
            name, count = f"{path.stem}-{count}", count + 1
        named[name] = path
    return named


def _claim_folder(footage: Path) -> None:
    if footage.exists() and not footage.is_dir():
        raise OutputError(f"{footage} is a file; name a folder for the footage")
    strange = footage.is_dir() and any(footage.iterdir()) and not (footage / "takes").is_dir()
    if strange:
        raise OutputError(f"{footage} holds something else; name a new or a footage folder")
    with output_errors(footage):
        (footage / "takes").mkdir(parents=True, exist_ok=True)
        for stale in (footage / "takes").glob(".*.part"):  # left by a run that was killed
            shutil.rmtree(stale)


def _is_up_to_date(folder: Path, path: Path, settings: PrepareSettings) -> bool:
    try:
        return bool(read_json(folder / "take.json").get("source") == source_of(path, settings))
    except Speech2LipError:
        return False


def _is_finished(footage: Path, named: dict[str, Path], settings: PrepareSettings) -> bool:
    try:
        plain = read_json(footage / "footage.json")
    except Speech2LipError:
        return False
    same = plain.get("format") == FORMAT and plain.get("settings") == to_plain(settings)
    return same and set(plain.get("takes", [])) | set(plain.get("left_out_takes", {})) == set(named)


def _track_all(
    fresh: dict[str, Path], footage: Path, settings: PrepareSettings, say: Say
) -> dict[str, dict[str, Any]]:
    """Track takes; one that turns out unusable is told and left out. Returns reason and source, by name."""
    failed: dict[str, dict[str, Any]] = {}
    seconds = {name: _seconds(path) for name, path in fresh.items()}
    with Progress("Finding the face", total=sum(seconds.values()) or 1.0, unit="s of video") as progress:
        for name, path in fresh.items():
            done = progress.done
            show = partial(_show, progress, done, _rate(path))
            try:
                track_take(path, footage / "takes" / name, settings, report=show)
            except (FootageError, SoundError) as error:
                failed[name] = {"reason": str(error), "source": source_of(path, settings)}
                say(f"left out take {name}: {error}")
            progress.set(done + seconds[name])
    return failed


def _show(progress: Progress, before: float, fps: float, frames: int) -> None:
    progress.set(before + frames / fps)


def _seconds(path: Path) -> float:
    from speech2lip.media.video import probe_video

    return float(probe_video(path).seconds or 0.0)


def _rate(path: Path) -> float:
    from speech2lip.media.video import probe_video

    return max(float(probe_video(path).fps), 1.0)


def _fit(
    footage: Path, names: Sequence[str], failed: dict[str, str], settings: PrepareSettings, say: Say
) -> Footage:
    """Second pass: who it is, head poses over all takes, then the canonical space."""
    raw = {name: _read_raw(footage / "takes" / name) for name in names}
    _require_face(raw, failed, settings)
    usable = {name: track for name, track in raw.items() if track["seen"].any()}
    for name in raw.keys() - usable.keys():
        say(f"left out take {name}: no face in any frame")
    strangers = find_strangers(usable)
    shape, poses = _fit_shots(usable, strangers, settings)
    left_out = reasons_of(usable, strangers, poses, settings)
    for name in usable:
        with write_atomically(footage / "takes" / name / "poses.safetensors") as path:
            save_file({"camera_from_head": poses[name], "left_out": left_out[name]}, path)
    takes = [read_take(footage / "takes" / name, settings) for name in usable]
    _require_seconds(takes, settings)
    offsets = _sound_offsets(takes, say)
    canonical = settle_canonical(takes, shape, {n: t["sharpness"] for n, t in usable.items()}, settings)
    with write_atomically(footage / "canonical.safetensors") as path:
        save_file(canonical_tensors(canonical), path)
    faceless = {name: "no face in any frame" for name in sorted(raw.keys() - usable.keys())}
    write_json(
        footage / "footage.json",
        {
            "format": FORMAT,
            "version": speech2lip.__version__,
            "settings": to_plain(settings),
            "takes": [take.name for take in takes],
            "left_out_takes": faceless | failed,
            "left_out_frames": {take.name: take.left_out_counts() for take in takes if take.left_out.any()},
            "shots": {take.name: len(take.cuts) + 1 for take in takes if len(take.cuts)},
            "people": {name: track["people"] for name, track in usable.items() if track["people"] > 1},
            "sound_offsets": {name: offset.to_plain() for name, offset in offsets.items()},
            "canonical": canonical_plain(canonical),
        },
    )
    _tell_left_out(takes, say)
    return read_footage(footage)


def _read_raw(folder: Path) -> dict[str, Any]:
    plain = read_json(folder / "take.json")
    track: dict[str, Any] = dict(load_file(folder / "track.safetensors"))
    track["landmarks"] = unpack_landmarks(track["landmarks"], plain)
    track["seen"] = ~np.isnan(track["landmarks"][:, 0, 0])
    track["people"] = plain.get("people", 1)
    return track | {key: plain[key] for key in ("width", "height", "fps")}


def _fit_shots(
    tracks: dict[str, dict[str, Any]], strangers: dict[str, NDArray[np.bool_]], settings: PrepareSettings
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Fit the rigid face and all head poses; what is smoothed over time is never smoothed across a cut.

    Frames of shots without the person take the pose of the nearest frame in time that has one.
    """
    parts: dict[str, dict[str, Any]] = {}
    places: dict[str, tuple[str, NDArray[np.intp]]] = {}
    for name, track in tracks.items():
        for number in np.unique(track["shot"]):
            frames = np.flatnonzero(track["shot"] == number)
            seen = track["seen"][frames] & ~strangers[name][frames]
            if seen.any():
                key = f"{name}/{number}"
                kept = {"landmarks": track["landmarks"][frames], "seen": seen}
                parts[key] = track | kept
                places[key] = (name, frames)
    shape, found = fit_poses(parts, settings)
    poses = {name: np.full((len(track["seen"]), 4, 4), np.nan) for name, track in tracks.items()}
    for key, (name, frames) in places.items():
        poses[name][frames] = found[key]
    usual = next(iter(found.values()))[0]
    return shape, {name: _filled(every, usual) for name, every in poses.items()}


def _filled(poses: NDArray[np.float64], usual: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give frames without a head pose that of the nearest frame with one, or the usual one."""
    known = np.flatnonzero(np.isfinite(poses[:, 0, 0]))
    if not len(known):
        return np.broadcast_to(usual, poses.shape).copy()
    frames = np.arange(len(poses))
    nearest: NDArray[np.float64] = poses[known[np.abs(frames[:, None] - known[None]).argmin(1)]]
    return nearest


def _sound_offsets(takes: Sequence[Take], say: Say) -> dict[str, SoundOffset]:
    """Find how late the sound of each take is, and tell."""
    openings = {t.name: np.where(t.left_out == 0, t.opening, np.float32(np.nan)) for t in takes}
    offsets = find_offsets(openings, {t.name: t.wave() for t in takes}, {t.name: t.times for t in takes})
    put_right = [o.milliseconds for o in offsets.values() if o.corrected and o.milliseconds is not None]
    doubtful = [
        o
        for o in offsets.values()
        if not o.corrected and o.milliseconds is not None and abs(o.milliseconds) >= LEAST_OFFSET_MS
    ]
    if put_right:
        say(
            f"the sound is about {np.median(put_right):+.0f} ms late in {len(put_right)} of {len(takes)} "
            "takes; it is put right"
        )
    if doubtful:
        say(
            f"the sound may be {doubtful[0].milliseconds:+.0f} ms late in {len(doubtful)} takes, not sure "
            "enough to put it right: look at one where the lips close on p, b or m"
        )
    return offsets


def _require_face(raw: dict[str, dict[str, Any]], failed: dict[str, str], settings: PrepareSettings) -> None:
    if not raw:
        raise FootageError(f"none of the takes can be used; the first: {next(iter(failed.values()))}")
    seconds = sum(float(track["seen"].sum()) / float(Fraction(track["fps"])) for track in raw.values())
    if seconds < settings.min_face_seconds:
        raise FootageError(
            f"a face is seen for {seconds:.1f} s in all takes together; at least "
            f"{settings.min_face_seconds:g} s are needed: record the person looking into the camera"
        )
    widths = np.concatenate(
        [np.ptp(t["landmarks"][t["seen"]][:, FACE_OVAL, 0], axis=1) for t in raw.values()]
    )
    if np.median(widths) < settings.min_face_pixels:
        raise FootageError(
            f"the face is {np.median(widths):.0f} px wide; at least {settings.min_face_pixels} px are "
            "needed, 256 are better: record closer or in a higher resolution"
        )


def _require_seconds(takes: Sequence[Take], settings: PrepareSettings) -> None:
    seconds = sum(float((take.left_out == 0).sum()) / float(take.fps) for take in takes)
    if seconds < settings.min_face_seconds:
        raise FootageError(
            f"only {seconds:.1f} s of the footage can be trained on, at least "
            f"{settings.min_face_seconds:g} s are needed; left out: {_counts_line(takes)}"
        )


def _counts_line(takes: Sequence[Take]) -> str:
    total: dict[str, int] = {}
    for take in takes:
        for reason, count in take.left_out_counts().items():
            total[reason] = total.get(reason, 0) + count
    return ", ".join(f"{count} {reason}" for reason, count in total.items()) or "none"


def _tell_left_out(takes: Sequence[Take], say: Say) -> None:
    frames = sum(len(take.times) for take in takes)
    left = sum(int((take.left_out > 0).sum()) for take in takes)
    say(f"{frames - left} of {frames} frames can be trained on; left out: {_counts_line(takes)}")
