"""Second pass, over all takes together: who it is, head poses, sound offsets, the canonical space."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import speech2lip
from speech2lip.atomic import output_errors, save_tensors, write_json
from speech2lip.config import PrepareSettings, to_plain
from speech2lip.conventions import Array
from speech2lip.decomposition.av_offset import LEAST_OFFSET_MS, SoundOffset, find_offsets
from speech2lip.decomposition.canonical import Canonical, canonical_camera, named_frame, rest_scores
from speech2lip.decomposition.depth import Views, head_depth, learn_depth
from speech2lip.decomposition.footage import (
    FORMAT,
    Take,
    canonical_plain,
    canonical_tensors,
    read_take,
    read_track,
)
from speech2lip.decomposition.head_pose import fit_poses
from speech2lip.decomposition.photometric.refine import agree, refine_takes
from speech2lip.decomposition.regions import eye_distance, fill_polygon, jaw_mask, jaw_outline, lip_patch
from speech2lip.decomposition.sampled_frames import Sample, Space, sample_frames
from speech2lip.decomposition.staging import Staging
from speech2lip.decomposition.tracking.landmarks import LandmarkRows, chosen_points
from speech2lip.decomposition.tracking.rejection import find_other_people, reasons_of
from speech2lip.errors import FootageError, SettingsError
from speech2lip.faces.landmarks import FACE_OVAL, eye_opening
from speech2lip.geometry.mapping import look_up, observed_from_canonical_points, pixel_centres
from speech2lip.progress import Progress

_LOG = logging.getLogger(__name__)


def fit_takes(
    staging: Staging, names: Sequence[str], failed: dict[str, str], settings: PrepareSettings
) -> int:
    """Fit what all takes share, and stage it; return the number of frames.

    Args:
        staging: of the footage, where every take of `names` has been tracked.
        failed: why other takes could not be used, by name.
        settings: how.

    Raises:
        FootageError: there is too little of a face.
    """
    staging.begin_fit()
    raw = {name: _read_raw(staging.track(name)) for name in names}
    _require_face(raw, failed, settings)
    usable = {name: track for name, track in raw.items() if track["seen"].any()}
    for name in raw.keys() - usable.keys():
        _LOG.info(f"left out take {name}: no face in any frame")
    strangers = find_other_people(usable)
    shape, poses = _fit_shots(usable, strangers, settings)
    left_out = reasons_of(usable, strangers, poses, settings)
    for name in usable:
        _stage_poses(staging, name, poses[name], left_out[name])
    takes = [
        read_take(staging.track(name), settings, poses=staging.take(name) / "poses.safetensors")
        for name in usable
    ]
    _require_seconds(takes, settings)
    offsets = _sound_offsets(takes)
    settled = fit_canonical(takes, shape, {n: t["sharpness"] for n, t in usable.items()}, settings)
    canonical = settled.canonical
    _LOG.info(
        f"canonical frame: {canonical.frame_index} of take {canonical.take}, score {settled.score:.2f} "
        f"(0 at best; the best frame has {settled.best_score:.2f})"
    )
    if settings.photometric:
        _keep_poses(staging, settled)
    save_tensors(staging.folder / "canonical.safetensors", canonical_tensors(canonical))
    faceless = {name: "no face in any frame" for name in sorted(raw.keys() - usable.keys())}
    write_json(
        staging.folder / "footage.json",
        {
            "format": FORMAT,
            "version": speech2lip.__version__,
            "settings": to_plain(settings),
            "focal": round(settled.takes[0].focal, 4),
            "refined_share": settled.refined,
            "takes": [take.name for take in takes],
            "left_out_takes": faceless | failed,
            "left_out_frames": {take.name: take.left_out_counts() for take in takes if take.left_out.any()},
            "shots": {take.name: len(take.cuts) + 1 for take in takes if len(take.cuts)},
            "people": {name: track["people"] for name, track in usable.items() if track["people"] > 1},
            "sound_offsets": {name: offset.to_plain() for name, offset in offsets.items()},
            "canonical": canonical_plain(canonical) | {"score": round(settled.score, 3)},
        },
    )
    _tell_left_out(takes)
    return sum(len(take.times) for take in takes)


def _stage_poses(
    staging: Staging, name: str, poses: NDArray[np.float64], left_out: NDArray[np.uint8]
) -> None:
    with output_errors(staging.folder):
        staging.take(name).mkdir(exist_ok=True)
    path = staging.take(name) / "poses.safetensors"
    tensors: dict[str, NDArray[Any]] = {"camera_from_head": poses, "left_out": left_out}
    save_tensors(path, tensors)


def _keep_poses(staging: Staging, settled: CanonicalFit) -> None:
    """Write the head poses that were refined, and tell."""
    if settled.refined is None:
        _LOG.info("head poses are the landmarks': the frames did not show them better")
        return
    for take in settled.takes:
        _stage_poses(staging, take.name, take.camera_from_head, take.left_out)
    _LOG.info(
        f"head poses refined against the canonical picture in {settled.refined:.1%} of the frames; focal "
        f"length {settled.takes[0].focal:.2f} times the longer side"
    )


def _read_raw(folder: Path) -> dict[str, Any]:
    info, track = read_track(folder, whole=True)
    track["seen"] = ~np.isnan(track["landmarks"][:, 0, 0])
    return track | {"width": info.width, "height": info.height, "fps": info.fps, "people": info.people}


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
                kept = {"landmarks": LandmarkRows(track["landmarks"], frames), "seen": seen}
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
    after = np.clip(np.searchsorted(known, frames), 1, max(1, len(known) - 1))
    before, after = known[after - 1], known[np.minimum(after, len(known) - 1)]
    nearest: NDArray[np.float64] = poses[np.where(frames - before <= after - frames, before, after)]
    return nearest


def _sound_offsets(takes: Sequence[Take]) -> dict[str, SoundOffset]:
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
        _LOG.info(
            f"the sound is about {np.median(put_right):+.0f} ms late in {len(put_right)} of {len(takes)} "
            "takes; it is put right"
        )
    if doubtful:
        _LOG.info(
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
    outlines = [chosen_points(t["landmarks"], np.flatnonzero(t["seen"]), FACE_OVAL) for t in raw.values()]
    widths = np.concatenate([np.ptp(outline[..., 0], axis=1) for outline in outlines])
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


def _tell_left_out(takes: Sequence[Take]) -> None:
    frames = sum(len(take.times) for take in takes)
    left = sum(int((take.left_out > 0).sum()) for take in takes)
    _LOG.info(f"{frames - left} of {frames} frames can be trained on; left out: {_counts_line(takes)}")


_DEPTH_FRAMES = 64
"""Frames that the depth is learned from."""


@dataclass(frozen=True)
class CanonicalFit:
    """The canonical space, and what was learned of the takes on the way."""

    canonical: Canonical
    takes: list[Take]
    """With the head poses and the focal length that the canonical picture asks for."""
    refined: float | None
    """Share of the frames to train on whose head pose the canonical picture confirmed; None where it was not
    asked.
    """
    score: float
    """Of the canonical frame, by `rest_scores`."""
    best_score: float
    """The best that any frame has."""


def fit_canonical(
    takes: Sequence[Take],
    shape: Array,
    sharpness: Mapping[str, NDArray[np.float32]],
    settings: PrepareSettings,
) -> CanonicalFit:
    """Choose the canonical frame, learn the head's depth there, refine all head poses against its picture.

    What moves with the mouth is found on the way.
    """
    take, index, score, best_score = choose_frame(takes, sharpness, wanted=settings.canonical_frame)
    k, size = canonical_camera(
        shape, take.camera_from_head[index], take.k, canvas_pixels=settings.canvas_pixels
    )
    scale = k[0, 0] / take.k[0, 0]
    space = Space(shape, take.camera_from_head[index], k, size)
    sample = sample_frames(takes, scale, count=_DEPTH_FRAMES, home=(take.name, index))
    initial = head_depth(space.points_3d, size)
    agreed = agree(takes, space, sample, initial, settings) if settings.photometric else None
    refined = None
    if agreed is not None:
        takes, space, initial = agreed.takes, agreed.space, agreed.depth
    depth, mean = _learned(takes, space, sample, initial, 0 if agreed is not None else settings.depth_steps)
    if agreed is not None:
        takes, refined = refine_takes(agreed, as_picture(mean))
        depth, mean = _learned(takes, space, sample, depth.numpy(), 0)
    points = space.points_3d[:, :2]
    patch = lip_patch(points, pixels_per_canonical=settings.patch_detail / scale, width=settings.patch_width)
    k_canonical = torch.from_numpy(space.k).float()
    motion = motion_map(
        sample.frames, sample.transforms(takes, space.pose), sample.cameras(takes), depth, k_canonical, mean
    )
    canonical = Canonical(
        take=take.name,
        frame_index=index,
        k=space.k,
        camera_from_head=space.pose,
        size=size,
        shape=space.shape,
        depth=depth.numpy(),
        picture=as_picture(mean),
        motion=motion.numpy(),
        patch=patch,
        jaw_mask=jaw_mask(points, patch, mouth_motion(motion, points, patch.points())),
    )
    return CanonicalFit(canonical, list(takes), refined, score, best_score)


def _learned(
    takes: Sequence[Take], space: Space, sample: Sample, initial: NDArray[np.float32], steps: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Learn the depth in so many steps; it and the mean of the frames in canonical space."""
    trusted = ~fill_polygon(jaw_outline(space.points_3d[:, :2]), pixel_centres(*space.size).numpy())
    with Progress("Learning depth", total=max(steps, 1)) as progress:
        views = Views(
            sample.frames,
            sample.transforms(takes, space.pose),
            torch.from_numpy(space.k).float(),
            sample.cameras(takes),
            torch.from_numpy(trusted).float(),
        )
        return learn_depth(torch.from_numpy(initial), views, steps=steps, report=progress.set)


