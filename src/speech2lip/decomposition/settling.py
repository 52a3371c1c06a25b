"""Second pass over the footage: settle the canonical space, its depth, picture, motion and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from speech2lip.composition.pose_mapping import look_up, observed_from_canonical_points, pixel_centres
from speech2lip.config import PrepareSettings
from speech2lip.decomposition.canonical import Canonical, canonical_camera, named_frame, rest_scores
from speech2lip.decomposition.depth import Views, head_depth, learn_depth
from speech2lip.decomposition.footage import Take
from speech2lip.decomposition.landmarks import FACE_OVAL, eye_opening
from speech2lip.decomposition.masks import eye_distance, fill_polygon, jaw_mask, jaw_outline, lip_patch
from speech2lip.decomposition.photometric_takes import agree, refine_takes
from speech2lip.decomposition.sampled_frames import Sample, Space, sample_frames
from speech2lip.errors import SettingsError
from speech2lip.progress import Progress

_DEPTH_FRAMES = 64
"""Frames that the depth is learned from."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Settled:
    """The canonical space, and what was learned of the takes on the way."""

    canonical: Canonical
    takes: list[Take]
    """With the head poses and the focal length that the canonical picture asks for."""
    refined: float | None
    """Share of the frames to train on whose head pose the canonical picture confirmed; None where it was not
    asked.
    """
    score: float
    """Of the canonical frame, by `rest_scores`."""
    best_score: float
    """The best that any frame has."""


def settle_canonical(
    takes: Sequence[Take],
    shape: Array,
    sharpness: Mapping[str, NDArray[np.float32]],
    settings: PrepareSettings,
) -> Settled:
    """Choose the canonical frame, learn the head's depth there, refine all head poses against its picture.

    What moves with the mouth is found on the way.
    """
    take, index, score, best_score = choose_frame(takes, sharpness, wanted=settings.canonical_frame)
    k, size = canonical_camera(
        shape, take.camera_from_head[index], take.k, canvas_pixels=settings.canvas_pixels
    )
    scale = k[0, 0] / take.k[0, 0]
    space = Space(shape, take.camera_from_head[index], k, size)
    sample = sample_frames(takes, scale, count=_DEPTH_FRAMES, home=(take.name, index))
    initial = head_depth(space.points_3d, size)
    agreed = agree(takes, space, sample, initial, settings) if settings.photometric else None
    refined = None
    if agreed is not None:
        takes, space, initial = agreed.takes, agreed.space, agreed.depth
    depth, mean = _learned(takes, space, sample, initial, 0 if agreed is not None else settings.depth_steps)
    if agreed is not None:
        takes, refined = refine_takes(agreed, as_picture(mean))
        depth, mean = _learned(takes, space, sample, depth.numpy(), 0)
    points = space.points_3d[:, :2]
    patch = lip_patch(points, pixels_per_canonical=settings.patch_detail / scale, width=settings.patch_width)
    k_canonical = torch.from_numpy(space.k).float()
    motion = motion_map(
        sample.frames, sample.transforms(takes, space.pose), sample.cameras(takes), depth, k_canonical, mean
    )
    canonical = Canonical(
        take=take.name,
        frame_index=index,
        k=space.k,
        camera_from_head=space.pose,
        size=size,
        shape=space.shape,
        depth=depth.numpy(),
        picture=as_picture(mean),
        motion=motion.numpy(),
        patch=patch,
        jaw_mask=jaw_mask(points, patch, mouth_motion(motion, points, patch.points())),
    )
    return Settled(canonical, list(takes), refined, score, best_score)


def _learned(
    takes: Sequence[Take], space: Space, sample: Sample, initial: NDArray[np.float32], steps: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Learn the depth in so many steps; it and the mean of the frames in canonical space."""
    trusted = ~fill_polygon(jaw_outline(space.points_3d[:, :2]), pixel_centres(*space.size).numpy())
    with Progress("Learning depth", total=max(steps, 1)) as progress:
        views = Views(
            sample.frames,
            sample.transforms(takes, space.pose),
            torch.from_numpy(space.k).float(),
            sample.cameras(takes),
            torch.from_numpy(trusted).float(),
        )
        return learn_depth(torch.from_numpy(initial), views, steps=steps, report=progress.set)


def as_picture(mean: torch.Tensor) -> NDArray[np.uint8]:
    """Return a picture [3, H, W] in [0, 1] as [H, W, 3]."""
    picture: NDArray[np.uint8] = (mean.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    return picture


def choose_frame(
    takes: Sequence[Take], sharpness: Mapping[str, NDArray[np.float32]], *, wanted: str = ""
) -> tuple[Take, int, float, float]:
    """Choose the canonical frame: the best `rest_scores` among frames not left out, or the wanted one.

    Returns:
        The take, the frame's index, its score and the best score.

    Raises:
        SettingsError: the wanted frame is not among those.
    """
    places = [(take, int(i)) for take in takes for i in np.flatnonzero(take.left_out == 0)]
    kept = [take.left_out == 0 for take in takes]
    scores = rest_scores(
        np.concatenate([take.camera_from_head[k] for take, k in zip(takes, kept, strict=True)]),
        np.concatenate([take.opening[k] for take, k in zip(takes, kept, strict=True)]),
        np.concatenate([eye_opening(take.landmarks[k]) for take, k in zip(takes, kept, strict=True)]),
        np.concatenate([sharpness[take.name][k] for take, k in zip(takes, kept, strict=True)]),
    )
    chosen, named = int(scores.argmax()), named_frame(wanted)
    if named is not None:
        names = [(take.name, index) for take, index in places]
        if named not in names:
            raise SettingsError(
                f"canonical_frame {wanted!r} is no frame that can be trained on; name one of the takes "
                f"{', '.join(take.name for take in takes[:3])} ... and a frame that is not left out"
            )
        chosen = names.index(named)
    return *places[chosen], float(scores[chosen]), float(scores.max())


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


def mouth_motion(motion: torch.Tensor, points: Array, where: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how much each place of the patch moves with the lips; 0.5 is twice as much as the still face."""
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
