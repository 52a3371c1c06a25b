"""Pose-controllable synthesis: carry the whole head of a frame to another head pose.

The learned depth of the head is moved to the new pose and drawn there by a forward splat with z-order;
colours are looked up in the frame itself, and where the frame did not see them, in the canonical picture.
Around the head and down the neck the movement fades out, so that nothing tears.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from speech2lip.arrays import Array, Floats, Picture
from speech2lip.composition.reposing.background import Background
from speech2lip.composition.reposing.head_mesh import head_mesh, read_nodes
from speech2lip.conventions import Box
from speech2lip.decomposition.canonical import Canonical
from speech2lip.geometry.mapping import sample
from speech2lip.geometry.splat import splat, visible
from speech2lip.head_track import HeadTrack

NECK = np.array([0.0, 1.05, 0.95])
"""The point about which a head turns, in head space: amid the neck, a hand below the ears."""

_EDGE = 2.5
"""Pixels between the sources of neighbouring pixels from which there is an edge, which is softened."""
_HIDDEN = 0.08
"""Eye units by which a place lies behind what is seen before it counts as hidden."""


def rotation_of(yaw: float, pitch: float, roll: float) -> Array:
    """Return the rotation [3, 3] of angles in degrees, the reverse of `head_angles`."""
    from scipy.spatial.transform import Rotation

    turned: Array = Rotation.from_euler("YXZ", [-yaw, -pitch, roll], degrees=True).as_matrix()
    return turned


def offset_to(camera_from_head: Array, rotation: Array, shift: Array | None = None) -> Array:
    """Return the offset [4, 4] that gives a head pose a rotation [3, 3], its neck staying but for a shift."""
    new = np.eye(4)
    neck = camera_from_head[:3, :3] @ NECK + camera_from_head[:3, 3]
    new[:3, :3] = rotation
    new[:3, 3] = neck - rotation @ NECK + (0 if shift is None else shift)
    offset: Array = new @ np.linalg.inv(camera_from_head)
    return offset


class Reposer:
    """Carries the heads of one person's frames to other head poses."""

    def __init__(self, canonical: Canonical, *, background: Background | None = None) -> None:
        """Lay out the head; `background` is what is known of the picture behind it, if anything."""
        self.mesh = head_mesh(canonical)
        self.background = background
        self.picture = torch.from_numpy(canonical.picture).permute(2, 0, 1)[None].float()

    def repose(self, frame: Picture, head: HeadTrack, offset: Array) -> Picture:
        """Carry the head of a frame to another pose.

        Args:
            frame: [H, W, 3].
            head: where the head is in it.
            offset: [4, 4] rigid movement in camera space; `head.moved(offset)` is where the head then is.
        """
        seen, there = self.mesh.project(head), self.mesh.project(head, offset)
        size = (frame.shape[0], frame.shape[1])
        box = _box([seen, there], size)
        if box is None:
            return frame.copy()
        x0, y0, x1, y1 = box
        corner = np.array([x0, y0, 0], np.float32)
        where, _ = splat(there - corner, (y1 - y0, x1 - x0))
        # What is interpolated is the way back, not the place: where nothing moves, nothing is resampled.
        source = _pixels((y0, x0), (y1 - y0, x1 - x0)) + read_nodes(seen[..., :2] - there[..., :2], where)
        colours = self._with_hidden(_sample(frame, source), seen, where, head)
        colours = _softened(colours, source)
        if self.background is not None:
            before, _ = splat(seen - corner, (y1 - y0, x1 - x0))
            colours = self.background.compose(colours, frame, (x0, y0), where, before)
        new = frame.copy()
        new[y0:y1, x0:x1] = np.rint(colours.clip(0, 255)).astype(np.uint8)
        return new

    def _with_hidden(self, colours: Floats, seen: Floats, where: Floats, head: HeadTrack) -> Floats:
        """Take what the frame did not see from the canonical picture, in the frame's light."""
        start = np.floor(seen[..., :2].reshape(-1, 2).min(0))
        extent = np.ceil(seen[..., :2].reshape(-1, 2).max(0)) - start
        local = seen - np.array([*start, 0], np.float32)
        _, depth = splat(local, (int(extent[1]) + 1, int(extent[0]) + 1))
        shown = visible(local, depth, tolerance=_HIDDEN)
        inner = self.mesh.beyond <= 0
        hidden = gaussian_filter((~shown & inner).astype(np.float32), 0.7)
        if hidden.max() < 0.1:
            return colours
        part = np.clip(2 * read_nodes(hidden[..., None], where), 0, 1)
        canonical = torch.from_numpy(read_nodes(self.mesh.canonical, where))[None]
        other = sample(self.picture, canonical)[0].permute(1, 2, 0).numpy() * head.light_gain[0]
        mixed: Floats = colours + (other - colours) * part
        return mixed


def _box(nodes: list[Floats], size: tuple[int, int]) -> Box | None:
    """Return the part of a picture that holds the nodes; None if there is none."""
    xy = np.concatenate([some[..., :2].reshape(-1, 2) for some in nodes])
    low, high = np.floor(xy.min(0)).astype(int), np.ceil(xy.max(0)).astype(int)
    x0, y0 = max(0, int(low[0])), max(0, int(low[1]))
    x1, y1 = min(size[1], int(high[0])), min(size[0], int(high[1]))
    return (x0, y0, x1, y1) if x1 - x0 > 1 and y1 - y0 > 1 else None


def _pixels(start: tuple[int, int], size: tuple[int, int]) -> Floats:
    y, x = np.mgrid[start[0] : start[0] + size[0], start[1] : start[1] + size[1]].astype(np.float32)
    return np.stack([x, y], axis=-1) + np.float32(0.5)


def _sample(frame: Picture, points: Floats) -> Floats:
    """Look up colours at pixels [h, w, 2]; [h, w, 3] from 0 to 255."""
    picture = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
    found = sample(picture, torch.from_numpy(np.ascontiguousarray(points))[None], mode="bicubic")
    colours: Floats = found[0].permute(1, 2, 0).numpy()
    return colours


def _softened(colours: Floats, source: Floats) -> Floats:
    """Soften the stairs where one surface ends before another: where the places looked up jump."""
    jumps = np.zeros(source.shape[:2], bool)
    for axis in (0, 1):
        far = np.linalg.norm(np.diff(source, axis=axis), axis=-1) > _EDGE
        jumps |= np.pad(far, [(0, int(axis == 0)), (0, int(axis == 1))])
    part = gaussian_filter(jumps.astype(np.float32), 0.8)[..., None]
    blurred = gaussian_filter(colours, (0.8, 0.8, 0))
    softened: Floats = colours + (blurred - colours) * np.minimum(2 * part, 1)
    return softened
