"""Head poses refined against a canonical picture."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from speech2lip.arrays import Array
from speech2lip.decomposition.canonical import Space
from speech2lip.decomposition.photometric.align import Alignment, detail, wide_blur
from speech2lip.decomposition.photometric.refine import (
    make_template,
    refine_head_pose,
    refine_take,
)
from speech2lip.geometry.mapping import canonical_from_observed_points, pixel_centres, sample
from speech2lip.geometry.rigid import changed_poses, pose_change
from speech2lip.media.video_writer import VideoFormat, VideoWriter
from tests.made_face import fitted_take, head_pose, made_face

SIDE, UNIT = 128, 60.0
K = np.array([[360.0, 0, 64], [0, 360.0, 64], [0, 0, 1]])
HOME = head_pose(turn=(0, 0, 0), shift=(0, 0, 6.0))


def _depth() -> NDArray[np.float32]:
    at = pixel_centres(SIDE, SIDE).numpy() - SIDE / 2
    depth: NDArray[np.float32] = (6 - 0.5 * np.exp(-(at**2).sum(-1) / 1500)).astype(np.float32)
    return depth


def _picture() -> NDArray[np.uint8]:
    noise = gaussian_filter(np.random.default_rng(0).normal(0, 1, (SIDE, SIDE)), 2)
    grey = np.clip(128 + 45 * noise / noise.std(), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _seen_from(pose: Array) -> NDArray[np.float32]:
    """Return the grey picture of the head at another pose."""
    where = canonical_from_observed_points(
        pixel_centres(SIDE, SIDE, dtype=torch.float64).reshape(1, -1, 2),
        torch.from_numpy(_depth()).double(),
        torch.from_numpy(pose @ np.linalg.inv(HOME))[None],
        torch.from_numpy(K),
        torch.from_numpy(K),
        rounds=10,
    )
    grey = torch.from_numpy(_picture()[..., 0].copy()).double()[None, None]
    found: NDArray[np.float32] = sample(grey, where, mode="bicubic")[0, 0].reshape(SIDE, SIDE).float().numpy()
    return found


def _template(steady: NDArray[np.bool_] | None = None):  # type: ignore[no-untyped-def]
    if steady is None:
        steady = np.zeros((SIDE, SIDE), bool)
        steady[24:-24, 24:-24] = True
    space = Space(K, HOME, (SIDE, SIDE), made_face())
    return make_template(Alignment([], space, _depth(), steady), _picture())


@pytest.mark.parametrize("turn", [(0.15, 0.0, 0.0), (0.0, 0.2, 0.0), (0.0, 0.0, 0.25), (0.08, -0.1, 0.05)])
def test_a_pose_that_is_a_little_off_is_put_right(turn: tuple[float, float, float]) -> None:
    true = head_pose(turn=turn, shift=(0.05, -0.03, 6.1))
    expected = changed_poses(true[None], np.array([[0.012, -0.015, 0.01, 0.01, -0.008, 0.05]]))[0]
    found = refine_head_pose(detail(0.9 * _seen_from(true) + 10, UNIT), _template(), expected, K)
    assert found is not None
    before, after = np.abs(pose_change(expected, true)), np.abs(pose_change(found, true))
    assert after[:3].max() < 0.004
    assert after[3:5].max() < 0.003
    assert after[:5].sum() < 0.35 * before[:5].sum()


def test_a_frame_that_shows_something_else_is_refused() -> None:
    other = np.random.default_rng(5).normal(0, 40, (SIDE, SIDE)).astype(np.float32)
    assert refine_head_pose(detail(other, UNIT), _template(), HOME, K) is None
    far = head_pose(turn=(0, 0, 0), shift=(3.0, 0, 6.0))
    assert refine_head_pose(detail(_seen_from(HOME), UNIT), _template(), far, K) is None


def test_a_whole_take_is_refined_and_what_does_not_agree_follows_its_neighbours(tmp_path: Path) -> None:
    count, strange, left_out = 56, 20, 30  # more frames than are decoded at once
    turns = 0.15 * np.sin(np.arange(count) / 9)
    true = np.stack([head_pose(turn=(0.4 * t, t, 0), shift=(0.1 * t, 0, 6)) for t in turns])
    noise = np.random.default_rng(5).integers(0, 255, (SIDE, SIDE), np.uint8)
    with VideoWriter(
        tmp_path / "picture.mp4",
        VideoFormat(width=SIDE, height=SIDE, fps=Fraction(25)),
        crf=5,
    ) as writer:
        for index, pose in enumerate(true):
            grey = noise if index == strange else np.clip(_seen_from(pose), 0, 255).astype(np.uint8)
            writer.write(np.repeat(grey[..., None], 3, axis=2))
    wrong = np.tile([0.01, -0.014, 0.008, 0.008, -0.006, 0.04], (count, 1))
    reasons = np.zeros(count, np.uint8)
    reasons[left_out] = 1
    take = fitted_take(
        tmp_path,
        changed_poses(true, wrong),
        size=(SIDE, SIDE),
        focal=360 / SIDE,
        rejection=reasons,
    )
    done: list[int] = []
    refined, agreed = refine_take(take, _template(), report=lambda: done.append(1))
    assert len(done) == count
    assert np.flatnonzero(~agreed).tolist() == [strange, left_out]
    after = np.abs(pose_change(refined.camera_from_head, true))
    assert after[:, :5].sum(1).max() < 0.5 * np.abs(wrong[0, :5]).sum()
    assert np.median(after[:, :3]) < 0.003


def test_without_steady_places_there_is_no_template() -> None:
    assert _template(np.zeros((SIDE, SIDE), bool)) is None


def test_differences_undo_themselves() -> None:
    random = np.random.default_rng(0)
    poses = np.stack([head_pose(turn=tuple(t), shift=(0, 0, 5)) for t in random.normal(0, 0.3, (6, 3))])
    changes = random.normal(0, 0.05, (6, 6))
    assert pose_change(changed_poses(poses, changes), poses) == pytest.approx(changes, abs=1e-9)


@pytest.mark.parametrize("sigma", [4.0, 18.0, 40.0])
@pytest.mark.parametrize("shape", [(263, 311), (40, 300)])
def test_a_wide_blur_is_that_of_the_whole_picture(sigma: float, shape: tuple[int, int]) -> None:
    rough = np.random.default_rng(0).random(shape) * 255
    picture = gaussian_filter(rough, 3.0).astype(np.float32)
    picture += 60 * np.sin(np.arange(shape[1]) / 25)[None].astype(np.float32)
    plain = cv2.GaussianBlur(picture, (0, 0), sigma)
    assert np.abs(wide_blur(picture, sigma) - plain).max() < 3.0  # at the borders
    assert np.abs(wide_blur(picture, sigma) - plain).mean() < 0.5
