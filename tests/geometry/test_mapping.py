import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from speech2lip.geometry.mapping import (
    canonical_from_observed_points,
    map_points,
    observed_from_canonical_points,
    pixel_centres,
    sample,
)

K = torch.tensor([[160.0, 0, 48], [0, 160.0, 40], [0, 0, 1]], dtype=torch.float64)


def _transform(turn: tuple[float, float, float], shift: tuple[float, float, float]) -> torch.Tensor:
    """Turn about a point 5 units away, as a head does."""
    rotation = Rotation.from_rotvec(turn).as_matrix()
    matrix = np.eye(4)
    centre = np.array([0, 0, 5.0])
    matrix[:3, :3] = rotation
    matrix[:3, 3] = centre - rotation @ centre + shift
    return torch.from_numpy(matrix)[None]


def _head_depth(height: int = 80, width: int = 96) -> torch.Tensor:
    at = pixel_centres(height, width, dtype=torch.float64) - torch.tensor([48.0, 40.0], dtype=torch.float64)
    return 5 - 0.5 * torch.exp(-(at**2).sum(-1) / 900)


def test_pixel_centres_are_half_way() -> None:
    centres = pixel_centres(2, 3)
    assert centres.shape == (2, 3, 2)
    assert centres[1, 2].tolist() == [2.5, 1.5]


def test_looking_up_all_centres_gives_the_picture_back() -> None:
    picture = torch.rand(2, 3, 7, 9)
    found = sample(picture, pixel_centres(7, 9).expand(2, -1, -1, -1))
    assert torch.allclose(found, picture, atol=1e-6)


def test_look_up_between_two_pixels_is_their_mean() -> None:
    picture = torch.tensor([[[[0.0, 1.0]]]])
    assert sample(picture, torch.tensor([[[1.0, 0.5]]])).item() == pytest.approx(0.5)


@pytest.mark.parametrize("autocast", [False, True])
def test_places_in_half_precision_pictures_are_exact(autocast: bool) -> None:
    """A picture of its own columns tells where it was looked up."""
    columns = (torch.arange(240) + 0.5).expand(1, 1, 4, -1).contiguous()
    points = torch.rand(1, 500, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([190.0, 4.0])
    points[..., 0] += 25
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = sample((columns / 256).bfloat16(), points)[0, 0] * 256
    grid = sample(((columns / 256).bfloat16()).float(), points)[0, 0] * 256
    assert torch.equal(found, grid)
    assert found.dtype == torch.float32


def test_equal_poses_map_every_pixel_to_itself() -> None:
    points = pixel_centres(80, 96, dtype=torch.float64).reshape(1, -1, 2)
    same = torch.eye(4, dtype=torch.float64)[None]
    there = observed_from_canonical_points(points, _head_depth(), same, K, K)
    back = canonical_from_observed_points(points, _head_depth(), same, K, K)
    assert (there - points).abs().max() < 1e-9
    assert (back - points).abs().max() < 1e-9


def test_a_sideways_step_moves_by_focal_length_over_depth() -> None:
    moved, depth = map_points(
        torch.tensor([[[48.0, 40.0]]], dtype=torch.float64),
        torch.tensor([[4.0]], dtype=torch.float64),
        _transform((0, 0, 0), (0.1, 0, 0)),
        K,
        K,
    )
    assert moved[0, 0].tolist() == pytest.approx([48 + 160 * 0.1 / 4, 40])
    assert depth.item() == pytest.approx(4)


@pytest.mark.parametrize("turn", [(0, 0.3, 0), (0.2, 0, 0), (0, 0, 0.3), (0.1, -0.2, 0.1)])
def test_there_and_back_is_the_same_place(turn: tuple[float, float, float]) -> None:
    transform = _transform(turn, (0.1, -0.05, 0.2))
    points = torch.rand(1, 200, 2, dtype=torch.float64) * torch.tensor([50.0, 40.0]) + torch.tensor(
        [23.0, 20.0]
    )
    there = observed_from_canonical_points(points, _head_depth(), transform, K, K)
    back = canonical_from_observed_points(there, _head_depth(), transform, K, K, rounds=12)
    assert (back - points).abs().max() < 0.01


def test_few_rounds_are_enough_at_usual_poses() -> None:
    transform = _transform((0.1, 0.2, 0.1), (0.1, 0, 0))
    points = pixel_centres(80, 96, dtype=torch.float64).reshape(1, -1, 2)
    few = canonical_from_observed_points(points, _head_depth(), transform, K, K)
    many = canonical_from_observed_points(points, _head_depth(), transform, K, K, rounds=30)
    assert (few - many).abs().max() < 0.05


def test_mapping_is_differentiable_in_depth_pose_and_camera() -> None:
    points = torch.tensor([[[30.2, 31.7], [50.4, 44.1]]], dtype=torch.float64)
    depth = torch.tensor([[4.6, 4.8]], dtype=torch.float64, requires_grad=True)
    transform = _transform((0.1, 0.2, 0), (0.1, 0, 0)).requires_grad_()
    k = K.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda d, t, m: map_points(points, d, t, m, m), (depth, transform, k))


