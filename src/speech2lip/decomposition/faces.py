"""Several faces: who of them is the person, followed by place within a shot and by shape across shots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2lip.decomposition.head_pose import align_similarity, fit_rigid_shape
from speech2lip.decomposition.landmarks import CHIN, JAW_LINE, LIPS, OUTER_EYE_CORNERS, RIGID
from speech2lip.errors import SettingsError

Points = NDArray[np.float32]
Shape = NDArray[np.float64]

STRANGER = 0.03
"""Distance of two face shapes, in eye units, above which they are two people's. Between eight sittings of
one man it was up to 0.027, between words and sentences of others up to 0.02; between people 0.019 to 0.08,
mostly 0.043.
"""
_REACH = 0.6
"""Face widths that a face may move from one frame to the next."""
_LOST = 12
"""Frames for which a face may be out of sight and still be the same track."""
_LEAST_FRAMES = 5
"""Tracks shorter than this are taken for mistakes."""
_SAMPLES = 100
_STEADY_POINTS = tuple(i for i in range(468) if i not in {*LIPS, *CHIN, *JAW_LINE})
"""Points by whose place a face is recognised: not those that speech moves."""


@dataclass
class Track:
    """One face followed through one shot."""

    shot: int
    frames: list[int] = field(default_factory=list)
    points: list[Points] = field(default_factory=list)

    @property
    def x(self) -> float:
        """Middle of the face, from the left, in pixels."""
        return float(np.median([centre_of(p)[0] for p in self.points]))

    def shape(self) -> Shape:
        """Return the rigid shape of the face; [478, 3] in eye units."""
        step = max(1, len(self.points) // _SAMPLES)
        return fit_rigid_shape(np.stack(self.points[::step]).astype(np.float64))


def centre_of(points: Points) -> NDArray[np.float32]:
    """Return the middle of a face in pixels; [2]."""
    middle: NDArray[np.float32] = (points[..., :2].min(0) + points[..., :2].max(0)) / 2
    return middle


def width_of(points: Points) -> float:
    """Return the width of a face in pixels."""
    return float(np.ptp(points[:, 0]))


def check_pick(pick: str) -> None:
    """Raise SettingsError where nobody could be picked that way."""
    if pick not in {"longest", "left", "right"} and not (pick.isdecimal() and int(pick) > 0):
        raise SettingsError(
            f"face must be longest, left, right, or a number from 1 (the leftmost), not {pick!r}"
        )


def follow_faces(faces: Sequence[Sequence[Points]], shot: NDArray[np.int32]) -> list[Track]:
    """Follow every face from frame to frame by its place; a cut ends all tracks.

    Args:
        faces: per frame the faces found, each [478, 3] in pixels.
        shot: [T] number of the shot.
    """
    tracks: list[Track] = []
    for index, found in enumerate(faces):
        alive = [t for t in tracks if t.shot == shot[index] and index - t.frames[-1] <= _LOST]
        pairs = sorted(
            (_moved(t.points[-1], p), a, b) for a, t in enumerate(alive) for b, p in enumerate(found)
        )
        taken_tracks: set[int] = set()
        taken_faces: set[int] = set()
        for distance, a, b in pairs:
            if distance > _REACH or a in taken_tracks or b in taken_faces:
                continue
            alive[a].frames.append(index)
            alive[a].points.append(found[b])
            taken_tracks.add(a)
            taken_faces.add(b)
        tracks += [Track(int(shot[index]), [index], [p]) for b, p in enumerate(found) if b not in taken_faces]
    return [t for t in tracks if len(t.frames) >= _LEAST_FRAMES]


def _moved(before: Points, now: Points) -> float:
    """Return how far a face would have moved, in its widths."""
    return float(np.linalg.norm(centre_of(before) - centre_of(now))) / max(width_of(before), 1.0)


def face_distance(a: Shape, b: Shape) -> float:
    """Return how far apart two face shapes [478, 3] are, seen from the front, in eye units."""
    rigid = list(RIGID)
    scale, rotation, shift = align_similarity(a[None, rigid], b[None, rigid])
    moved = scale[0] * a @ rotation[0].T + shift[0]
    apart = (moved - b)[list(_STEADY_POINTS), :2] / np.linalg.norm(np.subtract(*b[list(OUTER_EYE_CORNERS)]))
    return float(np.sqrt((apart**2).sum(1).mean()))


def group_faces(shapes: Sequence[Shape], lengths: Sequence[int]) -> NDArray[np.intp]:
    """Put shapes of faces into groups, one a person: the longest first, each joins the nearest that is near
    enough; [N] number of the group.
    """
    groups: list[Shape] = []
    result = np.zeros(len(shapes), np.intp)
    for n in np.argsort(-np.asarray(lengths), kind="stable"):
        apart = [face_distance(shapes[n], known) for known in groups]
        if not apart or min(apart) > STRANGER:
            groups.append(shapes[n])
            apart.append(0.0)
        result[n] = int(np.argmin(apart))
    return result


def choose_person(tracks: Sequence[Track], pick: str, frames: int) -> tuple[list[Points | None], int]:
    """Choose the person among tracked faces.

    Args:
        tracks: from `follow_faces`.
        pick: `longest`: who is seen longest; `left`, `right` or a number from 1: who is most often at that
            place, from the left, where several are seen.
        frames: how many the take has.

    Returns:
        The person's landmarks in every frame, None where they are not seen; and how many people there are.
    """
    chosen: list[Points | None] = [None] * frames
    if not tracks:
        return chosen, 0
    groups = group_faces([t.shape() for t in tracks], [len(t.frames) for t in tracks])
    person = int(np.argmax(_scores(tracks, groups, pick)))
    for track in sorted(
        (t for t, g in zip(tracks, groups, strict=True) if g == person), key=lambda t: len(t.frames)
    ):
        for index, points in zip(track.frames, track.points, strict=True):
            chosen[index] = points
    return chosen, int(groups.max()) + 1


def _scores(tracks: Sequence[Track], groups: NDArray[np.intp], pick: str) -> NDArray[np.float64]:
    """Return how well each group answers the pick; [G] frames, the longest a little ahead among equals."""
    total: NDArray[Any] = np.bincount(groups, weights=[len(t.frames) for t in tracks]).astype(np.float64)
    if pick == "longest":
        return total
    scores = 1e-6 * total
    for shot in {t.shot for t in tracks}:
        here = sorted(
            (t.x, n) for n, t in enumerate(tracks) if t.shot == shot and len(t.frames) >= 3 * _LEAST_FRAMES
        )
        if len(here) > 1:
            place = {"left": 0, "right": len(here) - 1}.get(pick, int(pick) - 1 if pick.isdecimal() else 0)
            if place < len(here):
                scores[groups[here[place][1]]] += len(tracks[here[place][1]].frames)
    return scores