def as_picture(mean: torch.Tensor) -> NDArray[np.uint8]:
    """Return a picture [3, H, W] in [0, 1] as [H, W, 3]."""
    picture: NDArray[np.uint8] = (mean.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    return picture


def choose_frame(
    takes: Sequence[Take], sharpness: Mapping[str, NDArray[np.float32]], *, wanted: str = ""
) -> tuple[Take, int, float, float]:
    """Choose the canonical frame: the best `rest_scores` among frames not left out, or the wanted one.

    Returns:
        The take, the frame's index, its score and the best score.

    Raises:
        SettingsError: the wanted frame is not among those.
    """
    places = [(take, int(i)) for take in takes for i in np.flatnonzero(take.left_out == 0)]
    kept = [take.left_out == 0 for take in takes]
    scores = rest_scores(
        np.concatenate([take.camera_from_head[k] for take, k in zip(takes, kept, strict=True)]),
        np.concatenate([take.opening[k] for take, k in zip(takes, kept, strict=True)]),
        np.concatenate([eye_opening(take.landmarks[k]) for take, k in zip(takes, kept, strict=True)]),
        np.concatenate([sharpness[take.name][k] for take, k in zip(takes, kept, strict=True)]),
    )
    chosen, named = int(scores.argmax()), named_frame(wanted)
    if named is not None:
        names = [(take.name, index) for take, index in places]
        if named not in names:
            raise SettingsError(
                f"canonical_frame {wanted!r} is no frame that can be trained on; name one of the takes "
                f"{', '.join(take.name for take in takes[:3])} ... and a frame that is not left out"
            )
        chosen = names.index(named)
    return *places[chosen], float(scores[chosen]), float(scores.max())


def motion_map(
    frames: torch.Tensor,
    observed_from_canonical: torch.Tensor,
    k_observed: torch.Tensor,
    depth: torch.Tensor,
    k_canonical: torch.Tensor,
    mean: torch.Tensor,
) -> torch.Tensor:
    """Return the mean absolute deviation from the mean canonical picture; [H, W] in grey levels."""
    points = pixel_centres(*depth.shape).reshape(1, -1, 2)
    total = torch.zeros(depth.shape)
    for n in range(len(frames)):
        where = observed_from_canonical_points(
            points, depth, observed_from_canonical[n : n + 1], k_canonical, k_observed[n : n + 1]
        )
        picture = look_up(frames[n : n + 1], where).reshape(3, *depth.shape)
        gain = picture.mean((1, 2), keepdim=True) / mean.mean((1, 2), keepdim=True)
        total += (picture / gain - mean).abs().mean(0)
    return total / len(frames) * 255


def mouth_motion(motion: torch.Tensor, points: Array, where: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how much each place of the patch moves with the lips; 0.5 is twice as much as the still face."""
    still = float(np.median(_at(motion, points[[6, 197, 151, 9, 117, 346]])))
    unit = eye_distance(points)
    moving = np.clip(_at(motion, where.reshape(-1, 2)) / max(still, 1.0) / 4, 0, 1).reshape(where.shape[:2])
    # Hair, hands and background move too: only what lies on the face around the mouth can be the jaw.
    face = fill_polygon(_grown(points[list(FACE_OVAL)], -0.08 * unit), where)
    inside = fill_polygon(_grown(jaw_outline(points), 0.08 * unit), where) & face
    result: NDArray[np.float32] = (moving * inside).astype(np.float32)
    return result


def _grown(outline: Array, pixels: float) -> Array:
    centre = outline.mean(0)
    away = outline - centre
    grown: Array = outline + away / np.linalg.norm(away, axis=1, keepdims=True) * pixels
    return grown


def _at(picture: torch.Tensor, points: NDArray[Any]) -> NDArray[np.float32]:
    found = look_up(picture[None, None], torch.from_numpy(np.asarray(points, np.float32))[None])
    values: NDArray[np.float32] = found[0, 0].numpy()
    return values
