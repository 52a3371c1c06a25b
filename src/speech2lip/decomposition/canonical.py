"""The canonical space: which frame it is, its camera, its picture, its depth and its regions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from speech2lip.arrays import Array
from speech2lip.errors import SettingsError
from speech2lip.faces.landmarks import (
    CHIN,
    FACE_OVAL,
    JAW_LINE,
    MOUTH_CORNERS,
    OUTER_EYE_CORNERS,
    SUBNASALE,
)
from speech2lip.geometry.rigid import head_angles, project, transformed

_BACK = 0.5
"""How far behind the edge of the face the head's sides and hair lie, in eye units."""
_STEEP = 0.8
"""How fast the head recedes at that edge."""


@dataclass(frozen=True)
class LipPatch:
    """Where the lip patch lies in the canonical picture, and how finely it is drawn."""

    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in canonical pixels."""
    size: tuple[int, int]
    """Rows and columns."""

    def points(self, scale: int = 1) -> NDArray[np.float32]:
        """Return the canonical pixels of the patch's own pixel centres, `scale` times as fine; [h, w, 2]."""
        rows, columns = self.size[0] * scale, self.size[1] * scale
        x0, y0, x1, y1 = self.box
        x = x0 + (np.arange(columns) + 0.5) / columns * (x1 - x0)
        y = y0 + (np.arange(rows) + 0.5) / rows * (y1 - y0)
        return np.stack(np.meshgrid(x, y), axis=-1).astype(np.float32)


def eye_distance(points: Array) -> float:
    """Return the distance between the outer eye corners of [478, 2] points, in their pixels."""
    left, right = points[list(OUTER_EYE_CORNERS), :2]
    return float(np.linalg.norm(right - left))


@dataclass(frozen=True)
class Space:
    """The fixed head pose that every frame is brought into, and the camera that looks at it."""

    k: Array
    """[3, 3] camera of the canonical picture: the canonical frame's, cropped to the head and scaled."""
    camera_from_head: Array
    """[4, 4] head pose of the canonical frame, T_c."""
    size: tuple[int, int]
    """Rows and columns of the canonical picture."""
    shape: Array
    """[478, 3] rigid face in head space, in eye units."""

    @property
    def points(self) -> Array:
        """Landmarks of the rigid face in canonical pixels; [478, 2]."""
        return project(self.camera_from_head, self.k, self.shape)

    @property
    def points_3d(self) -> Array:
        """The same and their depth in eye units; [478, 3]."""
        depth = transformed(self.camera_from_head, self.shape)[:, 2:]
        return np.concatenate([self.points, depth], axis=1)


@dataclass(frozen=True)
class Canonical(Space):
    """The canonical space with all that is known of it."""

    take: str
    """Take of the canonical frame."""
    frame_index: int
    """The canonical frame."""
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


def rest_scores(camera_from_head: Array, lips: Array, eyes: Array, sharpness: Array) -> Array:
    """Score how well each frame would serve as the canonical one; higher is better.

    The sum of four terms, each about 1 where it begins to hurt: distance from the median head pose (in 10
    degrees, in a tenth of the distance), an open mouth (in 0.05 eye units), closed eyes, and blur against the
    sharpest frames.

    Args:
        camera_from_head: [T, 4, 4]; lips, eyes: [T] how open, in eye units; sharpness: [T], any unit.
    """
    angles = head_angles(camera_from_head)
    turned = np.linalg.norm(angles - np.median(angles, axis=0), axis=1) / 10
    distance = camera_from_head[:, 2, 3]
    moved = np.abs(distance / np.median(distance) - 1) * 10
    rest = np.percentile(lips, 10)
    mouth = np.abs(lips - rest) / 0.05
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
    points = project(camera_from_head, k, shape)
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