def test_look_up_is_differentiable_in_places_and_picture() -> None:
    picture = torch.rand(1, 2, 6, 7, dtype=torch.float64, requires_grad=True)
    points = (torch.rand(1, 5, 2, dtype=torch.float64) * 4 + 1.03).requires_grad_()
    assert torch.autograd.gradcheck(sample, (picture, points))


def test_both_mappings_are_differentiable_in_the_whole_depth_and_the_pose() -> None:
    points = torch.tensor([[[4.2, 4.6], [6.3, 5.4]]], dtype=torch.float64)
    k = torch.tensor([[20.0, 0, 5], [0, 20.0, 5], [0, 0, 1]], dtype=torch.float64)
    at = pixel_centres(10, 10, dtype=torch.float64) - 5
    depth = (5 - 0.3 * torch.exp(-(at**2).sum(-1) / 20)).requires_grad_()
    transform = _transform((0.05, 0.1, 0.02), (0.02, 0, 0)).requires_grad_()
    for mapping in (observed_from_canonical_points, canonical_from_observed_points):
        assert torch.autograd.gradcheck(
            lambda d, t, mapping=mapping: mapping(points, d, t, k, k), (depth, transform)
        )


TURN = st.tuples(*[st.floats(-0.3, 0.3)] * 3)
SHIFT = st.tuples(*[st.floats(-0.15, 0.15)] * 3)


@settings(max_examples=40, deadline=None)
@given(turn=TURN, shift=SHIFT)
def test_at_any_pose_there_and_back_is_the_same_place(
    turn: tuple[float, float, float], shift: tuple[float, float, float]
) -> None:
    transform = _transform(turn, shift)
    points = pixel_centres(80, 96, dtype=torch.float64)[26:54:4, 34:62:4].reshape(1, -1, 2)
    there = observed_from_canonical_points(points, _head_depth(), transform, K, K)
    back = canonical_from_observed_points(there, _head_depth(), transform, K, K, rounds=20)
    assert (back - points).abs().max() < 0.01


@settings(max_examples=40, deadline=None)
@given(turn=TURN, shift=SHIFT)
def test_equal_poses_are_the_identity_whatever_they_are(
    turn: tuple[float, float, float], shift: tuple[float, float, float]
) -> None:
    pose = _transform(turn, shift)
    same = pose @ torch.linalg.inv(pose)
    points = pixel_centres(80, 96, dtype=torch.float64).reshape(1, -1, 2)
    for mapping in (observed_from_canonical_points, canonical_from_observed_points):
        assert (mapping(points, _head_depth(), same, K, K) - points).abs().max() < 1e-9
