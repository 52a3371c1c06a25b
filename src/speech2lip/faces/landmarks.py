"""Face landmarks of every frame; the only file that imports mediapipe."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2lip.arrays import Points
from speech2lip.conventions import LANDMARK_COUNT
from speech2lip.errors import MissingExtra

# Names of places on the face, as indices into the 478-point mesh (MediaPipe face mesh topology).
OUTER_EYE_CORNERS = (33, 263)
MOUTH_CORNERS = (61, 291)
INNER_LIPS = ((13, 14), (82, 87), (312, 317))
"""Pairs (upper, lower) whose mean distance is the lip opening."""
EYE_LIDS = ((159, 145), (386, 374))
LIPS_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
LIPS_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
LIPS = LIPS_OUTER + LIPS_INNER
CHIN = (152, 148, 377, 176, 400)
SHAPE_POINTS = LIPS + CHIN
"""Points whose places make the lip shape."""
SUBNASALE = 2
JAW_LINE = (132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361)
"""From below one ear over the chin to below the other."""
FACE_OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152,
             148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)  # fmt: skip
RIGID = (10, 67, 69, 104, 108, 109, 151, 297, 299, 333, 337, 338, 9, 8, 168, 6, 197, 195,  # brow, nose
         21, 54, 103, 127, 162, 139, 71, 68, 251, 284, 332, 356, 389, 368, 301, 298,  # temples
         116, 117, 118, 111, 345, 346, 347, 340, 143, 372, 34, 264, 227, 447,  # cheekbones
         33, 263, 130, 359, 188, 412, 174, 399, 196, 419, 122, 351)  # fmt: skip
"""Points that speech does not move: no lids, brows, lips or jaw."""
SKIN = (117, 118, 119, 346, 347, 348, 50, 280, 6, 197, 195, 151, 9, 108, 337, 101, 330)
"""Points on skin above the mouth, where light is measured."""


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Hold back what mediapipe's C++ part prints about itself on start."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class LandmarkDetector:
    """Finds 478 landmarks of one face, or of several, in successive frames of a take.

    Use as a context manager, one per take: the detector follows the face from frame to frame.
    """

    def __init__(self, *, enlarge_below: int = 0, faces: int = 1, alone: bool = False) -> None:
        """Set up.

        Args:
            enlarge_below: faces narrower than this many pixels are enlarged first; 0 never.
            faces: how many are looked for, at most.
            alone: whether each picture is looked at for itself, without following from the one before.
        """
        os.environ.setdefault("GLOG_minloglevel", "2")
        try:
            import mediapipe
        except ImportError as error:
            raise MissingExtra(
                "preparing footage needs mediapipe (Python 3.10 to 3.12): pip install mediapipe==0.10.21"
            ) from error
        self._enlarge_below = enlarge_below
        self._factor = 1.0
        self._quiet_calls = 30  # it also prints when its later parts are first needed
        with _quiet_stderr():
            self._mesh: Any = mediapipe.solutions.face_mesh.FaceMesh(
                static_image_mode=alone,
                max_num_faces=faces,
                refine_landmarks=True,
                min_detection_confidence=0.5,
                min_tracking_confidence=0.5,
            )
            # Its parts open on threads of their own; after a first picture all have said what they say.
            self._mesh.process(np.zeros((64, 64, 3), np.uint8))

    def __enter__(self) -> LandmarkDetector:
        return self

    def __exit__(self, *_: object) -> None:
        self._mesh.close()

    def detect(self, rgb: NDArray[np.uint8]) -> Points | None:
        """Find the landmarks of a frame.

        Args:
            rgb: [H, W, 3].

        Returns:
            [478, 3]: x, y in pixels and z in pixels relative to the head's centre, away from the camera
            positive; None where no face is found.
        """
        found = self.detect_all(rgb)
        if not found and self._factor == 1.0 and rgb.shape[1] < 4 * self._enlarge_below:
            self._factor = 2.0
            found = self.detect_all(rgb)
            self._factor = self._factor if found else 1.0
        return found[0] if found else None

    def detect_all(self, rgb: NDArray[np.uint8]) -> list[Points]:
        """Find the landmarks of several faces, each as `detect` gives them, in no certain order."""
        large = rgb
        if self._factor != 1.0:
            import cv2

            size = (round(rgb.shape[1] * self._factor), round(rgb.shape[0] * self._factor))
            large = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_CUBIC), np.uint8)
        with _quiet_stderr() if self._quiet_calls > 0 else contextlib.nullcontext():
            faces = self._mesh.process(large).multi_face_landmarks
        self._quiet_calls -= 1
        size_3d = np.array([rgb.shape[1], rgb.shape[0], rgb.shape[1]], np.float32)
        every = [np.array([(p.x, p.y, p.z) for p in face.landmark], np.float32) for face in faces or ()]
        found = [points * size_3d for points in every if points.shape == (LANDMARK_COUNT, 3)]
        if found:
            width = max(float(np.ptp(points[:, 0])) for points in found)
            self._factor = 2.0 if 0 < width < self._enlarge_below else 1.0
        return found

    def forget(self) -> None:
        """Look for the face anew in the next frame: the picture has changed abruptly."""
        self._mesh.process(np.zeros((64, 64, 3), np.uint8))  # no face in it: nothing to follow


def lip_opening(points: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return the distance between the inner lips over that between the outer eye corners.

    Args:
        points: [..., 478, 2 or 3] in pixels; only x and y are used.

    Returns:
        [...] in eye units.
    """
    return _mean_gap(points, INNER_LIPS)


def eye_opening(points: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return the mean gap between the lids over that between the outer eye corners; [...] in eye units."""
    return _mean_gap(points, EYE_LIDS)


def _mean_gap(points: NDArray[np.floating[Any]], pairs: tuple[tuple[int, int], ...]) -> NDArray[np.float32]:
    """Return the mean distance of pairs of points in eye units; [...]."""
    gaps = [np.linalg.norm(points[..., a, :2] - points[..., b, :2], axis=-1) for a, b in pairs]
    left, right = OUTER_EYE_CORNERS
    scale = np.linalg.norm(points[..., left, :2] - points[..., right, :2], axis=-1)
    opening: NDArray[np.float32] = (np.mean(gaps, axis=0) / np.maximum(scale, 1e-6)).astype(np.float32)
    return opening
