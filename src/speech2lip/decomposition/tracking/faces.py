"""Several faces: who of them is the person, followed by place within a shot and by shape across shots."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from speech2lip.arrays import Array, Points
from speech2lip.decomposition.head_pose import fit_rigid_shape
from speech2lip.errors import SettingsError
from speech2lip.faces.landmarks import CHIN, JAW_LINE, LIPS, OUTER_EYE_CORNERS, RIGID
from speech2lip.geometry.rigid import align_similarity

OTHER_SHAPE = 0.03
"""Distance of two face shapes, in eye units, above which they are two people's. Between eight sittings of
one man it was up to 0.027, between words and sentences of others up to 0.02; between people 0.019 to 0.08,
mostly 0.043.
"""
DOUBTFUL_SHAPE = 0.017
"""Distance of face shapes from which on the look decides too."""
_REACH = 0.6
"""Face widths that a face may move from one frame to the next."""
_LOST = 12
"""Frames for which a face may be out of sight and still be the same track."""
_LEAST_FRAMES = 5
"""Tracks shorter than this are taken for mistakes."""
_SAMPLES = 100
_APPEARANCE_EVERY = 5
_STEADY_POINTS = tuple(i for i in range(468) if i not in {*LIPS, *CHIN, *JAW_LINE})
"""Points by whose place a face is recognised: not those that speech moves."""

Appearance = NDArray[np.uint8]
"""[32, 32, 3]."""

FACE_SIDE = 32
"""Side of the small upright picture of a face that people are told by and covered mouths are found on."""
SAME_APPEARANCE, OTHER_APPEARANCE = 0.15, 0.34
"""Distances of appearances below which it is surely the same person of the same take, and above which, with a
face shape that is doubtful, surely not: between people 0.34 and more; of one person 0.09 from word to word,
up to 0.37 where the head turns."""
ABRUPT_APPEARANCE = 0.5
"""Distance between the appearances of one frame and the next above which it is surely not the same person."""
_UPRIGHT_POINTS = np.array([33, 263, 10, 152])
_UPRIGHT_PLACES: Array = np.array([[0.248, 0.374], [0.752, 0.374], [0.5, 0.05], [0.5, 0.95]]) * float(
    FACE_SIDE
)


@dataclass(eq=False)
class FaceTrack:
    """One face followed through one shot."""

    shot: int
    frames: list[int] = field(default_factory=list)
    points: list[Points] = field(default_factory=list)
    appearances: list[Appearance] = field(default_factory=list)
    """Of every fifth frame."""
    latest: Appearance = field(init=False)

    def add(self, index: int, points: Points, appearance: Appearance) -> None:
        """Go on with a face."""
        if len(self.frames) % _APPEARANCE_EVERY == 0:
            self.appearances.append(appearance)
        self.frames.append(index)
        self.points.append(points)
        self.latest = appearance

    @property
    def x(self) -> float:
        """Middle of the face, from the left, in pixels."""
        return float(np.median([_middle(p)[0] for p in self.points]))

    def shape(self) -> Array:
        """Return the rigid shape of the face; [478, 3] in eye units."""
        step = max(1, len(self.points) // _SAMPLES)
        return fit_rigid_shape(np.stack(self.points[::step]).astype(np.float64))


def check_pick(pick: str) -> None:
    """Raise SettingsError where nobody could be picked that way."""
    if pick not in {"longest", "left", "right"} and not (pick.isdecimal() and int(pick) > 0):
        raise SettingsError(
            f"face must be longest, left, right, or a number from 1 (the leftmost), not {pick!r}"
        )


def follow_faces(
    faces: Sequence[Sequence[Points]],
    shot: NDArray[np.int32],
    appearances: Sequence[Sequence[Appearance]],
) -> list[FaceTrack]:
    """Follow every face from frame to frame by its place and look; a cut ends all tracks.

    Whoever steps into another's place looks different, and gets a track of their own.

    Args:
        faces: per frame the faces found, each [478, 3] in pixels.
        shot: [T] number of the shot.
        appearances: per frame upright pictures of the faces.
    """
    tracks: list[FaceTrack] = []
    for index, (found, seen) in enumerate(zip(faces, appearances, strict=True)):
        alive = [t for t in tracks if t.shot == shot[index] and index - t.frames[-1] <= _LOST]
        pairs = sorted(
            (_apart(t, index, p, seen[b]), a, b) for a, t in enumerate(alive) for b, p in enumerate(found)
        )
        owners: dict[int, FaceTrack] = {}
        for distance, a, b in pairs:
            if distance < math.inf and b not in owners and alive[a] not in owners.values():
                owners[b] = alive[a]
        for b, points in enumerate(found):
            if b not in owners:
                owners[b] = FaceTrack(int(shot[index]))
                tracks.append(owners[b])
            owners[b].add(index, points, seen[b])
    return [t for t in tracks if len(t.frames) >= _LEAST_FRAMES]


def _apart(track: FaceTrack, index: int, points: Points, seen: Appearance) -> float:
    """Return how badly a face would go on a track: its way in face widths and the change of its looks."""
    way = float(np.linalg.norm(_middle(track.points[-1]) - _middle(points)))
    way /= max(float(np.ptp(track.points[-1][:, 0])), 1.0)
    change = appearance_distance(track.latest, seen)
    return math.inf if way > _REACH or is_abrupt_change(change, index - track.frames[-1]) else way + change


def _middle(points: Points) -> Points:
    """Return the middle of a face in pixels; [2]."""
    middle: Points = (points[:, :2].min(0) + points[:, :2].max(0)) / 2
    return middle


def is_other(distance: float, gap: float | None, *, limit: float = OTHER_SHAPE) -> bool:
    """Tell whether two faces of one take are two people's: by shape and, where it is known, by look.

    Args:
        distance: of their shapes.
        gap: of their appearances; None where it is not known.
        limit: distance that is too far, unless the look is surely the same.
    """
    if distance > limit:
        return gap is None or gap > SAME_APPEARANCE
    return gap is not None and distance > DOUBTFUL_SHAPE and gap > OTHER_APPEARANCE


def face_distance(a: Array, b: Array) -> float:
    """Return how far apart two face shapes [478, 3] are, seen from the front, in eye units."""
    apart = (aligned(a, b) - b)[list(_STEADY_POINTS), :2]
    apart /= np.linalg.norm(np.subtract(*b[list(OUTER_EYE_CORNERS)]))
    return float(np.sqrt((apart**2).sum(1).mean()))


def aligned(shape: Array, other: Array) -> Array:
    """Return a face shape [478, 3] moved, turned and scaled onto another."""
    scale, rotation, shift = align_similarity(shape[None, list(RIGID)], other[None, list(RIGID)])
    moved: Array = scale[0] * shape @ rotation[0].T + shift[0]
    return moved


def group_faces(
    shapes: Sequence[Array],
    lengths: Sequence[int],
    *,
    apart: NDArray[np.bool_],
    gaps: NDArray[np.float32],
) -> NDArray[np.intp]:
    """Put shapes of faces into groups, one a person; [N] number of the group.

    The longest comes first, each joins the nearest that is near enough.

    Args:
        apart: [N, N] whether two faces cannot be one person's, as they were seen at the same time.
        gaps: [N, N] how unlike they look.
    """
    groups: list[list[int]] = []
    result = np.zeros(len(shapes), np.intp)
    for n in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        fits = []
        for group in groups:
            distance = face_distance(shapes[n], shapes[group[0]])
            gap = float(gaps[n, group].min())
            never = apart[n, group].any() or is_other(distance, gap)
            fits.append(math.inf if never else distance / OTHER_SHAPE + gap)
        if not fits or min(fits) == math.inf:
            groups.append([n])
            result[n] = len(groups) - 1
        else:
            result[n] = int(np.argmin(fits))
            groups[result[n]].append(n)
    return result


def choose_person(tracks: Sequence[FaceTrack], pick: str, frames: int) -> tuple[list[Points | None], int]:
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
    lengths = [len(t.frames) for t in tracks]
    groups = group_faces([t.shape() for t in tracks], lengths, apart=_at_once(tracks), gaps=_gaps(tracks))
    person = int(np.argmax(_scores(tracks, groups, pick)))
    for track in sorted(
        (t for t, g in zip(tracks, groups, strict=True) if g == person), key=lambda t: len(t.frames)
    ):
        for index, points in zip(track.frames, track.points, strict=True):
            chosen[index] = points
    return chosen, int(groups.max()) + 1


def _at_once(tracks: Sequence[FaceTrack]) -> NDArray[np.bool_]:
    """Tell which faces were in sight at the same time: they are not one person's; [N, N]."""
    first, last = (np.array([t.frames[end] for t in tracks]) for end in (0, -1))
    overlap: NDArray[np.bool_] = (first[:, None] <= last) & (first <= last[:, None])
    return overlap & ~np.eye(len(tracks), dtype=bool)


