from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from benchmarks.geometry.visibility import view_canonical
from speech2lip.arrays import Array
from speech2lip.geometry.mapping import canonical_from_observed_points, pixel_centres

K = np.array([[160.0, 0, 48], [0, 160.0, 40], [0, 0, 1]])
SIZE = (80, 96)
CENTRE = np.array([0.0, 0.0, 5.0])


def _turned(turn: tuple[float, float, float]) -> Array:
    """Turn about a point 5 units away, as a head does."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    pose[:3, 3] = CENTRE - pose[:3, :3] @ CENTRE
    return pose


def _nose(*, height: float = 0.0) -> NDArray[np.float32]:
    """A gentle hill, and a steep nose on it if asked."""
    away = np.hypot(*(pixel_centres(*SIZE).numpy() - K[:2, 2]).transpose(2, 0, 1))
    hill = 5 - 0.5 * np.exp(-(away**2) / 900) - height * np.exp(-((away / 7) ** 4))
    return hill.astype(np.float32)


def test_at_the_canonical_pose_all_is_seen_where_it_is() -> None:
    view = view_canonical(_nose(height=0.8), np.eye(4), K, K, size=SIZE)
    assert view.seen.all()
    inner = view.where[1:-1, 1:-1]
    assert np.abs(inner - pixel_centres(*SIZE).numpy()[1:-1, 1:-1]).max() < 1e-3
    assert np.abs(view.depth[1:-1, 1:-1] - _nose(height=0.8)[1:-1, 1:-1]).max() < 1e-3


def test_a_nose_hides_the_cheek_behind_it() -> None:
    depth = _nose(height=0.8)
    view = view_canonical(depth, _turned((0, -0.5, 0)), K, K, size=SIZE)
    hidden = ~view.seen[20:60, 28:68]
    assert hidden.sum() > 40
    rows, columns = np.nonzero(hidden)
    # The head turned to one side: only that side of the nose goes out of sight.
    assert (columns + 28 > 48).mean() > 0.95 or (columns + 28 < 48).mean() > 0.95
    assert np.abs(rows + 20 - 40).max() < 14
    assert view_canonical(_nose(), _turned((0, -0.5, 0)), K, K, size=SIZE).seen[20:60, 28:68].all()


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_what_turns_edge_on_counts_as_hidden_before_it_folds(scale: float) -> None:
    slope = (pixel_centres(*SIZE).numpy()[..., 0] - K[0, 2]) / K[0, 0]
    tilted = (5 / (1 - 1.0 * slope)).astype(np.float32)  # a plane at 45 degrees
    k = K * np.array([[scale], [scale], [1]])
    size = (int(SIZE[0] * scale), int(SIZE[1] * scale))
    shares = {}
    for degrees in (-25, 0, 12, 35, 42):
        transform = _turned((0, -np.radians(degrees), 0))
        shares[degrees] = view_canonical(tilted, transform, K, k, size=size).seen[30:50, 38:58].mean()
    assert shares[-25] == shares[0] == 1
    assert shares[12] > 0.7  # coarse pixels already hide one another a little
    assert shares[35] < 0.1
    assert shares[42] == 0


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.floats(-0.3, 0.3)] * 3))
def test_where_nothing_is_hidden_it_says_what_the_mapping_says(turn: tuple[float, float, float]) -> None:
    depth, transform = _nose(), _turned(turn)
    view = view_canonical(depth, transform, K, K, size=SIZE)
    middle = pixel_centres(*SIZE, dtype=torch.float64)[28:52:3, 36:60:3].reshape(1, -1, 2)
    mapped = canonical_from_observed_points(
        middle,
        torch.from_numpy(depth).double(),
        torch.from_numpy(transform)[None],
        torch.from_numpy(K),
        torch.from_numpy(K),
        rounds=20,
    )
    assert np.abs(view.where[28:52:3, 36:60:3].reshape(-1, 2) - mapped[0].numpy()).max() < 0.05


def test_what_leaves_the_frame_is_not_seen() -> None:
    shifted = np.eye(4)
    shifted[0, 3] = 1.0
    view = view_canonical(_nose(), shifted, K, K, size=SIZE)
    moved = 160 / 5
    assert not view.seen[:, int(96 - moved) + 2 :].any()
    assert view.seen[:, : int(96 - moved) - 6].all()
    assert np.isnan(view.where[:, : int(moved) - 2]).all()
