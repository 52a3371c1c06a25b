"""Head poses refined against a canonical picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from speech2lip.composition.pose_mapping import canonical_from_observed_points, look_up, pixel_centres
from speech2lip.decomposition.photometric import (
    changed,
    difference,
    make_template,
    normal_equations,
    refine_head_pose,
)
from speech2lip.decomposition.photometric_kernels import accumulate
from speech2lip.decomposition.photometric_scene import detail
from tests.made_face import head_pose

Array = NDArray[np.float64]
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
    found: NDArray[np.float32] = (
        look_up(grey, where, mode="bicubic")[0, 0].reshape(SIDE, SIDE).float().numpy()
    )
    return found


def _template(steady: NDArray[np.bool_] | None = None):  # type: ignore[no-untyped-def]
    if steady is None:
        steady = np.zeros((SIDE, SIDE), bool)
        steady[24:-24, 24:-24] = True
    return make_template(_picture(), _depth(), steady, unit=UNIT, camera_from_head=HOME, k=K)


def test_the_kernel_agrees_with_its_plain_twin() -> None:
    template = _template()
    pose = head_pose(turn=(0.02, 0.03, -0.01), shift=(0.05, 0.02, 6.1))
    picture, light = detail(_seen_from(pose), UNIT), np.array([1.1, 2.0])
    plain = normal_equations(picture, template.points, template.values, HOME, K, light)
    normal, right = np.empty((8, 8)), np.empty(8)
    fast = accumulate(picture, template.points, template.values, HOME, K, light, 7.0, normal, right)
    assert normal == pytest.approx(plain[0], rel=1e-6, abs=1e-4)
    assert right == pytest.approx(plain[1], rel=1e-6, abs=1e-4)
    assert fast == pytest.approx(plain[2:], rel=1e-6)


@pytest.mark.parametrize("turn", [(0.15, 0.0, 0.0), (0.0, 0.2, 0.0), (0.0, 0.0, 0.25), (0.08, -0.1, 0.05)])
def test_a_pose_that_is_a_little_off_is_put_right(turn: tuple[float, float, float]) -> None:
    true = head_pose(turn=turn, shift=(0.05, -0.03, 6.1))
    expected = changed(true[None], np.array([[0.012, -0.015, 0.01, 0.01, -0.008, 0.05]]))[0]
    found = refine_head_pose(detail(0.9 * _seen_from(true) + 10, UNIT), _template(), expected, K)
    assert found is not None
    before, after = np.abs(difference(expected, true)), np.abs(difference(found, true))
    assert after[:3].max() < 0.004 and after[3:5].max() < 0.003
    assert after[:5].sum() < 0.35 * before[:5].sum()


def test_a_frame_that_shows_something_else_is_refused() -> None:
    other = np.random.default_rng(5).normal(0, 40, (SIDE, SIDE)).astype(np.float32)
    assert refine_head_pose(detail(other, UNIT), _template(), HOME, K) is None
    far = head_pose(turn=(0, 0, 0), shift=(3.0, 0, 6.0))
    assert refine_head_pose(detail(_seen_from(HOME), UNIT), _template(), far, K) is None


def test_without_steady_places_there_is_no_template() -> None:
    assert _template(np.zeros((SIDE, SIDE), bool)) is None


def test_differences_undo_themselves() -> None:
    random = np.random.default_rng(0)
    poses = np.stack([head_pose(turn=tuple(t), shift=(0, 0, 5)) for t in random.normal(0, 0.3, (6, 3))])
    changes = random.normal(0, 0.05, (6, 6))
    assert difference(changed(poses, changes), poses) == pytest.approx(changes, abs=1e-9)
