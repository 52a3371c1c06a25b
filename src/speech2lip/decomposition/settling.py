"""Second pass over the footage: settle the canonical space, its depth, picture, motion and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from speech2lip.composition.pose_mapping import look_up, observed_from_canonical_points, pixel_centres
from speech2lip.config import PrepareSettings
from speech2lip.decomposition.canonical import Canonical, canonical_camera, rest_scores
from speech2lip.decomposition.depth import learn_depth, mesh_depth
from speech2lip.decomposition.footage import Take
from speech2lip.decomposition.landmarks import FACE_OVAL, eye_opening
from speech2lip.decomposition.masks import eye_distance, fill_polygon, jaw_mask, jaw_outline, lip_patch
from speech2lip.progress import Progress

_DEPTH_FRAMES = 64
"""Frames that the depth is learned from."""

Array = NDArray[np.float64]


def settle_canonical(
    takes: Sequence[Take],
    shape: Array,
    sharpness: Mapping[str, NDArray[np.float32]],
    settings: PrepareSettings,
) -> Canonical:
    """Choose the canonical frame, learn the head's depth there and find what moves with the mouth."""
    take, index = choose_frame(takes, sharpness)
    k, size = canonical_camera(
        shape, take.camera_from_head[index], take.k, canvas_pixels=settings.canvas_pixels
    )
    pose = take.camera_from_head[index]
    scale = k[0, 0] / take.k[0, 0]
    points = _canonical_points(shape, pose, k)
    detail = settings.patch_detail / scale
    patch = lip_patch(points[:, :2], pixels_per_canonical=detail, width=settings.patch_width)
    frames, transforms, cameras = _sample_frames(takes, pose, scale)
    initial = torch.from_numpy(mesh_depth(points, size))
    k_canonical = torch.from_numpy(k).float()
    trusted = torch.from_numpy(
        ~fill_polygon(jaw_outline(points[:, :2]), pixel_centres(*size).numpy())
    ).float()
    with Progress("Learning depth", total=max(settings.depth_steps, 1)) as progress:
        depth, mean = learn_depth(
            initial,
            frames,
            transforms,
            k_canonical,
            cameras,
            weight=trusted,
            steps=settings.depth_steps,
            report=progress.set,
        )
    motion = motion_map(frames, transforms, cameras, depth, k_canonical, mean)
    picture = (mean.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    mask = jaw_mask(points[:, :2], patch, _mouth_motion(motion, points[:, :2], patch.points()))
    return Canonical(
        take=take.name,
        frame_index=index,
        k=k,
        camera_from_head=pose,
        size=size,
        shape=shape,
        depth=depth.numpy(),
        picture=picture,
        motion=motion.numpy(),
        patch=patch,
        jaw_mask=mask,
    )


def choose_frame(takes: Sequence[Take], sharpness: Mapping[str, NDArray[np.float32]]) -> tuple[Take, int]:
    """Choose the canonical frame: the best `rest_scores` among frames that are not left out."""
    places = [(take, int(i)) for take in takes for i in np.flatnonzero(take.left_out == 0)]
    kept = [take.left_out == 0 for take in takes]
    scores = rest_scores(
        np.concatenate([take.camera_from_head[k] for take, k in zip(takes, kept, strict=True)]),
        np.concatenate([take.opening[k] for take, k in zip(takes, kept, strict=True)]),
        np.concatenate([eye_opening(take.landmarks[k]) for take, k in zip(takes, kept, strict=True)]),
        np.concatenate([sharpness[take.name][k] for take, k in zip(takes, kept, strict=True)]),
    )
    return places[int(scores.argmax())]


def _canonical_points(shape: Array, camera_from_head: Array, k: Array) -> Array:
    """Return canonical pixels and depth of the rigid face; [478, 3]."""
    p = shape @ camera_from_head[:3, :3].T + camera_from_head[:3, 3]
    q = p @ k.T
    return np.concatenate([q[:, :2] / q[:, 2:], p[:, 2:]], axis=1)


def _sample_frames(
    takes: Sequence[Take], canonical_pose: Array, scale: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Decode frames spread over all takes, shrunk to the canonical scale and cut to one size.

    Returns:
        frames [F, 3, H, W], observed_from_canonical [F, 4, 4], cameras [F, 3, 3].
    """
    places = [(n, int(i)) for n, take in enumerate(takes) for i in np.flatnonzero(take.left_out == 0)]
    chosen = [places[int(j)] for j in np.linspace(0, len(places) - 1, min(len(places), _DEPTH_FRAMES))]
    wanted: dict[int, list[int]] = {}
    for n, i in chosen:
        wanted.setdefault(n, []).append(i)
    pictures, transforms, cameras = [], [], []
    back = np.linalg.inv(canonical_pose)
    with Progress("Reading frames", total=len(wanted)) as progress:
        for n, indices in wanted.items():
            take = takes[n]
            for frame in take.frames(min(indices), max(indices) + 1):
                if frame.index in indices:
                    size = (round(take.width * scale), round(take.height * scale))
                    small = (
                        frame.rgb if scale >= 1 else cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA)
                    )
                    pictures.append(np.asarray(small))
                    transforms.append(take.camera_from_head[frame.index] @ back)
                    cameras.append(np.diag([size[0] / take.width, size[1] / take.height, 1.0]) @ take.k)
            progress.set(len(pictures) / max(len(chosen), 1) * len(wanted))
    height, width = max(p.shape[0] for p in pictures), max(p.shape[1] for p in pictures)
    padded = [
        np.pad(p, ((0, height - p.shape[0]), (0, width - p.shape[1]), (0, 0)), mode="edge") for p in pictures
    ]
    frames = torch.from_numpy(np.stack(padded)).permute(0, 3, 1, 2).float() / 255
    return frames, torch.from_numpy(np.stack(transforms)).float(), torch.from_numpy(np.stack(cameras)).float()


def motion_map(
    frames: torch.Tensor,
    observed_from_canonical: torch.Tensor,
    k_observed: torch.Tensor,
    depth: torch.Tensor,
    k_canonical: torch.Tensor,
    mean: torch.Tensor,
) -> torch.Tensor:
    """Return the mean absolute deviation from the mean canonical picture; [H, W] in grey levels."""
    points = pixel_centres(*depth.shape).reshape(1, -1, 2)
    total = torch.zeros(depth.shape)
    for n in range(len(frames)):
        where = observed_from_canonical_points(
            points, depth, observed_from_canonical[n : n + 1], k_canonical, k_observed[n : n + 1]
        )
        picture = look_up(frames[n : n + 1], where).reshape(3, *depth.shape)
        gain = picture.mean((1, 2), keepdim=True) / mean.mean((1, 2), keepdim=True)
        total += (picture / gain - mean).abs().mean(0)
    return total / len(frames) * 255


def _mouth_motion(motion: torch.Tensor, points: Array, where: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how much each place of the patch moves with the lips: 0.5 where it moves twice as much as the
    still face.
    """
    still = float(np.median(_at(motion, points[[6, 197, 151, 9, 117, 346]])))
    unit = eye_distance(points)
    moving = np.clip(_at(motion, where.reshape(-1, 2)) / max(still, 1.0) / 4, 0, 1).reshape(where.shape[:2])
    # Hair, hands and background move too: only what lies on the face around the mouth can be the jaw.
    face = fill_polygon(_grown(points[list(FACE_OVAL)], -0.08 * unit), where)
    inside = fill_polygon(_grown(jaw_outline(points), 0.08 * unit), where) & face
    result: NDArray[np.float32] = (moving * inside).astype(np.float32)
    return result


def _grown(outline: Array, pixels: float) -> Array:
    centre = outline.mean(0)
    away = outline - centre
    grown: Array = outline + away / np.linalg.norm(away, axis=1, keepdims=True) * pixels
    return grown


def _at(picture: torch.Tensor, points: NDArray[Any]) -> NDArray[np.float32]:
    found = look_up(picture[None, None], torch.from_numpy(np.asarray(points, np.float32))[None])
    values: NDArray[np.float32] = found[0, 0].numpy()
    return values
