"""What moves with the mouth is found in the footage itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from speech2lip.decomposition.canonical import eye_distance, jaw_mask
from speech2lip.decomposition.fit import choose_frame, mouth_motion
from speech2lip.decomposition.footage import Take
from speech2lip.decomposition.sampled_frames import Views
from speech2lip.errors import SettingsError
from speech2lip.geometry.mapping import pixel_centres
from speech2lip.geometry.rigid import camera_matrix, project
from tests.made_face import fitted_take, head_pose, made_canonical

CANONICAL = made_canonical()
POINTS = CANONICAL.points
UNIT = eye_distance(POINTS)


def _motion(moving: np.ndarray, *, frames: int = 8) -> np.ndarray:
    """Return the motion map of frames of noise that changes over time where `moving` says, [H, W]."""
    random = np.random.default_rng(0)
    still = random.uniform(60, 180, (3, *CANONICAL.size))
    changes = random.normal(0, 1, (frames, 1, *CANONICAL.size)) * (1 + 29 * moving)
    pictures = torch.from_numpy(np.clip(still + changes, 0, 255) / 255).float()
    k = torch.from_numpy(CANONICAL.k).float()
    views = Views(pictures, torch.eye(4).expand(frames, 4, 4), k, k.expand(frames, 3, 3), torch.ones(()))
    return views.motion(torch.from_numpy(CANONICAL.depth), pictures.mean(0)).numpy()


def _disc(centre: np.ndarray, radius: float) -> np.ndarray:
    away = np.linalg.norm(pixel_centres(*CANONICAL.size).numpy() - centre, axis=-1)
    return away < radius * UNIT


def test_motion_is_told_in_grey_levels_where_it_is() -> None:
    moving = _disc(POINTS[13], 0.3)
    motion = _motion(moving)
    assert 15 < motion[moving].mean() < 30
    assert motion[~moving].mean() < 3


def test_the_jaw_region_grows_to_where_this_mouth_moves_and_not_to_the_background() -> None:
    outline = jaw_mask(POINTS, CANONICAL.patch)
    beside = POINTS[13] + [0.55 * UNIT, 0.05 * UNIT]
    moving = _disc(beside, 0.25) | ~_disc(POINTS[2], 1.25)  # a cheek, and what is far behind the head
    found = mouth_motion(_motion(moving), POINTS, CANONICAL.patch.points())
    grown = jaw_mask(POINTS, CANONICAL.patch, found)
    assert found.max() > 0.9
    assert grown.sum() >= outline.sum()
    still = mouth_motion(_motion(np.zeros(CANONICAL.size, bool)), POINTS, CANONICAL.patch.points())
    assert still.max() < 0.5
    assert np.array_equal(jaw_mask(POINTS, CANONICAL.patch, still), outline)
    corners = found[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == 0).all()


def _take(*, turned: list[float], rejected: list[int]) -> Take:
    poses = np.stack([head_pose(turn=(0, turn, 0)) for turn in turned])
    pixels = project(poses, camera_matrix(256, 256, 1.6), CANONICAL.shape)
    return fitted_take(
        Path("walk:1"),
        poses,
        landmarks=np.concatenate([pixels, np.zeros((len(poses), 478, 1))], axis=-1).astype(np.float32),
        rejection=np.array(rejected, np.uint8),
        sharpness=np.array([1, 0.2, 1, 1, 1], np.float32),
    )


def test_the_canonical_frame_is_in_the_middle_sharp_and_not_left_out_or_the_one_asked_for() -> None:
    take = _take(turned=[-0.3, 0.02, 0.0, 0.01, 0.3], rejected=[0, 0, 1, 0, 0])
    chosen, index, score, best = choose_frame([take])
    assert (chosen.name, index) == ("walk:1", 3)
    assert score == best
    chosen, index, score, best = choose_frame([take], wanted="walk:1:4")
    assert index == 4
    assert score < best - 0.5
    for wrong in ("walk:1:2", "walk:1:9", "run:1"):  # left out, beyond the end, no such take
        with pytest.raises(SettingsError, match="no frame that can be trained on") as error:
            choose_frame([take], wanted=wrong)
        assert "\n" not in str(error.value)
    with pytest.raises(SettingsError, match="take1:25"):
        choose_frame([take], wanted="middle")
