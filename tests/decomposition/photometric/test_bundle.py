"""Poses, depth and focal length from places seen in frames, on a made head."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from speech2lip.arrays import Array
from speech2lip.decomposition.photometric.bundle import (
    Knots,
    Scene,
    Sightings,
    bent_to,
    fit_scene,
    gather_equations,
    place_alone,
    refocused,
)
from tests.made_face import head_pose
from tests.reference.decomposition.photometric import bundle as reference

K = np.array([[320.0, 0, 80], [0, 320.0, 70], [0, 0, 1]])
CENTRE = np.array([0.0, 0.0, 6.0])
UNIT = 320.0 / 6


def _about(turn: tuple[float, float, float], shift: tuple[float, float, float]) -> Array:
    move = np.eye(4)
    move[:3, 3] = CENTRE
    pose: Array = move @ head_pose(turn=turn, shift=shift) @ np.linalg.inv(move)
    return pose


@pytest.fixture(scope="module")
def seen() -> tuple[Array, Array, Array, Array]:
    """True transforms, points, depth at the points and places in the frames."""
    random = np.random.default_rng(0)
    turns = random.uniform(-0.25, 0.25, (20, 3))
    shifts = random.uniform(-0.2, 0.2, (20, 3))
    true = np.stack([_about(tuple(t), tuple(s)) for t, s in zip(turns, shifts, strict=True)])
    points = np.stack(np.meshgrid(np.arange(20, 141, 8.0), np.arange(15, 126, 8.0)), -1).reshape(-1, 2)
    depth = 6 - 0.5 * np.exp(-(((points - [80, 70]) / 45) ** 2).sum(1))
    return true, points, depth, _places(true, points, depth, K, np.stack([K] * 20))


def _places(transforms: Array, points: Array, depth: Array, k: Array, ks: Array) -> Array:
    rays = np.concatenate([(points - k[:2, 2]) / k[0, 0], np.ones((len(points), 1))], axis=1)
    at = np.einsum("fij,nj->fni", transforms[:, :3, :3], rays * depth[:, None]) + transforms[:, None, :3, 3]
    return at[..., :2] / at[..., 2:] * ks[:, None, [0, 1], [0, 1]] + ks[:, None, :2, 2]


def _sightings(points: Array, places: Array, depth: Array) -> Sightings:
    frames = len(places)
    information = np.broadcast_to(np.eye(2) / 0.15**2, (frames, len(points), 2, 2)).copy()
    return Sightings(points, places, information, depth, np.ones(len(points), bool))


def _start(true: Array, knots: Knots) -> Scene:
    random = np.random.default_rng(1)
    off = [_about(tuple(random.normal(0, 0.02, 3)), tuple(random.normal(0, 0.02, 3))) for _ in true]
    scene = Scene(np.stack(off) @ true, CENTRE, K, np.stack([K] * len(true)))
    return dataclasses.replace(scene, knots=np.zeros(knots.shape[0] * knots.shape[1]))


def _turned(found: Array, true: Array) -> float:
    return float(
        np.degrees(
            Rotation.from_matrix(found[:, :3, :3] @ true[:, :3, :3].transpose(0, 2, 1)).magnitude()
        ).mean()
    )


def test_poses_and_depth_are_found_from_a_flat_start(seen: tuple[Array, Array, Array, Array]) -> None:
    true, points, depth, places = seen
    knots = Knots.over((140, 160), UNIT)
    start = _start(true, knots)
    flat = np.full(len(points), depth.mean())
    # One place in ten belongs to something else that moves.
    astray = places.copy()
    astray[:, ::10] += np.random.default_rng(2).normal(0, 5, astray[:, ::10].shape)
    found, _, errors = fit_scene(start, _sightings(points, astray, flat), knots, rounds=12)
    learned = flat + knots.weights(points) @ found.knots
    assert np.abs(learned - depth).mean() < 0.35 * np.abs(flat - depth).mean()
    assert _turned(found.transforms, true) < 0.3 < _turned(start.transforms, true)
    assert np.median(errors) < 0.3
    assert np.median(errors[::10]) > 3


def test_the_right_focal_length_costs_least(seen: tuple[Array, Array, Array, Array]) -> None:
    true, points, depth, places = seen
    knots = Knots.over((140, 160), UNIT)
    costs = {}
    for factor in (0.6, 1.0, 1.7):
        scene = refocused(_start(true, knots), factor)
        away = depth + (factor - 1) * CENTRE[2]
        costs[factor] = fit_scene(scene, _sightings(points, places, away), knots)[1]
    assert costs[1.0] < 0.7 * min(costs[0.6], costs[1.7])


def test_equations_of_all_frames_are_those_of_each(seen: tuple[Array, Array, Array, Array]) -> None:
    true, points, depth, places = seen
    knots = Knots.over((140, 160), UNIT)
    random = np.random.default_rng(3)
    start = _start(true, knots)
    scene = dataclasses.replace(start, knots=random.normal(0, 0.02, len(start.knots)))
    sightings = _sightings(points, places, depth)
    sightings.information[:] *= random.uniform(0.2, 2, (20, len(points), 1, 1)) * (
        random.random((20, len(points), 1, 1)) > 0.2
    )
    sightings.information[..., 0, 1] = 0.3 * sightings.information[..., 0, 0]
    sightings.information[..., 1, 0] = sightings.information[..., 0, 1]
    plain = reference.gather_equations(scene, sightings, knots.weights(points))
    normal, right, cost, away = gather_equations(scene, sightings, knots.weights(points))
    assert np.allclose(normal, plain[0], rtol=1e-9, atol=1e-9 * np.abs(plain[0]).max())
    assert np.allclose(right, plain[1], rtol=1e-9, atol=1e-9 * np.abs(plain[1]).max())
    assert cost == pytest.approx(plain[2])
    assert np.allclose(away, plain[3])


def test_places_find_their_own_depth_and_background_is_known_by_its_rest(
    seen: tuple[Array, Array, Array, Array],
) -> None:
    true, points, depth, places = seen
    knots = Knots.over((140, 160), UNIT)
    scene = dataclasses.replace(
        Scene(true, CENTRE, K, np.stack([K] * 20)), knots=np.zeros(knots.shape[0] * knots.shape[1])
    )
    resting = np.arange(len(points)) % 7 == 3
    places = np.where(resting[:, None], points, places)  # these stay where they are, whatever the head does
    wrong = depth + 0.3 * np.sin(points[:, 0] / 30)
    sightings = _sightings(points, places, wrong)
    sightings.information[:, 5] = 0  # never found
    own, error, at_rest = place_alone(scene, sightings)
    turning = ~resting & (np.arange(len(points)) != 5)
    assert np.abs(wrong + own - depth)[turning].max() < 0.011  # half a step of what is tried
    assert error[turning].max() < 0.2
    assert at_rest[turning].min() > 1
    assert at_rest[resting].max() < 1e-9
    assert (error[resting] > 0.5).mean() > 0.9
    assert np.isinf(error[5])
    bent = bent_to(scene, knots, points[turning], own[turning], np.ones(turning.sum(), bool))
    assert np.abs(wrong + knots.weights(points) @ bent.knots - depth)[turning].mean() < 0.06
    one_astray = own[turning].copy()
    one_astray[40] += 0.5
    again = bent_to(scene, knots, points[turning], one_astray, np.ones(turning.sum(), bool))
    assert np.abs(again.knots - bent.knots).max() < 0.1


def test_another_focal_length_looks_nearly_the_same(seen: tuple[Array, Array, Array, Array]) -> None:
    true, points, depth, places = seen
    scene = refocused(Scene(true, CENTRE, K, np.stack([K] * 20)), 1.05)
    moved = _places(scene.transforms, points, depth + 0.05 * CENTRE[2], scene.k_canonical, scene.k_observed)
    assert np.linalg.norm(moved - places, axis=-1).max() < 1.5


def test_knots_are_bilinear_and_add_up_to_one() -> None:
    knots = Knots((4, 5), 10.0)
    weights = knots.weights(np.array([[10.0, 20.0], [15.0, 20.0], [12.0, 3.0]]))
    assert weights[0, 2 * 5 + 1] == pytest.approx(1)
    assert weights[1, [11, 12]] == pytest.approx([0.5, 0.5])
    assert weights.sum(1) == pytest.approx(1)
    values = np.random.default_rng(0).random(20)
    assert knots.surface(values, (30, 40))[20, 10] == pytest.approx(
        float(knots.weights(np.array([[10.5, 20.5]]))[0] @ values)
    )
