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
from speech2lip.decomposition.fitting import fit_poses
from speech2lip.decomposition.footage import (
    FORMAT,
    REASONS,
    Footage,
    Take,
    canonical_plain,
    canonical_tensors,
    read_footage,
    read_take,
    unpack_landmarks,
)
from speech2lip.decomposition.landmarks import FACE_OVAL
from speech2lip.decomposition.settling import settle_canonical
from speech2lip.decomposition.tracking import check_take, source_of, track_take
from speech2lip.errors import FootageError, OutputError, Speech2LipError
from speech2lip.progress import Progress
from speech2lip.storage import output_errors, read_json, write_atomically, write_json

Say = Callable[[str], None]


def prepare(
    takes: Sequence[Path], *, footage: Path, settings: PrepareSettings | None = None, say: Say = print
) -> Footage:
    """Prepare takes of one person: landmarks, head poses, canonical space, depth, masks, sound.

    The work is kept take by take: the same call again goes on where it stopped, and does nothing when nothing
    has changed.

    Args:
        takes: videos of one person, each with sound.
        footage: the folder to make (see `footage` for its contents) or to go on with.
        settings: how; the defaults suit a person looking into the camera.
        say: where to tell what was found.

    Raises:
        FootageError: a video cannot be used; what was prepared before stays.
        OutputError: the folder cannot be written to.
    """
    settings = settings or PrepareSettings()
    if not takes:
        raise FootageError("no take given; name at least one video of the person")
    named = _name_takes(takes)
    for path in named.values():
        check_take(path)
    _claim_folder(footage)
    began = time.monotonic()
    fresh = [
        name for name, path in named.items() if not _is_up_to_date(footage / "takes" / name, path, settings)
    ]
    if not fresh and _is_finished(footage, named, settings):
        say(f"{footage} is up to date: {len(named)} takes")
        return read_footage(footage)
    (footage / "footage.json").unlink(missing_ok=True)
    left = _track_all({name: named[name] for name in fresh}, footage, settings, say)
    kept = [name for name in named if name not in left]
    result = _fit(footage, kept, settings, say)
    frames = sum(len(take.times) for take in result.takes)
    seconds = time.monotonic() - began
    if len(fresh) == len(named):  # otherwise the figure would flatter
        plain = read_json(footage / "footage.json")
        write_json(footage / "footage.json", plain | {"prepare_fps": round(frames / seconds, 1)})
    say(f"{footage}: {len(kept)} takes, {frames} frames in {seconds:.0f} s")
    return result


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


def _track_all(fresh: dict[str, Path], footage: Path, settings: PrepareSettings, say: Say) -> dict[str, str]:
    """Track takes; one that turns out unusable is told and left out. Returns why, by name."""
    left: dict[str, str] = {}
    seconds = {name: _seconds(path) for name, path in fresh.items()}
    with Progress("Finding the face", total=sum(seconds.values()) or 1.0, unit="s of video") as progress:
        for name, path in fresh.items():
            done = progress.done
            fps = _rate(path)
            try:
                track_take(
                    path, footage / "takes" / name, settings, report=partial(_show, progress, done, fps)
                )
            except FootageError as error:
                left[name] = str(error)
                say(f"left out take {name}: {error}")
            progress.set(done + seconds[name])
    return left


def _show(progress: Progress, before: float, fps: float, frames: int) -> None:
    progress.set(before + frames / fps)


def _seconds(path: Path) -> float:
    from speech2lip.media.video import probe_video

    return float(probe_video(path).seconds or 0.0)


def _rate(path: Path) -> float:
    from speech2lip.media.video import probe_video

    return max(float(probe_video(path).fps), 1.0)


def _fit(footage: Path, names: Sequence[str], settings: PrepareSettings, say: Say) -> Footage:
    """Second pass: head poses over all takes, then the canonical space."""
    raw = {name: _read_raw(footage / "takes" / name) for name in names}
    _require_face(raw, settings)
    usable = {name: track for name, track in raw.items() if track["seen"].any()}
    for name in raw.keys() - usable.keys():
        say(f"left out take {name}: no face in any frame")
    shape, poses = fit_poses(usable, settings)
    left_out = {name: _reasons(track, usable, settings) for name, track in usable.items()}
    takes = []
    for name in usable:
        with write_atomically(footage / "takes" / name / "poses.safetensors") as path:
            save_file({"camera_from_head": poses[name], "left_out": left_out[name]}, path)
        takes.append(read_take(footage / "takes" / name, settings))
    _require_seconds(takes, settings)
    canonical = settle_canonical(takes, shape, {n: t["sharpness"] for n, t in usable.items()}, settings)
    with write_atomically(footage / "canonical.safetensors") as path:
        save_file(canonical_tensors(canonical), path)
    write_json(
        footage / "footage.json",
        {
            "format": FORMAT,
            "version": speech2lip.__version__,
            "settings": to_plain(settings),
            "takes": [take.name for take in takes],
            "left_out_takes": {name: "no face in any frame" for name in sorted(raw.keys() - usable.keys())},
            "left_out_frames": {take.name: take.left_out_counts() for take in takes if take.left_out.any()},
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
    return track | {key: plain[key] for key in ("width", "height", "fps")}


def _require_face(raw: dict[str, dict[str, Any]], settings: PrepareSettings) -> None:
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


def _reasons(
    track: dict[str, Any], tracks: dict[str, dict[str, Any]], settings: PrepareSettings
) -> NDArray[np.uint8]:
    """Tell for each frame of a take why it is left out of training (index into REASONS, 0: kept)."""
    centre = _usual_light(track, tracks, settings)
    reasons = np.zeros(len(track["times"]), np.uint8)
    reasons[~track["seen"]] = REASONS.index("no face")
    points = track["landmarks"][..., :2]
    with np.errstate(invalid="ignore"):
        outside = ((points < 0) | (points > [track["width"], track["height"]])).any(-1).mean(1) > 0.02
        colours = np.abs(track["light"] - centre).max(1) > settings.broken_colour_levels
        small = np.ptp(points[:, FACE_OVAL, 0], axis=1) < settings.min_face_pixels
    for flags, reason in (
        (small, "face too small"),
        (outside, "face cut by the border"),
        (colours, "broken colours"),
    ):
        reasons[track["seen"] & flags] = REASONS.index(reason)
    return reasons


def _usual_light(
    track: dict[str, Any], tracks: dict[str, dict[str, Any]], settings: PrepareSettings
) -> NDArray[np.float32]:
    """Return the skin colour that a take's frames are held against: its own median.

    Takes may differ in light. But where there are many takes and fewer than a tenth of all frames look like
    this one,
    it is the take that is broken, and all are held against the median of all.
    """
    own: NDArray[np.float32] = np.median(track["light"][track["seen"]], axis=0)
    every = np.concatenate([t["light"][t["seen"]] for t in tracks.values()])
    alike = (np.abs(every - own).max(1) <= settings.broken_colour_levels).mean()
    if len(tracks) >= 10 and alike < 0.1:
        usual: NDArray[np.float32] = np.median(every, axis=0)
        return usual
    return own


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
