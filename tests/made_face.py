"""A made face of 478 points and an avatar around it, for tests that need no footage."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

from speech2lip.arrays import Array
from speech2lip.atomic import write_json
from speech2lip.checks import to_plain
from speech2lip.config import ModelSettings
from speech2lip.decomposition.canonical import Canonical, canonical_camera, jaw_mask, lip_patch, mesh_depth
from speech2lip.decomposition.footage import Take, canonical_plain, canonical_tensors
from speech2lip.faces.landmarks import FACE_OVAL, JAW_LINE, LIPS_INNER, LIPS_OUTER
from speech2lip.formats import AVATAR, SourceInfo, TakeInfo
from speech2lip.geometry.rigid import camera_matrix, project
from speech2lip.head_track import HeadTrack
from speech2lip.media.video_writer import VideoFormat, VideoWriter
from speech2lip.model import LipModel

SIZE = (160, 192)
"""Rows and columns of the made pictures."""
TINY = ModelSettings(
    code_size=8,
    encoder_width=16,
    shape_size=4,
    field_width=8,
    field_cells=(6, 8),
    point_width=16,
    blend_width=4,
)


def _on_head(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Put points of the front view on an ellipsoid whose nearest point is the nose's root; [N, 3]."""
    z = 0.75 * (1 - np.sqrt(np.clip(1 - (x / 1.05) ** 2 - ((y - 0.1) / 1.4) ** 2, 0, 1)))
    return np.stack([x, y, z], axis=1)


def made_face() -> NDArray[np.float64]:
    """Return 478 points in eye units with lips, jaw line, face oval and eyes where a face has them."""
    random = np.random.default_rng(0)
    points = _on_head(random.uniform(-0.6, 0.6, 478), random.uniform(-0.7, 0.9, 478))
    turn = np.linspace(0, 2 * np.pi, len(FACE_OVAL), endpoint=False)
    points[list(FACE_OVAL)] = _on_head(0.75 * np.sin(turn), 0.1 - 1.0 * np.cos(turn))
    for ring, height in ((LIPS_OUTER, 0.09), (LIPS_INNER, 0.02)):
        angle = np.pi + np.linspace(0, 2 * np.pi, len(ring), endpoint=False)
        points[list(ring)] = _on_head(0.27 * np.cos(angle), 0.62 - height * np.sin(angle))
    fixed = {
        33: (-0.5, 0.0),
        263: (0.5, 0.0),
        1: (0, 0.3),
        2: (0, 0.42),
        61: (-0.28, 0.62),
        291: (0.28, 0.62),
        10: (0, -0.8),
        152: (0, 1.1),
        13: (0, 0.61),
        14: (0, 0.63),
        159: (-0.35, -0.03),
        145: (-0.35, 0.03),
        386: (0.35, -0.03),
        374: (0.35, 0.03),
    }
    for index, (x, y) in fixed.items():
        points[index] = _on_head(np.array([x], np.float64), np.array([y], np.float64))[0]
    points[1, 2] -= 0.2
    assert len(set(JAW_LINE)) == len(JAW_LINE)
    return points


def head_pose(
    *, turn: tuple[float, float, float] = (0, 0, 0), shift: tuple[float, float, float] = (0, 0, 5)
) -> NDArray[np.float64]:
    """Return camera_from_head for a rotation vector in radians and a shift in eye units."""
    from scipy.spatial.transform import Rotation

    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    pose[:3, 3] = shift
    return pose


