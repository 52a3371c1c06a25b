"""The canonical space: which frame it is, its camera, its picture, its depth and its regions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech2lip.conventions import Array
from speech2lip.decomposition.regions import LipPatch, eye_distance
from speech2lip.errors import SettingsError
from speech2lip.faces.landmarks import FACE_OVAL
from speech2lip.geometry.rigid import project


@dataclass(frozen=True)
class Canonical:
    """The fixed head pose that every frame is brought into."""

    take: str
    """Take of the canonical frame."""
    frame_index: int
    """The canonical frame."""
    k: Array
    """[3, 3] camera of the canonical picture: the canonical frame's, cropped to the head and scaled."""
    camera_from_head: Array
    """[4, 4] head pose of the canonical frame, T_c."""
    size: tuple[int, int]
    """Rows and columns of the canonical picture."""
    shape: Array
    """[478, 3] rigid face in head space, in eye units."""
    depth: NDArray[np.float32]
    """[H, W] depth of the head, in eye units."""
    picture: NDArray[np.uint8]
    """[H, W, 3] mean of the footage in canonical space."""
    motion: NDArray[np.float32]
    """[H, W] mean absolute deviation from the mean picture, in grey levels: what still moves when the head
    is held.
    """
    patch: LipPatch
    """Where the lips are drawn."""
    jaw_mask: NDArray[np.float32]
    """[h, w] over the patch: what is replaced."""

    @property
    def points(self) -> Array:
        """Landmarks of the rigid face in canonical pixels; [478, 2]."""
        return project(self.camera_from_head[None], self.k, self.shape)[0]


def named_frame(name: str) -> tuple[str, int] | None:
    """Read the name of a canonical frame, `TAKE:NUMBER`, as take and frame index; None where it is empty.

    Raises:
        SettingsError: it is no such name.
    """
    take, _, number = name.rpartition(":")
    if not name:
        return None
    if not take or not number.isdecimal():
        raise SettingsError(
            f"canonical_frame must be the name of a take and a frame number such as take1:25, not {name!r}"
        )
    return take, int(number)


def rest_scores(camera_from_head: Array, opening: Array, eyes: Array, sharpness: Array) -> Array:
    """Score how well each frame would serve as the canonical one; higher is better.

    The sum of four terms, each about 1 where it begins to hurt: distance from the median head pose (in 10
    degrees, in a tenth of
    the distance), an open mouth (in 0.05 eye units), closed eyes, and blur against the sharpest frames.

    Args:
        camera_from_head: [T, 4, 4]; opening, eyes: [T] in eye units; sharpness: [T], any unit.
    """
    from speech2lip.geometry.rigid import head_angles

    angles = head_angles(camera_from_head)
    turned = np.linalg.norm(angles - np.median(angles, axis=0), axis=1) / 10
    distance = camera_from_head[:, 2, 3]
    moved = np.abs(distance / np.median(distance) - 1) * 10
    rest = np.percentile(opening, 10)
    mouth = np.abs(opening - rest) / 0.05
    lids = np.clip(1 - eyes / np.maximum(np.percentile(eyes, 60), 1e-6), 0, 1) * 4
    blur = np.clip(1 - sharpness / np.maximum(np.percentile(sharpness, 80), 1e-6), 0, 1)
    scores: Array = -(turned + moved + mouth + lids + blur)
    return scores


def canonical_camera(
    shape: Array, camera_from_head: Array, k: Array, *, canvas_pixels: int
) -> tuple[Array, tuple[int, int]]:
    """Crop and scale the canonical frame's camera so that its picture holds the whole head.

    Args:
        shape: [478, 3]; camera_from_head: [4, 4]; k: [3, 3] of the frame.
        canvas_pixels: longest side at most; the picture is never finer than the frame.

    Returns:
        K of the canonical picture and its (rows, columns).
    """
    points = project(camera_from_head[None], k, shape)[0]
    face = points[list(FACE_OVAL)]
    unit = eye_distance(points)
    x0, y0 = face.min(0) - unit * np.array([0.45, 0.75])
    x1, y1 = face.max(0) + unit * np.array([0.45, 0.50])
    scale = min(1.0, canvas_pixels / max(x1 - x0, y1 - y0))
    size = (round((y1 - y0) * scale), round((x1 - x0) * scale))
    cropped = k.copy()
    cropped[:2, 2] -= [x0, y0]
    cropped[:2] *= scale
    return cropped, size
