"""The mouth from landmarks (scheme mediapipe-478): its box, distances, width, trembling, closures.

The opening is `faces.landmarks.lip_opening`: mean distance of three pairs of inner-lip points over the
distance of the outer eye corners in the same frame, so that scale and roll fall out; yaw by 17 degrees raises
it by 5 per cent. The detector's depth would not help: on real clips the opening with it correlates at 0.98 or
more with the one without.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2lip.arrays import Array, Series
from speech2lip.conventions import LANDMARK_COUNT, Box
from speech2lip.decomposition.footage import Footage, Take
from speech2lip.faces.landmarks import MOUTH_CORNERS, OUTER_EYE_CORNERS, RIGID
from speech2lip.geometry.rigid import project

Intervals = Array
"""[N, 2], start and end in seconds of the take."""
Landmarks = NDArray[np.floating[Any]]
"""[T, 478, 2 or 3], pixels; NaN in frames without a face."""

MOUTH_68 = (61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91, 78, 81, 13, 311, 308, 402, 14, 178)
"""Points of the mesh that stand for points 48 to 67 of the 68-point scheme, in that order.

Outer lip from the corner at the picture's left over the upper lip: 48 = 61, 49 = 40, 50 = 37, 51 = 0, 52 =
267, 53 = 270, 54 = 291, then back along the lower lip: 55 = 321, 56 = 314, 57 = 17, 58 = 84, 59 = 91. Inner
lip likewise: 60 = 78, 61 = 81, 62 = 13, 63 = 311, 64 = 308, 65 = 402, 66 = 14, 67 = 178. The two
schemes place these points by eye, not by definition: all rows of a table use this one map, but figures of
other papers come from other detectors.
"""

BOX_MOUTH_WIDTHS = 2.0
"""Side of the mouth box in canonical mouth widths: enough for the open jaw."""

BILABIALS = ("P", "B", "M")
CLOSED_QUANTILE, WIDE_QUANTILE = 0.05, 0.95
OPEN_SHARE = 0.15
CLOSURE_TOLERANCE = 0.04
"""Seconds by which a closure may fall before or after its phone: one frame at 25 frames a second."""
CLOSURE_REACH = 0.3
"""Seconds before and after a phone within which the lips must also be open somewhere."""
SETTLE = 0.2
"""Seconds left out at both ends of a pause: real lips part before the first sound."""


def square_box(centre: Series, side: int, *, frame_height: int, frame_width: int) -> Box:
    """Return a square box around a centre [2], clipped to the frame; without area if wholly outside."""
    low = np.round(centre[:2] - side / 2).astype(int)
    x0, y0, x1, y1 = np.clip([*low, *(low + side)], 0, [frame_width, frame_height] * 2).tolist()
    return x0, y0, x1, y1


def mouth_box(take: Take, index: int, shape: NDArray[np.floating[Any]]) -> Box:
    """Return the box in which the mouth of a take's frame is judged; it depends on the head pose alone.

    Args:
        shape: [478, 3] the canonical face.
    """
    corners = shape[list(MOUTH_CORNERS)]
    pose = take.camera_from_head[index]
    centre = project(pose[None], take.k, corners.mean(0, keepdims=True))[0, 0]
    distance = (pose[:3, :3] @ corners.mean(0) + pose[:3, 3])[2]
    width = float(np.linalg.norm(corners[1] - corners[0]) * take.k[0, 0] / distance)
    side = max(2, round(BOX_MOUTH_WIDTHS * width))
    return square_box(centre, side, frame_height=take.height, frame_width=take.width)


def mouth_68(landmarks: Landmarks) -> Array:
    """Return the 20 mouth points of the 68-point scheme in the picture; [T, 478, 2 or 3] to [T, 20, 2]."""
    assert landmarks.ndim == 3 and landmarks.shape[1] == LANDMARK_COUNT and landmarks.shape[2] in (2, 3), (
        f"landmarks are [T, {LANDMARK_COUNT}, 2 or 3], not {landmarks.shape}"
    )
    return landmarks[:, MOUTH_68, :2].astype(np.float64)


def eye_distance(landmarks: Landmarks) -> Array:
    """Return the distance between the outer eye corners, the unit of scale-free figures; [T]."""
    return _distance(landmarks, OUTER_EYE_CORNERS)


def lip_width(landmarks: Landmarks) -> Array:
    """Return the distance of the mouth corners (61, 291) in eye distances; [T]; NaN without a face."""
    return _distance(landmarks, MOUTH_CORNERS) / eye_distance(landmarks)


def lmd_frames(a: Landmarks, b: Landmarks) -> Array:
    """Return each frame's landmark distance (Chen et al. 2018, mean-centred) in pixels; [T].

    The mean distance of the 20 mouth points, each mouth centred; NaN without a face. Cannot see: a mouth that
    is shifted as a whole; which of two clips is out of sync; what the lips look like. Depends on the
    picture's size: compare within one footage only, or divide by `eye_distance`.
    """
    assert a.shape[0] == b.shape[0], f"{a.shape[0]} frames against {b.shape[0]}"
    ours, theirs = (points - points.mean(axis=1, keepdims=True) for points in (mouth_68(a), mouth_68(b)))
    distances: Array = np.linalg.norm(ours - theirs, axis=2).mean(axis=1)
    return distances


def jitter(landmarks: Landmarks, *, cuts: Iterable[int] = ()) -> float:
    """Return how much the mouth trembles against the face: in per cent of the eye distance.

    Root mean square of the second difference (a[t-1] - 2 a[t] + a[t+1]) of the 20 mouth points, after each
    frame was moved, turned and scaled so that the points that speech does not move lie on their mean; so head
    motion and shaking cameras do not count. Speech counts, and so does the detector: on real video 1.0 to
    2.6, on a mouth at rest still 0.8 (eyes 65 pixels apart). So read it over the real video's, where static
    lips give 0.7 to 0.9. NaN without three frames in a row that have a face.

    Args:
        landmarks: [T, 478, 2 or 3], pixels, of one take, evenly spaced.
        cuts: first frames after cuts; nothing is measured across them.
    """
    change = np.abs(np.diff(_mouths_on_still_face(landmarks), 2, axis=0)) ** 2
    for cut in cuts:
        change[max(0, cut - 2) : max(0, cut)] = np.nan
    known = change[np.isfinite(change).all(axis=1)]
    return 100 * math.sqrt(float(known.mean())) if known.size else math.nan


@dataclass(frozen=True)
class OpeningScale:
    """One person's lip openings, learned from real video of the person; everything in eye distances.

    A fixed figure would not do: detectors give a closed mouth as 0.00 to 0.01, and people open theirs
    differently far. On six people the openings have two heaps, and the threshold falls between them.
    """

    closed: float
    """5th percentile: the mouth at rest or in a closure."""
    wide: float
    """95th percentile."""

    @property
    def threshold(self) -> float:
        """The mouth counts as open above this: closed + 15 % of the way to wide."""
        return self.closed + OPEN_SHARE * (self.wide - self.closed)

    @classmethod
    def of(cls, footage: Footage) -> OpeningScale:
        """Learn the scale of the person of a footage."""
        return cls.measure(np.concatenate([take.lip_opening for take in footage.takes]))

    @classmethod
    def measure(cls, real_openings: Series) -> OpeningScale:
        """Learn the scale from real openings [T] that hold speech and closures; NaN frames are left out."""
        known = real_openings[np.isfinite(real_openings)]
        assert known.size > 0, "the opening scale needs at least one frame with a face"
        closed, wide = np.quantile(known, [CLOSED_QUANTILE, WIDE_QUANTILE])
        return cls(float(closed), float(wide))

    def open_percent(self, openings: Series) -> float:
        """Return the per cent of openings [N] that are open mouths, NaN left out; NaN if none is known."""
        known = openings[np.isfinite(openings)]
        return 100 * float((known > self.threshold).mean()) if known.size else math.nan


def bilabial_intervals(phones: Iterable[tuple[str, float, float]]) -> Intervals:
    """Return start and end [N, 2] of /p b m/ in (phone, start, end) rows; capitals make no difference."""
    found = [(start, end) for phone, start, end in phones if phone.upper() in BILABIALS]
    return np.array(found, np.float64).reshape(-1, 2)


def closures_reached(
    openings: Series, times: Series, intervals: Intervals, *, scale: OpeningScale
) -> list[bool]:
    """Tell of each asked-for closure that has a frame in reach whether the lips reach it.

    A closure is reached where the opening falls below the threshold, one frame early or late allowed, and is
    above it somewhere within 0.3 s before or after: lips that are always shut close nothing. Cannot see: a
    wrong time inside the tolerance. Real video does not reach all of them either, as a closure may be shorter
    than a frame: compare rows.

    Args:
        openings: [T], eye distances, NaN without a face.
        times: [T], seconds.
        intervals: [N, 2], seconds, one row a phone.
        scale: the person's own.
    """
    assert openings.shape == times.shape, f"{openings.shape} openings at {times.shape} times"
    reached = []
    for start, end in intervals:
        near, around = (
            openings[(times >= start - reach) & (times <= end + reach) & np.isfinite(openings)]
            for reach in (CLOSURE_TOLERANCE, CLOSURE_REACH)
        )
        if near.size:
            reached.append(bool(near.min() <= scale.threshold < around.max()))
    return reached


def frames_inside(times: Series, intervals: Intervals, *, margin: float = 0.0) -> NDArray[np.bool_]:
    """Mark the frames [T] inside one of the intervals [N, 2], each shortened by a margin at both ends."""
    starts, ends = intervals[:, :1] + margin, intervals[:, 1:] - margin
    inside: NDArray[np.bool_] = ((times >= starts) & (times < ends)).any(axis=0)
    return inside


def _distance(landmarks: Landmarks, pair: tuple[int, int]) -> Array:
    """Return the distance of two points in the picture; [T]."""
    a, b = (landmarks[:, point, :2] for point in pair)
    return np.asarray(np.linalg.norm(b - a, axis=1), np.float64)


def _mouths_on_still_face(landmarks: Landmarks) -> NDArray[np.complex128]:
    """Return the mouth points as complex numbers in eye distances, the face held still; [T, 20]."""
    mouths = np.full((len(landmarks), len(MOUTH_68)), np.nan, np.complex128)
    known = np.isfinite(landmarks).all(axis=(1, 2))
    if not known.any():
        return mouths
    face, mouth = _complex(landmarks[known][:, RIGID]), _complex(mouth_68(landmarks[known]))
    middle = face.mean(axis=1, keepdims=True)
    face, mouth = face - middle, mouth - middle
    mean = face.mean(axis=0)
    left, right = (RIGID.index(corner) for corner in OUTER_EYE_CORNERS)
    # One complex number turns and scales each frame's face on to the mean face (least squares).
    turn = (face.conj() * mean).sum(axis=1) / (np.abs(face) ** 2).sum(axis=1)
    mouths[known] = mouth * turn[:, None] / np.abs(mean[right] - mean[left])
    return mouths


def _complex(points: NDArray[np.floating[Any]]) -> NDArray[np.complex128]:
    return np.asarray(points[..., 0] + 1j * points[..., 1], np.complex128)