def made_canonical() -> Canonical:
    """Return a canonical space around the made face, seen from the front."""
    shape, pose, k = made_face(), head_pose(), camera_matrix(SIZE[1], SIZE[0], 1.6)
    canonical_k, size = canonical_camera(shape, pose, k, canvas_pixels=128)
    pixels = project(pose[None], canonical_k, shape)[0]
    depth = shape[:, 2:] + pose[2, 3]
    patch = lip_patch(pixels, pixels_per_canonical=k[0, 0] / canonical_k[0, 0], width=48)
    picture = np.full((*size, 3), 128, np.uint8)
    return Canonical(
        take="base",
        frame_index=0,
        k=canonical_k,
        camera_from_head=pose,
        size=size,
        shape=shape,
        depth=mesh_depth(np.concatenate([pixels, depth], axis=1), size),
        picture=picture,
        motion=np.zeros(size, np.float32),
        patch=patch,
        jaw_mask=jaw_mask(pixels, patch),
    )


def made_head(*poses: NDArray[np.float64]) -> HeadTrack:
    """Return the track of heads [4, 4] before the made camera, in canonical light."""
    return HeadTrack.of(
        np.stack(poses),
        canonical=made_canonical(),
        k=camera_matrix(SIZE[1], SIZE[0], 1.6),
        light_gain=np.ones((len(poses), 3), np.float32),
        fps=25.0,
    )


def made_avatar(
    folder: Path, *, frames: int = 30, fps: Fraction = Fraction(25), settings: ModelSettings = TINY
) -> Path:
    """Write an untrained avatar whose head turns a little over a noisy base video; returns its folder."""
    canonical = made_canonical()
    torch.manual_seed(0)
    model = LipModel(settings, canonical.patch.size)
    base = folder / "base" / "base"
    base.mkdir(parents=True)
    random = np.random.default_rng(0)
    picture = random.integers(60, 200, (*SIZE, 3), np.uint8)
    with VideoWriter(
        base / "picture.mp4", VideoFormat(width=SIZE[1], height=SIZE[0], fps=fps), crf=10
    ) as writer:
        for _ in range(frames):
            writer.write(picture)
    poses = np.stack(
        [
            head_pose(turn=(0, 0.1 * np.sin(i / 5), 0), shift=(0.02 * np.sin(i / 4), 0, 5))
            for i in range(frames)
        ]
    )
    save_arrays(
        {
            "times": np.arange(frames) / float(fps),
            "camera_from_head": poses,
            "light": np.ones((frames, 3), np.float32),
        },
        base / "track.safetensors",
    )
    write_json(base / "take.json", {"width": SIZE[1], "height": SIZE[0], "fps": str(fps)})
    save_file(model.state_dict(), folder / "weights.safetensors")
    save_arrays(canonical_tensors(canonical), folder / "canonical.safetensors")
    write_json(
        folder / "avatar.json",
        {
            "format": AVATAR.number,
            "version": "test",
            "model": to_plain(settings),
            "canonical": canonical_plain(canonical),
            "focal": 1.6,
            "bases": ["base"],
            "held_out": {},
            "takes": ["base"],
            "median_skin_colour": [128.0, 128.0, 128.0],
            "seconds_trained": 0.0,
            "seconds_footage": 1.0,
            "device": "none",
            "precision": "fp32",
        },
    )
    return folder


def fitted_take(
    folder: Path,
    poses: Array,
    *,
    size: tuple[int, int] = (256, 256),
    focal: float = 1.6,
    source: str = "",
    **arrays: NDArray[Any],
) -> Take:
    """Return a take with head poses; what else is not given is the same in all frames.

    Args:
        size: columns and rows of the picture.
        source: the video that it says it was read from.
    """
    count = len(poses)
    plain: dict[str, Any] = {
        "times": np.arange(count) / 25, "landmarks": np.zeros((count, 478, 3), np.float32),
        "light": np.zeros((count, 3), np.float32), "shot": np.zeros(count, np.int32),
        "sharpness": np.zeros(count, np.float32), "covered": np.zeros(count, np.float32),
        "appearance_distances": np.zeros((1, 1), np.float32), "rejection": np.zeros(count, np.uint8),
    }  # fmt: skip
    info = TakeInfo(*size, fps=Fraction(25), source=SourceInfo(path=source))
    return Take(folder, info, camera_from_head=poses, focal=focal, **plain | arrays)
