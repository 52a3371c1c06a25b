"""Second pass, over all takes together: who it is, head poses, sound offsets, the canonical space."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import speech2lip
from speech2lip.arrays import Array
from speech2lip.atomic import output_errors, save_tensors, write_json
from speech2lip.checks import to_plain
from speech2lip.config import PrepareSettings
from speech2lip.decomposition.av_offset import LEAST_OFFSET_MS, find_offsets
from speech2lip.decomposition.canonical import (
    Canonical,
    Space,
    canonical_camera,
    eye_distance,
    fill_polygon,
    head_depth,
    jaw_mask,
    jaw_outline,
    lip_patch,
    named_frame,
    rest_scores,
)
from speech2lip.decomposition.footage import (
    Take,
    Track,
    canonical_plain,
    canonical_tensors,
    read_track,
)
from speech2lip.decomposition.head_pose import fit_poses
from speech2lip.decomposition.photometric.align import align_takes
from speech2lip.decomposition.photometric.refine import refine_takes
from speech2lip.decomposition.sampled_frames import as_picture, sample_frames
from speech2lip.decomposition.staging import Staging
from speech2lip.decomposition.tracking.landmarks import chosen_points
from speech2lip.decomposition.tracking.rejection import find_other_people, reject_frames
from speech2lip.errors import FootageError, SettingsError
from speech2lip.faces.landmarks import FACE_OVAL, eye_opening
from speech2lip.formats import CanonicalInfo, FootageInfo, SoundOffset
from speech2lip.geometry.mapping import sample_array

_LOG = logging.getLogger(__name__)


def fit_takes(
    staging: Staging,
    names: Sequence[str],
    failed: dict[str, str],
    settings: PrepareSettings,
    *,
    began: float | None = None,
) -> None:
    """Fit what all takes share, and stage it.

    Args:
        staging: of the footage, where every take of `names` has been tracked.
        failed: why other takes could not be used, by name.
        settings: how.
        began: when preparing began, if every take was read anew.

    Raises:
        FootageError: there is too little of a face.
    """
    staging.begin_fit()
    every = {name: read_track(staging.track(name)) for name in names}
    _require_face(every, failed, settings)
    tracks = {name: track for name, track in every.items() if track.seen.any()}
    faceless = dict.fromkeys(sorted(every.keys() - tracks.keys()), "no face in any frame")
    for name, reason in faceless.items():
        _LOG.info(f"left out take {name}: {reason}")
    others = find_other_people(tracks)
    person = {name: track.seen & ~others[name] for name, track in tracks.items()}
    shape, poses = fit_poses(tracks, person, settings)
    rejected = reject_frames(tracks, others, poses, settings)
    takes = [Take.of(track, poses[name], rejected[name], settings.focal) for name, track in tracks.items()]
    _require_seconds(takes, settings)
    offsets = _sound_offsets(takes)
    fitted = fit_canonical(takes, shape, settings)
    canonical = fitted.canonical
    _LOG.info(
        f"canonical frame: {canonical.frame_index} of take {canonical.take}, score {fitted.score:.2f} "
        f"(0 at best; the best frame has {fitted.best_score:.2f})"
    )
    if fitted.refined is not None:
        _LOG.info(
            f"head poses refined against the canonical picture in {fitted.refined:.1%} of the frames; focal "
            f"length {fitted.takes[0].focal:.2f} times the longer side"
        )
    elif settings.photometric:
        _LOG.info("head poses are the landmarks': the frames did not show them better")
    for take in fitted.takes:
        with output_errors(staging.folder):
            staging.take(take.name).mkdir(exist_ok=True)
        found: dict[str, Any] = {"camera_from_head": take.camera_from_head, "left_out": take.rejection}
        save_tensors(staging.take(take.name) / "poses.safetensors", found)
    save_tensors(staging.folder / "canonical.safetensors", canonical_tensors(canonical))
    frames = sum(len(take.times) for take in takes)
    info = FootageInfo(
        takes=tuple(tracks),
        canonical=CanonicalInfo(**canonical_plain(canonical), score=round(fitted.score, 3)),
        version=speech2lip.__version__,
        settings=settings,
        focal=round(fitted.takes[0].focal, 4),
        refined_share=fitted.refined,
        rejected_takes=faceless | failed,
        rejected_frames={take.name: take.rejection_counts() for take in takes if take.rejection.any()},
        shots={take.name: len(take.cuts) + 1 for take in takes if len(take.cuts)},
        people={name: track.info.people for name, track in tracks.items() if track.info.people > 1},
        sound_offsets=offsets,
        prepare_fps=None if began is None else round(frames / (time.monotonic() - began), 1),
    )
    write_json(staging.folder / "footage.json", to_plain(info))
    kept = sum(int(take.kept.sum()) for take in takes)
    _LOG.info(f"{kept} of {frames} frames can be trained on; left out: {_counts_line(takes)}")


def _sound_offsets(takes: Sequence[Take]) -> dict[str, SoundOffset]:
    """Find how late the sound of each take is, and tell."""
    offsets = find_offsets({
        take.name: (np.where(take.kept, take.lip_opening, np.float32(np.nan)), take.wave(), take.times)
        for take in takes
    })  # fmt: skip
    known = [(o.milliseconds, o.corrected) for o in offsets.values() if o.milliseconds is not None]
    put_right = [late for late, corrected in known if corrected]
    doubtful = [late for late, corrected in known if not corrected and abs(late) >= LEAST_OFFSET_MS]
    if put_right:
        _LOG.info(
            f"the sound is about {np.median(put_right):+.0f} ms late in {len(put_right)} of {len(takes)} "
            "takes; it is put right"
        )
    if doubtful:
        _LOG.info(
            f"the sound may be {doubtful[0]:+.0f} ms late in {len(doubtful)} takes, not sure "
            "enough to put it right: look at one where the lips close on p, b or m"
        )
    return offsets


def _require_face(tracks: dict[str, Track], failed: dict[str, str], settings: PrepareSettings) -> None:
    if not tracks:
        raise FootageError(f"none of the takes can be used; the first: {next(iter(failed.values()))}")
    seconds = sum(float(track.seen.sum()) / float(track.fps) for track in tracks.values())
    if seconds < settings.min_face_seconds:
        raise FootageError(
            f"a face is seen for {seconds:.1f} s in all takes together; at least "
            f"{settings.min_face_seconds:g} s are needed: record the person looking into the camera"
        )
    outlines = [chosen_points(t.landmarks, np.flatnonzero(t.seen), FACE_OVAL) for t in tracks.values()]
    width = np.median(np.concatenate([np.ptp(outline[..., 0], axis=1) for outline in outlines]))
    if width < settings.min_face_pixels:
        raise FootageError(
            f"the face is {width:.0f} px wide; at least {settings.min_face_pixels} px are "
            "needed, 256 are better: record closer or in a higher resolution"
        )


def _require_seconds(takes: Sequence[Take], settings: PrepareSettings) -> None:
    seconds = sum(float(take.kept.sum()) / float(take.fps) for take in takes)
    if seconds < settings.min_face_seconds:
        raise FootageError(
            f"only {seconds:.1f} s of the footage can be trained on, at least "
            f"{settings.min_face_seconds:g} s are needed; left out: {_counts_line(takes)}"
        )


def _counts_line(takes: Sequence[Take]) -> str:
    total = sum((Counter(take.rejection_counts()) for take in takes), Counter())
    return ", ".join(f"{count} {reason}" for reason, count in total.items()) or "none"


_DEPTH_FRAMES = 64
"""Frames that depth and mean picture are found from."""


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


def fit_canonical(takes: Sequence[Take], shape: Array, settings: PrepareSettings) -> CanonicalFit:
    """Choose the canonical frame, learn the head's depth there, refine all head poses against its picture.

    What moves with the mouth is found on the way.
    """
    take, index, score, best_score = choose_frame(takes, wanted=settings.canonical_frame)
    k, size = canonical_camera(
        shape, take.camera_from_head[index], take.k, canvas_pixels=settings.canvas_pixels
    )
    scale = k[0, 0] / take.k[0, 0]
    space = Space(k, take.camera_from_head[index], size, shape)
    sample = sample_frames(takes, scale, count=_DEPTH_FRAMES, home=(take.name, index))
    depth = head_depth(space.points_3d, size)
    aligned = align_takes(takes, space, sample, depth, settings) if settings.photometric else None
    refined = None
    if aligned is not None:
        space, depth = aligned.space, aligned.depth
        mean = sample.views(aligned.takes, space).mean(torch.from_numpy(depth))
        takes, refined = refine_takes(aligned, as_picture(mean))
    views = sample.views(takes, space)
    mean = views.mean(torch.from_numpy(depth))
    motion = views.motion(torch.from_numpy(depth), mean).numpy()
    points = space.points
    patch = lip_patch(points, pixels_per_canonical=settings.patch_detail / scale, width=settings.patch_width)
    canonical = Canonical(
        take=take.name,
        frame_index=index,
        **vars(space),
        depth=depth,
        picture=as_picture(mean),
        motion=motion,
        patch=patch,
        jaw_mask=jaw_mask(points, patch, mouth_motion(motion, points, patch.points())),
    )
    return CanonicalFit(canonical, list(takes), refined, score, best_score)


def choose_frame(takes: Sequence[Take], *, wanted: str = "") -> tuple[Take, int, float, float]:
    """Choose the canonical frame: the best `rest_scores` among frames not left out, or the wanted one.

    Returns:
        The take, the frame's index, its score and the best score.

    Raises:
        SettingsError: the wanted frame is not among those.
    """
    places = [(take, int(i)) for take in takes for i in np.flatnonzero(take.kept)]
    parts = [
        (t.camera_from_head[kept], t.lip_opening[kept], eye_opening(t.landmarks[kept]), t.sharpness[kept])
        for t in takes
        for kept in [t.kept]
    ]
    scores = rest_scores(*(np.concatenate(part) for part in zip(*parts, strict=True)))
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


def mouth_motion(
    motion: NDArray[np.float32], points: Array, where: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return how much each place of the patch moves with the lips; 0.5 is twice as much as the still face.

    Args:
        motion: [H, W] in grey levels; points: [478, 2] in its pixels; where: [h, w, 2] likewise.
    """
    still = float(np.median(sample_array(motion, points[[6, 197, 151, 9, 117, 346]])))
    unit = eye_distance(points)
    moving = np.clip(sample_array(motion, where) / max(still, 1.0) / 4, 0, 1)
    # Hair, hands and background move too: only what lies on the face around the mouth can be the jaw.
    face = fill_polygon(_grown(points[list(FACE_OVAL)], -0.08 * unit), where)
    inside = fill_polygon(_grown(jaw_outline(points), 0.08 * unit), where) & face
    return (moving * inside).astype(np.float32)


def _grown(outline: Array, pixels: float) -> Array:
    centre = outline.mean(0)
    away = outline - centre
    grown: Array = outline + away / np.linalg.norm(away, axis=1, keepdims=True) * pixels
    return grown