def _gaps(tracks: Sequence[FaceTrack]) -> NDArray[np.float32]:
    """Return how unlike the faces of tracks look to each other; [N, N]."""
    owner = np.repeat(np.arange(len(tracks), dtype=np.int32), [len(t.appearances) for t in tracks])
    return appearance_distances(np.concatenate([t.appearances for t in tracks]), owner, len(tracks))


def _scores(tracks: Sequence[FaceTrack], groups: NDArray[np.intp], pick: str) -> NDArray[np.float64]:
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


def upright_face(rgb: NDArray[np.uint8], points: Points) -> NDArray[np.uint8]:
    """Return a small picture of the face, upright, always the same in size; [32, 32, 3]."""
    height, width = rgb.shape[:2]
    margin = 0.1 * float(np.ptp(points[:, 0]))
    x0, y0 = np.clip(np.floor(points[:, :2].min(0) - margin), 0, [width - 1, height - 1]).astype(int)
    x1, y1 = np.clip(np.ceil(points[:, :2].max(0) + margin), [x0 + 1, y0 + 1], [width, height]).astype(int)
    crop = rgb[y0:y1, x0:x1]
    shrink = max(1.0, crop.shape[1] / (1.5 * FACE_SIDE))
    size = (max(1, round(crop.shape[1] / shrink)), max(1, round(crop.shape[0] / shrink)))
    small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    places = (points[_UPRIGHT_POINTS, :2] - [x0, y0]) * [size[0] / crop.shape[1], size[1] / crop.shape[0]]
    scale, rotation, shift = align_similarity(places.astype(np.float64)[None], _UPRIGHT_PLACES[None])
    upright = np.column_stack([scale[0] * rotation[0], shift[0]])
    face = cv2.warpAffine(small, upright, (FACE_SIDE, FACE_SIDE), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(face, np.uint8)


def is_abrupt_change(gap: float, frames: int) -> bool:
    """Tell whether a face that looks so different `frames` frames later must be somebody else's.

    A fast turn changes the look by up to 0.37 from one frame to the next.
    """
    return gap > (OTHER_APPEARANCE if frames > 1 else ABRUPT_APPEARANCE)


def changes_abruptly(
    appearances: NDArray[np.uint8], frames: NDArray[np.intp], shot: NDArray[np.int32]
) -> bool:
    """Tell whether somebody else steps into a face's place without a cut.

    Args:
        appearances: [N, 32, 32, 3] of one followed face; frames: [N] their indices; shot: [N] their shots.
    """
    if len(appearances) < 2:
        return False
    normed = _normed(appearances)
    gaps = 1 - (normed[1:] * normed[:-1]).sum(1)
    between, same = np.diff(frames), np.diff(shot) == 0
    return any(is_abrupt_change(float(g), int(n)) for g, n in zip(gaps[same], between[same], strict=True))


def appearance_distance(a: Appearance, b: Appearance) -> float:
    """Tell how unlike two appearances are; 0 alike, 1 unlike."""
    first, second = _normed(np.stack([a, b]))
    return float(1 - first @ second)


def _normed(appearances: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return appearances [N, 32, 32, 3] in grey, with a mean of 0 and a length of 1; [N, 1024]."""
    grey = appearances.astype(np.float32).mean(-1).reshape(len(appearances), FACE_SIDE * FACE_SIDE)
    grey -= grey.mean(1, keepdims=True)
    grey /= np.maximum(np.linalg.norm(grey, axis=1, keepdims=True), 1e-6)
    return grey


def appearance_distances(
    appearances: NDArray[np.uint8], shot: NDArray[np.int32], shots: int
) -> NDArray[np.float32]:
    """Tell how unlike each shot's face looks to each other shot's nearest frames; 0 alike, 1 unlike.

    Args:
        appearances: [N, 32, 32, 3] upright pictures of seen faces; shot: [N] the number of each one's shot.

    Returns:
        [shots, shots]; 1 where a face is not seen.
    """
    grey = _normed(appearances)
    parts = [np.flatnonzero(shot == number) for number in range(shots)]
    few = [part[np.linspace(0, len(part) - 1, min(len(part), 12)).astype(int)] for part in parts]
    distances = np.ones((shots, shots), np.float32)
    for a, b in itertools.product(range(shots), repeat=2):
        if len(few[a]) and len(few[b]):
            distances[a, b] = np.median((1 - grey[few[a]] @ grey[few[b]].T).min(1))
    return distances
