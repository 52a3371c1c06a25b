"""Depth of the whole head in canonical space, as the face mesh has it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
from scipy.ndimage import distance_transform_edt, gaussian_filter

from speech2lip.decomposition.canonical import eye_distance, fill_polygon
from speech2lip.faces.landmarks import CHIN, FACE_OVAL, SUBNASALE
from speech2lip.geometry.mapping import pixel_centres

_BACK = 0.5
"""How far behind the edge of the face the head's sides and hair lie, in eye units."""
_STEEP = 0.8
"""How fast the head recedes at that edge."""


def mesh_depth(points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    """Interpolate depth between the points of the face and carry it on beyond them.

    Args:
        points: [N, 3]: canonical pixels x, y and depth in eye units.
        size: (H, W) of the canonical picture.

    Returns:
        [H, W] in eye units, smooth.
    """
    y, x = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
    inside = LinearNDInterpolator(points[:, :2], points[:, 2])(x, y)
    beyond = NearestNDInterpolator(points[:, :2], points[:, 2])(x, y)
    sigma = 0.03 * max(size)
    far = gaussian_filter(beyond, 2 * sigma)
    depth = np.where(np.isnan(inside), far, inside)
    smooth: NDArray[np.float32] = gaussian_filter(depth, sigma / 3).astype(np.float32)
    return smooth


def head_depth(points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the depth that is assumed before any is learned: the mesh, and a head that recedes beyond it.

    Beyond the sides and the top of the face the head curves back; neck and shoulders, which do not turn with
    it, go on as `mesh_depth` has them.

    Args:
        points: [478, 3]: canonical pixels x, y and depth in eye units; size: (H, W) of the canonical picture.

    Returns:
        [H, W] in eye units.
    """
    unit = eye_distance(points[:, :2])
    where = pixel_centres(*size).numpy()
    face = fill_polygon(points[list(FACE_OVAL), :2], where)
    away = distance_transform_edt(~face) / unit
    nose, chin = points[SUBNASALE, 1], points[CHIN[0], 1]
    sides = np.clip((chin - where[..., 1]) / (chin - nose), 0, 1)
    back = _BACK * (1 - np.exp(-away * _STEEP / _BACK)) * sides
    smooth: NDArray[np.float32] = gaussian_filter(back, 0.03 * unit).astype(np.float32)
    return mesh_depth(points, size) + smooth
