"""Why frames are left out of training, each with its own measure; never out of time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech2lip.config import PrepareSettings
from speech2lip.decomposition.footage import Rejection, Track
from speech2lip.decomposition.head_pose import fit_rigid_shape
from speech2lip.decomposition.tracking.faces import FACE_SIDE, OTHER_SHAPE, aligned, face_distance, is_other
from speech2lip.decomposition.tracking.landmarks import BLOCK
from speech2lip.faces.landmarks import FACE_OVAL
from speech2lip.geometry.rigid import head_angles

Tracks = Mapping[str, Track]

HEAVY_BLUR = 0.2
"""Sharpness over the shot's median below which a frame is blurred; fast turns in real footage keep 0.34."""
COVERED = (0.09, 0.17)
"""Bounds of how much more the lower face may differ from its usual look than the upper one (share of its
brightness). Real footage stays below 0.16, a microphone gives 0.2."""
_SHORT_SHOT = 50
"""Frames below which a face's shape is less certain: the head may be turned all the time."""
_SHAPE_FRAMES = 150


def covered_scores(appearances: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Tell how much more each frame's lower face differs from its usual look than the upper face does.

    Args:
        appearances: [T, 32, 32, 3] upright pictures of one take's seen faces.

    Returns:
        [T], as a share of the face's brightness.
    """
    if not len(appearances):
        return np.zeros(0, np.float32)
    y, x = (np.mgrid[0:FACE_SIDE, 0:FACE_SIDE] + 0.5) / FACE_SIDE
    lower = (y > 0.60) & (y < 0.93) & (np.abs(x - 0.5) < 0.28)
    upper = (y > 0.15) & (y < 0.55) & (np.abs(x - 0.5) < 0.34) & ~((y > 0.30) & (y < 0.45))  # lids move
    bright = appearances[:, upper].astype(np.float32).mean(1)
    relative = appearances / np.maximum(bright, 10)[:, None, None, :]
    usual = np.median(relative, axis=0)
    apart = np.abs(relative - usual).mean(-1)
    scores: NDArray[np.float32] = (apart[:, lower].mean(1) - apart[:, upper].mean(1)).astype(np.float32)
    return scores


def reject_frames(
    tracks: Tracks,
    others: Mapping[str, NDArray[np.bool_]],
    poses: Mapping[str, NDArray[np.float64]],
    settings: PrepareSettings,
) -> dict[str, NDArray[np.uint8]]:
    """Tell for each frame why it is left out of training; per take [T] of `Rejection`.

    Args:
        tracks: per take what was found in it.
        others: per take [T] whether somebody else is seen; from `find_other_people`.
        poses: per take [T, 4, 4] head poses.
    """
    yaw = {name: head_angles(poses[name])[:, 0] for name in tracks}
    person = {name: track.seen & ~others[name] for name, track in tracks.items()}
    usual_yaw = float(np.median(np.concatenate([yaw[name][person[name]] for name in tracks])))
    result = {}
    for name, track in tracks.items():
        width, outside = _measured(track)
        with np.errstate(invalid="ignore"):
            colour_off = np.abs(track.light - _median_skin_colour(track, tracks, settings)).max(1)
            flags = {  # the last that holds is told: the plainest come last
                Rejection.TURNED_AWAY: np.abs(yaw[name] - usual_yaw) > settings.max_turn_degrees,
                Rejection.HEAVY_BLUR: _blurred(track),
                Rejection.MOUTH_COVERED: _covered(track),
                Rejection.FACE_TOO_SMALL: width < settings.min_face_pixels,
                Rejection.FACE_CUT_BY_THE_BORDER: outside > 0.02,
                Rejection.BROKEN_COLOURS: colour_off > settings.broken_colour_levels,
                Rejection.SOMEBODY_ELSE: others[name],
            }
        result[name] = np.where(track.seen, Rejection.KEPT, Rejection.NO_FACE).astype(np.uint8)
        for reason, flag in flags.items():
            result[name][track.seen & flag] = reason
    return result


@dataclass(frozen=True)
class _Shot:
    """The face of one shot."""

    take: str
    number: int
    frames: NDArray[np.bool_]
    shape: NDArray[np.float64]
    length: int


def find_other_people(tracks: Tracks) -> dict[str, NDArray[np.bool_]]:
    """Find the shots, in all takes, that show another face than the one seen longest; per take [T]."""
    result = {name: np.zeros(len(track.seen), bool) for name, track in tracks.items()}
    shots = [shot for name, track in tracks.items() for shot in _shots(name, track)]
    if len(shots) < 2:
        return result
    usual = _usual_shape([shot.shape for shot in shots], [shot.length for shot in shots])
    known: dict[str, list[int]] = {name: [] for name in tracks}
    for shot in sorted(shots, key=lambda shot: -shot.length):
        gaps = tracks[shot.take].appearance_distances[shot.number, known[shot.take]]
        limit = OTHER_SHAPE if shot.length >= _SHORT_SHOT else 1.5 * OTHER_SHAPE
        gap = float(gaps.min()) if len(gaps) else None
        if is_other(face_distance(shot.shape, usual), gap, limit=limit):
            result[shot.take] |= shot.frames
        else:
            known[shot.take].append(shot.number)
    return result


def _shots(name: str, track: Track) -> list[_Shot]:
    shots = []
    for number in np.unique(track.shot):
        frames = track.seen & (track.shot == number)
        if frames.sum() >= 5:
            step = max(1, int(frames.sum()) // _SHAPE_FRAMES)
            points = track.landmarks[np.flatnonzero(frames)[::step]]
            shape = fit_rigid_shape(points.astype(np.float64))
            shots.append(_Shot(name, int(number), frames, shape, int(frames.sum())))
    return shots


def _usual_shape(shapes: list[NDArray[np.float64]], lengths: list[int]) -> NDArray[np.float64]:
    """Return the middle of the shapes like which most of the footage is."""
    candidates = np.argsort(-np.asarray(lengths), kind="stable")[:24]
    apart = np.array([[face_distance(shape, shapes[c]) for c in candidates] for shape in shapes])
    best = int(np.argmax(np.asarray(lengths) @ (apart <= OTHER_SHAPE)))
    like = [shapes[n] for n in np.flatnonzero(apart[:, best] <= OTHER_SHAPE)]
    return np.median([aligned(shape, shapes[candidates[best]]) for shape in like], axis=0)


def _measured(track: Track) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return each frame's face width in pixels and the share of its points outside the picture; [T] each.

    Landmarks are read part by part: those of an hour need half a gigabyte.
    """
    count = len(track.seen)
    widths, outside = np.empty(count, np.float32), np.empty(count)
    for start in range(0, count, BLOCK):
        part = slice(start, start + BLOCK)
        points = track.landmarks[part][..., :2]
        widths[part] = np.ptp(points[:, FACE_OVAL, 0], axis=1)
        beyond = (points < 0) | (points > [track.width, track.height])
        outside[part] = beyond.any(-1).mean(1)
    return widths, outside


def _blurred(track: Track) -> NDArray[np.bool_]:
    """Compare each frame with its own shot: shots may differ in focus and size."""
    blurred = np.zeros(len(track.seen), bool)
    for number in np.unique(track.shot[track.seen]):
        here = track.seen & (track.shot == number)
        blurred |= here & (track.sharpness < HEAVY_BLUR * np.median(track.sharpness[here]))
    return blurred


def _covered(track: Track) -> NDArray[np.bool_]:
    known = track.covered[track.seen]
    middle = np.median(known)
    spread = 1.4826 * np.median(np.abs(known - middle))
    return track.covered > np.clip(middle + 6 * spread, *COVERED)


def _median_skin_colour(track: Track, tracks: Tracks, settings: PrepareSettings) -> NDArray[np.float32]:
    """Return the skin colour that a take's frames are held against: its own median.

    Takes may differ in light. But where there are many takes and fewer than a tenth of all frames look like
    this one, it is the take that is broken, and all are held against the median of all.
    """
    own = np.median(track.light[track.seen], axis=0)
    every = np.concatenate([t.light[t.seen] for t in tracks.values()])
    alike = (np.abs(every - own).max(1) <= settings.broken_colour_levels).mean()
    return np.median(every, axis=0) if len(tracks) >= 10 and alike < 0.1 else own
