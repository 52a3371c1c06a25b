"""Several faces: who of them is the person, followed by place within a shot and by shape across shots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2lip.conventions import Points
from speech2lip.decomposition.head_pose import fit_rigid_shape
from speech2lip.errors import SettingsError
from speech2lip.faces.landmarks import CHIN, JAW_LINE, LIPS, OUTER_EYE_CORNERS, RIGID
from speech2lip.geometry.rigid import align_similarity

Shape = NDArray[np.float64]

STRANGER = 0.03
"""Distance of two face shapes, in eye units, above which they are two people's. Between eight sittings of
one man it was up to 0.027, between words and sentences of others up to 0.02; between people 0.019 to 0.08,
mostly 0.043.
"""
DOUBTFUL = 0.017
"""Distance of face shapes from which on the look decides too."""
_REACH = 0.6
"""Face widths that a face may move from one frame to the next."""
_LOST = 12
"""Frames for which a face may be out of sight and still be the same track."""
_LEAST_FRAMES = 5
"""Tracks shorter than this are taken for mistakes."""
_SAMPLES = 100
_LOOK_EVERY = 5
_STEADY_POINTS = tuple(i for i in range(468) if i not in {*LIPS, *CHIN, *JAW_LINE})
"""Points by whose place a face is recognised: not those that speech moves."""


@dataclass
class Track:
    """One face followed through one shot."""

    shot: int
    frames: list[int] = field(default_factory=list)
    points: list[Points] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    """Of every fifth frame."""
    latest: Look | None = None

    def add(self, index: int, points: Points, look: Look | None) -> None:
        """Go on with a face."""
        if look is not None and len(self.frames) % _LOOK_EVERY == 0:
            self.looks.append(look)
        self.frames.append(index)
        self.points.append(points)
        self.latest = look

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


def follow_faces(
    faces: Sequence[Sequence[Points]],
    shot: NDArray[np.int32],
    looks: Sequence[Sequence[Look]] | None = None,
) -> list[Track]:
    """Follow every face from frame to frame by its place and look; a cut ends all tracks.

    Whoever steps into another's place looks different, and gets a track of their own.

    Args:
        faces: per frame the faces found, each [478, 3] in pixels.
        shot: [T] number of the shot.
        looks: per frame upright pictures of the faces; None: by place alone.
    """
    tracks: list[Track] = []
    for index, found in enumerate(faces):
        seen: Sequence[Look | None] = looks[index] if looks is not None else [None] * len(found)
        alive = [t for t in tracks if t.shot == shot[index] and index - t.frames[-1] <= _LOST]
        pairs = sorted(
            (_apart(t, index, p, seen[b]), a, b) for a, t in enumerate(alive) for b, p in enumerate(found)
        )
        taken_tracks: set[int] = set()
        taken_faces: set[int] = set()
        for distance, a, b in pairs:
            if distance == math.inf or a in taken_tracks or b in taken_faces:
                continue
            alive[a].add(index, found[b], seen[b])
            taken_tracks.add(a)
            taken_faces.add(b)
        for b, points in enumerate(found):
            if b not in taken_faces:
                tracks.append(Track(int(shot[index])))
                tracks[-1].add(index, points, seen[b])
    return [t for t in tracks if len(t.frames) >= _LEAST_FRAMES]


def _apart(track: Track, index: int, points: Points, look: Look | None) -> float:
    """Return how badly a face would go on a track: its way in face widths and the change of its look."""
    moved = _moved(track.points[-1], points)
    gap = 0.0 if track.latest is None or look is None else appearance_distance(track.latest, look)
    return math.inf if moved > _REACH or is_abrupt_change(gap, index - track.frames[-1]) else moved + gap


def _moved(before: Points, now: Points) -> float:
    """Return how far a face would have moved, in its widths."""
    return float(np.linalg.norm(centre_of(before) - centre_of(now))) / max(width_of(before), 1.0)


def is_other(distance: float, gap: float | None, *, limit: float = STRANGER) -> bool:
    """Tell whether two faces of one take are two people's: by shape and, where it is known, by look.

    Args:
        distance: of their shapes.
        gap: of their looks; None where it is not known.
        limit: distance that is too far, unless the look is surely the same.
    """
    if distance > limit:
        return gap is None or gap > SAME_LOOK
    return gap is not None and distance > DOUBTFUL and gap > OTHER_LOOK


def face_distance(a: Shape, b: Shape) -> float:
    """Return how far apart two face shapes [478, 3] are, seen from the front, in eye units."""
    rigid = list(RIGID)
    scale, rotation, shift = align_similarity(a[None, rigid], b[None, rigid])
    moved = scale[0] * a @ rotation[0].T + shift[0]
    apart = (moved - b)[list(_STEADY_POINTS), :2] / np.linalg.norm(np.subtract(*b[list(OUTER_EYE_CORNERS)]))
    return float(np.sqrt((apart**2).sum(1).mean()))


def group_faces(
    shapes: Sequence[Shape],
    lengths: Sequence[int],
    *,
    apart: NDArray[np.bool_] | None = None,
    gaps: NDArray[np.float32] | None = None,
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
            gap = None if gaps is None else float(gaps[n, group].min())
            never = (apart is not None and bool(apart[n, group].any())) or is_other(distance, gap)
            fits.append(math.inf if never else distance / STRANGER + (gap or 0.0))
        if not fits or min(fits) == math.inf:
            groups.append([n])
            result[n] = len(groups) - 1
        else:
            result[n] = int(np.argmin(fits))
            groups[result[n]].append(n)
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
    lengths = [len(t.frames) for t in tracks]
    groups = group_faces([t.shape() for t in tracks], lengths, apart=_at_once(tracks), gaps=_gaps(tracks))
    person = int(np.argmax(_scores(tracks, groups, pick)))
    for track in sorted(
        (t for t, g in zip(tracks, groups, strict=True) if g == person), key=lambda t: len(t.frames)
    ):
        for index, points in zip(track.frames, track.points, strict=True):
            chosen[index] = points
    return chosen, int(groups.max()) + 1


def _at_once(tracks: Sequence[Track]) -> NDArray[np.bool_]:
    """Tell which faces were in sight at the same time: they are not one person's; [N, N]."""
    first, last = (np.array([t.frames[end] for t in tracks]) for end in (0, -1))
    overlap: NDArray[np.bool_] = (first[:, None] <= last) & (first <= last[:, None])
    return overlap & ~np.eye(len(tracks), dtype=bool)


