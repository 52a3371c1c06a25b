"""Plain 2-D warps, which turning a head in space has to beat."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter

from speech2lip.arrays import Array, Picture
from speech2lip.composition.reposing.background import filled_smoothly
from speech2lip.geometry.mapping import pixel_centres, sample


def fit_similarity(before: Array, after: Array) -> Array:
    """Fit scale, rotation and shift in the picture, after = [2, 3] @ (before, 1), to points [N, 2]."""
    x, y = before.T
    one, none = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate([np.stack([x, -y, one, none], 1), np.stack([y, x, none, one], 1)])
    a, b, c, d = np.linalg.lstsq(rows, np.concatenate([after[:, 0], after[:, 1]]), rcond=None)[0]
    return np.array([[a, -b, c], [b, a, d]])


def warp_picture(picture: NDArray[np.generic], similarity: Array) -> NDArray[np.uint8]:
    """Warp a whole picture [H, W, C] by a similarity."""
    values = torch.from_numpy(np.asarray(picture, np.float32)).permute(2, 0, 1)[None]
    turn = torch.from_numpy(similarity).float()
    points = pixel_centres(*values.shape[-2:]) - turn[:, 2]
    back = points @ torch.linalg.inv(turn[:, :2]).T
    warped = sample(values, back[None], mode="bicubic")[0].permute(1, 2, 0)
    return warped.clamp(0, 255).round().byte().numpy()


def warp_head(
    frame: Picture, similarity: Array, cut: NDArray[np.bool_], behind: NDArray[np.float32]
) -> Picture:
    """Warp the head alone, cut out [H, W] exactly, over the frame with its place filled as ours is."""
    soft = gaussian_filter(cut.astype(np.float32), 0.7) * 255
    part = warp_picture(np.repeat(soft[..., None], 3, axis=2), similarity).astype(np.float32) / 255
    original = frame.astype(np.float32)
    hole = binary_dilation(cut, iterations=3)
    filled = np.where(hole[..., None], filled_smoothly(behind, original, ~hole), original)
    moved = warp_picture(frame, similarity).astype(np.float32)
    return np.rint(filled + (moved - filled) * part).clip(0, 255).astype(np.uint8)
