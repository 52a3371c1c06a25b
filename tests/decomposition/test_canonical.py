"""Regions and depth of canonical space."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speech2lip.decomposition.canonical import (
    eye_distance,
    fill_polygon,
    head_depth,
    jaw_mask,
    jaw_outline,
    lip_patch,
    mesh_depth,
)
from speech2lip.decomposition.sampled_frames import Views
from speech2lip.faces.landmarks import LIPS_OUTER
from speech2lip.geometry.mapping import canonical_from_observed_points, pixel_centres, sample
from speech2lip.geometry.rigid import project
from tests.made_face import head_pose, made_canonical


def test_polygon_is_filled_inside_only() -> None:
    square = np.array([[1.0, 1], [4, 1], [4, 3], [1, 3]])
    where = np.array([[2.0, 2], [0.5, 2], [3.9, 2.9], [2, 3.5]], np.float32)
    assert fill_polygon(square, where).tolist() == [True, False, True, False]


def test_mask_covers_lips_and_chin_and_ends_before_the_border() -> None:
    canonical = made_canonical()
    patch, points = canonical.patch, canonical.points
    where = patch.points()
    nearest = [np.linalg.norm(where - points[i], axis=-1).argmin() for i in (*LIPS_OUTER, 152)]
    assert canonical.jaw_mask.reshape(-1)[nearest].min() > 0.95
    border = np.concatenate(
        [canonical.jaw_mask[0], canonical.jaw_mask[-1], canonical.jaw_mask[:, 0], canonical.jaw_mask[:, -1]]
    )
    assert border.max() == 0
    nose = np.linalg.norm(where - points[1], axis=-1)
    assert nose.min() > 2 or canonical.jaw_mask.reshape(-1)[nose.argmin()] < 0.05


def test_motion_outside_the_outline_is_taken_in() -> None:
    canonical = made_canonical()
    points, patch = canonical.points, canonical.patch
    free = (
        (jaw_mask(points, patch) == 0)
        & (np.indices(patch.size)[1] > 6)
        & (np.indices(patch.size)[1] < patch.size[1] - 6)
    )
    motion = np.zeros(patch.size, np.float32)
    row = patch.size[0] // 2
    motion[row - 6 : row + 6, 6:-6] = 1
    grown = jaw_mask(points, patch, motion)
    assert grown[free].sum() > jaw_mask(points, patch)[free].sum()


def test_patch_has_no_finer_pixels_than_the_footage() -> None:
    canonical = made_canonical()
    points = project(canonical.camera_from_head[None], canonical.k, canonical.shape)[0]
    patch = lip_patch(points, pixels_per_canonical=1.0, width=400)
    assert patch.size[1] <= patch.box[2] - patch.box[0] + 1
    assert jaw_outline(points).shape[1] == 2
    assert patch.points(2).shape == (2 * patch.size[0], 2 * patch.size[1], 2)


@settings(max_examples=40, deadline=None)
@given(
    size=st.floats(20, 2000),
    middle=st.tuples(st.floats(-500, 4000), st.floats(-500, 4000)),
    detail=st.floats(0.2, 8),
    width=st.integers(16, 400),
)
def test_the_patch_holds_mouth_and_chin_wherever_the_face_is(
    size: float, middle: tuple[float, float], detail: float, width: int
) -> None:
    points = made_canonical().shape[:, :2] * size + middle
    patch = lip_patch(points, pixels_per_canonical=detail, width=width)
    x0, y0, x1, y1 = patch.box
    mouth = points[[*LIPS_OUTER, 152]]
    assert (mouth > (x0, y0)).all()
    assert (mouth < (x1, y1)).all()
    rows, columns = patch.size
    assert columns <= max(16, width)
    assert rows >= 16
    assert not rows % 8
    assert not columns % 8
    # Pixels are square but for rounding to eights, and their centres fill the box half-open.
    assert abs((y1 - y0) / rows * columns / (x1 - x0) - 1) < 5 / rows
    inside = patch.points().reshape(-1, 2).astype(np.float64)  # thousands of points are summed up
    slack = 1e-4 * (abs(x0) + abs(y1) + size)
    assert (inside > np.array([x0, y0]) - slack).all()
    assert (inside < np.array([x1, y1]) + slack).all()
    assert np.allclose(inside.mean(0), [(x0 + x1) / 2, (y0 + y1) / 2], atol=slack)


def test_mesh_depth_passes_through_its_points_and_goes_on_beyond() -> None:
    random = np.random.default_rng(0)
    xy = random.uniform(20, 60, (300, 2))
    points = np.concatenate([xy, 5 + 0.01 * xy[:, :1]], axis=1)
    depth = mesh_depth(points, (80, 80))
    assert depth.shape == (80, 80)
    assert np.isfinite(depth).all()
    assert abs(depth[40, 40] - (5 + 0.01 * 40.5)) < 0.02
    assert 5.1 < depth[40, 2] < 5.4


def test_a_head_recedes_beyond_its_face_but_not_below_the_chin() -> None:
    canonical = made_canonical()
    points, size = canonical.points_3d, canonical.size
    back = head_depth(points, size) - mesh_depth(points, size)
    unit = eye_distance(points[:, :2])
    x, y = points[168, :2].astype(int)
    assert abs(back[y, x]) < 0.01  # the nose's bridge
    left = int(points[:, 0].min() - 0.3 * unit)
    assert 0.05 < back[y, left] < 0.5
    assert back[y, left] < back[y, max(0, left - 10)]
    assert np.abs(back[int(points[152, 1]) + 8 :]).max() < 0.02


def test_frames_of_a_textured_bump_agree_in_canonical_space() -> None:
    torch.manual_seed(0)
    size, k = 72, torch.tensor([[110.0, 0, 36], [0, 110.0, 36], [0, 0, 1]])
    at = pixel_centres(size, size)
    truth = 5 - 0.5 * torch.exp(-((at - 36) ** 2).sum(-1) / 350)
    texture = torch.nn.functional.interpolate(
        torch.rand(1, 3, 24, 24), size=(size, size), mode="bicubic"
    ).clamp(0, 1)
    centre = np.eye(4)
    centre[2, 3] = 5
    turns = [(0, a, 0) for a in (-0.3, -0.2, -0.1, 0.1, 0.2, 0.3)] + [
        (a, 0, 0) for a in (-0.2, -0.1, 0.1, 0.2)
    ]
    transforms = torch.from_numpy(
        np.stack([centre @ head_pose(turn=t, shift=(0, 0, 0)) @ np.linalg.inv(centre) for t in turns])
    ).float()
    places = canonical_from_observed_points(at.reshape(1, -1, 2), truth, transforms, k, k, rounds=20)
    frames = sample(texture.expand(len(turns), -1, -1, -1), places).reshape(-1, 3, size, size)
    views = Views(frames, transforms, k, k.expand(len(turns), 3, 3), torch.ones(size, size))
    inner = slice(14, -14)
    flat = torch.full((size, size), float(truth.mean()))
    right, wrong = ((views.mean(d) - texture[0])[:, inner, inner].abs().mean() for d in (truth, flat))
    assert right < 0.06
    assert right < 0.7 * wrong