def _gaps(tracks: Sequence[Track]) -> NDArray[np.float32] | None:
    """Return how unlike the faces of tracks look to each other; [N, N], None without looks."""
    if not all(t.looks for t in tracks):
        return None
    owner = np.repeat(np.arange(len(tracks), dtype=np.int32), [len(t.looks) for t in tracks])
    return appearance_distances(np.stack([look for t in tracks for look in t.looks]), owner, len(tracks))


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


Look = NDArray[np.uint8]
"""[32, 32, 3]."""

LOOK = 32
"""Side of the small upright picture of a face that people are told by and covered mouths are found on."""
SAME_LOOK, OTHER_LOOK = 0.15, 0.34
"""Gaps between looks below which it is surely the same person of the same take, and above which, with a face
shape that is doubtful, surely not: between people 0.34 and more; of one person 0.09 from word to word, up to
0.37 where the head turns."""
ABRUPT_LOOK = 0.5
"""Gap between the looks of one frame and the next above which it is surely not the same person."""
_LOOK_FROM = np.array([33, 263, 10, 152])
_LOOK_TO = np.array([[0.248, 0.374], [0.752, 0.374], [0.5, 0.05], [0.5, 0.95]], np.float32) * LOOK


def upright_look(rgb: NDArray[np.uint8], points: Points) -> NDArray[np.uint8]:
    """Return a small picture of the face, upright, always the same in size; [32, 32, 3]."""
    import cv2

    height, width = rgb.shape[:2]
    margin = 0.1 * float(np.ptp(points[:, 0]))
    x0, y0 = np.clip(np.floor(points[:, :2].min(0) - margin), 0, [width - 1, height - 1]).astype(int)
    x1, y1 = np.clip(np.ceil(points[:, :2].max(0) + margin), [x0 + 1, y0 + 1], [width, height]).astype(int)
    crop = rgb[y0:y1, x0:x1]
    shrink = max(1.0, crop.shape[1] / (1.5 * LOOK))
    size = (max(1, round(crop.shape[1] / shrink)), max(1, round(crop.shape[0] / shrink)))
    small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    places = (points[_LOOK_FROM, :2] - [x0, y0]) * [size[0] / crop.shape[1], size[1] / crop.shape[0]]
    transform = _similarity(places.astype(np.float64), _LOOK_TO.astype(np.float64))
    return np.asarray(
        cv2.warpAffine(small, transform, (LOOK, LOOK), borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def _similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the 2 x 3 matrix that turns, scales and shifts one set of points onto another."""
    s, t = source - source.mean(0), target - target.mean(0)
    complex_s, complex_t = s[:, 0] + 1j * s[:, 1], t[:, 0] + 1j * t[:, 1]
    factor = (np.conj(complex_s) @ complex_t) / max(float(np.abs(complex_s) @ np.abs(complex_s)), 1e-9)
    turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.concatenate([turn, (target.mean(0) - turn @ source.mean(0))[:, None]], axis=1)


def is_abrupt_change(gap: float, frames: int) -> bool:
    """Tell whether a face that looks so different `frames` frames later must be somebody else's.

    A fast turn changes the look by up to 0.37 from one frame to the next.
    """
    return gap > (OTHER_LOOK if frames > 1 else ABRUPT_LOOK)


def changes_abruptly(looks: NDArray[np.uint8], frames: NDArray[np.intp], shot: NDArray[np.int32]) -> bool:
    """Tell whether somebody else steps into a face's place without a cut.

    Args:
        looks: [N, 32, 32, 3] of one followed face; frames: [N] their indices; shot: [N] their shots.
    """
    if len(looks) < 2:
        return False
    normed = _normed(looks)
    gaps = 1 - (normed[1:] * normed[:-1]).sum(1)
    between, same = np.diff(frames), np.diff(shot) == 0
    return any(is_abrupt_change(float(g), int(n)) for g, n in zip(gaps[same], between[same], strict=True))


def appearance_distance(a: Look, b: Look) -> float:
    """Tell how unlike two looks are; 0 alike, 1 unlike."""
    first, second = _normed(np.stack([a, b]))
    return float(1 - first @ second)


def _normed(looks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return looks [N, 32, 32, 3] in grey, with a mean of 0 and a length of 1; [N, 1024]."""
    grey: NDArray[np.float32] = looks.astype(np.float32).mean(-1).reshape(len(looks), LOOK * LOOK)
    grey -= grey.mean(1, keepdims=True)
    grey /= np.maximum(np.linalg.norm(grey, axis=1, keepdims=True), 1e-6)
    return grey


def appearance_distances(
    looks: NDArray[np.uint8], shot: NDArray[np.int32], shots: int
) -> NDArray[np.float32]:
    """Tell how unlike each shot's face looks to each other shot's nearest frames; 0 alike, 1 unlike.

    Args:
        looks: [N, 32, 32, 3] upright pictures of seen faces; shot: [N] the number of each one's shot.

    Returns:
        [shots, shots]; 1 where a face is not seen.
    """
    grey = _normed(looks)
    parts = [np.flatnonzero(shot == number) for number in range(shots)]
    few = [part[np.linspace(0, len(part) - 1, min(len(part), 12)).astype(int)] for part in parts]
    gaps = np.ones((shots, shots), np.float32)
    for a in range(shots):
        for b in range(shots):
            if len(few[a]) and len(few[b]):
                gaps[a, b] = np.median((1 - grey[few[a]] @ grey[few[b]].T).min(1))
    return gaps
