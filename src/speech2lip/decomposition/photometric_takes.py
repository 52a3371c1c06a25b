"""What sampled frames agree on, carried over to the head poses of all frames of all takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from speech2lip.config import PrepareSettings
from speech2lip.decomposition.footage import Take
from speech2lip.decomposition.head_pose import refine_shape
from speech2lip.decomposition.masks import eye_distance
from speech2lip.decomposition.photometric import changed, difference, make_template, refine_take
from speech2lip.decomposition.photometric_bundle import refocused, start_scene
from speech2lip.decomposition.photometric_scene import STEPS, Start, align_frames
from speech2lip.decomposition.sampled_frames import Sample, Space
from speech2lip.progress import Progress

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

_NOISE = 0.01
"""Usual error of a head pose from landmarks that does not follow the pose: radians, eye units."""
_SLOPE = 0.15
"""Usual error of it as a share of how far the head is from the canonical pose."""


@dataclass(frozen=True)
class Agreed:
    """Takes and canonical space in which sampled frames agree."""

    takes: list[Take]
    space: Space
    depth: Floats
    """[H, W] in eye units."""
    steady: NDArray[np.bool_]
    """[H, W] where the head moves as one."""


def agree(
    takes: Sequence[Take], space: Space, sample: Sample, initial: Floats, settings: PrepareSettings
) -> Agreed | None:
    """Fit depth, focal length and head poses to what is seen; None where that is no better than landmarks.

    Args:
        initial: [H, W] depth to start from.
    """
    scene = start_scene(
        sample.poses(takes) @ np.linalg.inv(space.pose), space.pose[:3, 3], space.k, sample.ks(takes)
    )
    with Progress("Bringing frames into agreement", total=STEPS) as progress:
        found = align_frames(
            sample.frames,
            Start(scene, sample.home_picture(takes, space), initial, space.points_3d[:, :2]),
            focal_spread=settings.focal_spread,
            report=progress.set,
        )
    if found is None or not found.error < found.before:
        return None
    scene = refocused(scene, found.factor)
    pose = space.pose.copy()
    pose[2, 3] *= found.factor
    refocused_takes = refocus_takes(takes, found.factor)
    landmarks = sample.poses(refocused_takes)
    corrected = correct_takes(refocused_takes, landmarks, found.transforms @ pose, pose)
    for place, fitted in zip(sample.places, found.transforms @ pose, strict=True):
        corrected[place[0]].camera_from_head[place[1]] = fitted  # arrays of their own, made just now
    shape = _fitted_shape(corrected, space.shape, sample)
    return Agreed(corrected, Space(shape, pose, scene.k_canonical, space.size), found.depth, found.steady)


def _fitted_shape(takes: Sequence[Take], shape: Array, sample: Sample) -> Array:
    """Move the points of the rigid face to where the sampled frames' landmarks see them."""
    focal = float(np.median([takes[n].k[0, 0] for n, _ in sample.places]))
    usual = [(n, i) for n, i in sample.places if takes[n].k[0, 0] == focal] or sample.places[:1]
    points = np.stack([takes[n].landmarks[i : i + 1][0] for n, i in usual]).astype(np.float64)
    poses = np.stack([takes[n].camera_from_head[i] for n, i in usual])
    for _ in range(2):
        shape = refine_shape(poses, shape, points[..., :2], takes[usual[0][0]].k)
    return shape


def refine_takes(agreed: Agreed, picture: NDArray[np.uint8]) -> tuple[list[Take], float]:
    """Refine the head poses of all frames; the takes and the share of frames to train on that could be.

    Args:
        picture: [H, W, 3] mean of the footage in canonical space.
    """
    space, takes = agreed.space, agreed.takes
    unit = eye_distance(space.points_3d[:, :2])
    template = make_template(
        picture, agreed.depth, agreed.steady, unit=unit, camera_from_head=space.pose, k=space.k
    )
    if template is None:
        return takes, 0.0
    refined, confirmed, kept = [], 0, 0
    frames = sum(len(take.times) for take in takes)
    with Progress("Refining head poses", total=frames) as progress:
        for take in takes:
            done = progress.done
            better, known = refine_take(take, template, report=partial(_show, progress, done))
            refined.append(better)
            confirmed += int(known.sum())
            kept += int((take.left_out == 0).sum())
    return refined, confirmed / max(kept, 1)


def _show(progress: Progress, before: float, frames: int) -> None:
    progress.set(before + frames)


def refocus_takes(takes: Sequence[Take], factor: float) -> list[Take]:
    """Give takes another focal length, heads as much further away: they look nearly the same."""
    result = []
    for take in takes:
        poses = take.camera_from_head.copy()
        poses[:, 2, 3] *= factor
        result.append(dataclasses.replace(take, focal=take.focal * factor, camera_from_head=poses))
    return result


def correct_takes(takes: Sequence[Take], landmarks: Array, aligned: Array, canonical: Array) -> list[Take]:
    """Take out of all head poses what landmarks get wrong in step with the head pose.

    Landmarks take a turned face for one that is turned a little more or less, in the same way in every frame:
    a linear function of the head pose, learned where both are known.

    Args:
        takes: with head poses from landmarks.
        landmarks, aligned: [F, 4, 4] head poses of sampled frames, from landmarks and as fitted.
        canonical: [4, 4] the canonical head pose.
    """
    targets = difference(aligned, landmarks)
    features = _features(landmarks, canonical)
    hold = np.eye(features.shape[1]) * (_NOISE / _SLOPE) ** 2
    hold[0, 0] = 1e-6
    weight = np.ones(len(features))
    slopes = np.zeros((features.shape[1], 6))
    for _ in range(5):
        weighted = features * weight[:, None]
        slopes = np.linalg.solve(weighted.T @ features + hold, weighted.T @ targets)
        away = np.abs(targets - features @ slopes)[:, :5].max(1)  # how far away it is says little
        weight = 1 / (1 + (away / _NOISE) ** 2)
    return [
        dataclasses.replace(
            take,
            camera_from_head=changed(
                take.camera_from_head, _features(take.camera_from_head, canonical) @ slopes
            ),
        )
        for take in takes
    ]


def _features(poses: Array, canonical: Array) -> Array:
    """Return 1 and the difference from the canonical head pose; [T, 7]."""
    away = difference(poses, np.broadcast_to(canonical, poses.shape))
    return np.concatenate([np.ones((len(poses), 1)), away], axis=1)