def lip_patch(points: Array, *, pixels_per_canonical: float, width: int) -> LipPatch:
    """Lay the lip patch over everything that moves with the jaw.

    Args:
        points: [478, 2] in canonical pixels.
        pixels_per_canonical: pixels of the footage for one canonical pixel: the patch is drawn no finer.
        width: its columns, at most.
    """
    unit = eye_distance(points)
    jaw = points[list(JAW_LINE)]
    centre = points[list(MOUTH_CORNERS), 0].mean()
    half = max(centre - jaw[:, 0].min(), jaw[:, 0].max() - centre) + 0.04 * unit
    half = min(half, 0.85 * unit)
    top = points[SUBNASALE, 1] - 0.12 * unit
    bottom = points[152, 1] + 0.42 * unit
    columns = min(width, round(2 * half * pixels_per_canonical))
    columns = max(16, 8 * (columns // 8))
    rows = max(16, 8 * round(columns * (bottom - top) / (2 * half) / 8))
    return LipPatch((float(centre - half), float(top), float(centre + half), float(bottom)), (rows, columns))


def jaw_outline(points: Array) -> Array:
    """Return the polygon [P, 2] of what moves with the jaw.

    It lies below the nose, between the cheeks, and reaches to under the open chin.
    """
    unit = eye_distance(points)
    nose = points[SUBNASALE]
    corners = points[list(MOUTH_CORNERS)]
    jaw = points[list(JAW_LINE[2:-2])]
    centre = jaw.mean(0)
    outward = jaw - np.array([centre[0], nose[1]])
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    below = np.clip(
        (jaw[:, 1:] - corners[:, 1].mean()) / max(points[152, 1] - corners[:, 1].mean(), 1.0), 0, 1
    )
    pushed = jaw + outward * unit * (0.32 * below**2 - 0.06)
    left = [corners[0] + unit * np.array([-0.30, -0.22]), nose + unit * np.array([-0.20, 0.03])]
    right = [nose + unit * np.array([0.20, 0.03]), corners[1] + unit * np.array([0.30, -0.22])]
    return np.concatenate([pushed, right[::-1], left[::-1]])


def fill_polygon(outline: Array, where: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell which of the places [..., 2] lie inside a polygon [P, 2] (even-odd rule)."""
    from skimage.measure import points_in_poly  # takes a moment

    flat = where.reshape(-1, 2)
    inside: NDArray[np.bool_] = points_in_poly(flat, outline)  # type: ignore[no-untyped-call]
    return inside.reshape(where.shape[:-1])


def jaw_mask(
    points: Array, patch: LipPatch, motion: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Draw the region that is replaced, soft at its edge, zero at the patch's border.

    Args:
        points: [478, 2] in canonical pixels.
        patch: the lip patch.
        motion: [h, w] in [0, 1] over the patch: how much each place moves with the lips in this footage;
            places that move more than half are taken in beyond the outline.

    Returns:
        [h, w] in [0, 1].
    """
    where = patch.points()
    region = fill_polygon(jaw_outline(points), where)
    if motion is not None:
        region |= motion > 0.5
    pixel = (patch.box[2] - patch.box[0]) / patch.size[1]
    sigma = 0.045 * eye_distance(points) / pixel
    from_end = [np.minimum(np.arange(count), np.arange(count)[::-1]) for count in patch.size]
    edge = np.minimum.outer(*from_end)
    region &= edge > 2 * sigma
    soft = gaussian_filter(region.astype(np.float32), sigma)
    mask = np.clip(1.25 * soft - 0.125, 0, 1) * np.clip(edge / 2, 0, 1)
    return mask.astype(np.float32)


def mesh_depth(points: Array, size: tuple[int, int]) -> NDArray[np.float32]:
    """Interpolate depth between the points of the face and carry it on beyond them.

    Args:
        points: [N, 3]: canonical pixels x, y and depth in eye units.
        size: (H, W) of the canonical picture.

    Returns:
        [H, W] in eye units, smooth.
    """
    from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator  # takes a while

    y, x = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
    inside = LinearNDInterpolator(points[:, :2], points[:, 2])(x, y)
    beyond = NearestNDInterpolator(points[:, :2], points[:, 2])(x, y)
    sigma = 0.03 * max(size)
    far = gaussian_filter(beyond, 2 * sigma)
    depth = np.where(np.isnan(inside), far, inside)
    smooth: NDArray[np.float32] = gaussian_filter(depth, sigma / 3).astype(np.float32)
    return smooth


def head_depth(points: Array, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the depth that is assumed before any is learned: the mesh, and a head that recedes beyond it.

    Beyond the sides and the top of the face the head curves back; neck and shoulders, which do not turn with
    it, go on as `mesh_depth` has them.

    Args:
        points: [478, 3]: canonical pixels x, y and depth in eye units; size: (H, W) of the canonical picture.

    Returns:
        [H, W] in eye units.
    """
    unit = eye_distance(points[:, :2])
    y, x = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
    where = np.stack([x, y], axis=-1).astype(np.float32)
    face = fill_polygon(points[list(FACE_OVAL), :2], where)
    away = distance_transform_edt(~face) / unit
    nose, chin = points[SUBNASALE, 1], points[CHIN[0], 1]
    sides = np.clip((chin - where[..., 1]) / (chin - nose), 0, 1)
    back = _BACK * (1 - np.exp(-away * _STEEP / _BACK)) * sides
    smooth: NDArray[np.float32] = gaussian_filter(back, 0.03 * unit).astype(np.float32)
    return mesh_depth(points, size) + smooth
