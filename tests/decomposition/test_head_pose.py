import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech2lip.config import PrepareSettings
from speech2lip.decomposition import head_pose as fitting
from speech2lip.decomposition.head_pose import (
    _nearest,
    fit_poses,
    fit_rigid_shape,
    initial_head_poses,
    normalise_shape,
    refine_head_poses,
    refine_shape,
)
from speech2lip.faces.landmarks import RIGID
from speech2lip.geometry.rigid import (
    align_similarity,
    camera_matrix,
    head_angles,
    project,
    smooth_head_poses,
    steady_head_poses,
    unbroken_runs,
)
from tests.evaluation.made_footage import made_take
from tests.made_face import head_pose, made_face

K = camera_matrix(640, 480, 1.6)


def _poses(count: int = 40) -> np.ndarray:
    t = np.linspace(0, 6, count)
    return np.stack(
        [
            head_pose(
                turn=(0.15 * np.sin(a), 0.3 * np.cos(1.3 * a), 0.15 * np.sin(0.7 * a)),
                shift=(0.2 * np.sin(a), 0.1, 5 + 0.3 * np.cos(a)),
            )
            for a in t
        ]
    )


def _degrees_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    cosine = (np.einsum("tij,tij->t", a[:, :3, :3], b[:, :3, :3]) - 1) / 2
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def test_known_similarity_is_found() -> None:
    face = made_face()
    pose = head_pose(turn=(0.2, -0.4, 0.1), shift=(3, -2, 1))
    scale, rotation, shift = align_similarity(face, (2.5 * face @ pose[:3, :3].T + pose[:3, 3])[None])
    assert scale[0] == pytest.approx(2.5)
    assert np.allclose(rotation[0], pose[:3, :3])
    assert np.allclose(shift[0], pose[:3, 3])


def test_exact_points_give_the_exact_pose() -> None:
    face, truth, rigid = made_face(), _poses(), list(RIGID)
    pixels = project(truth, K, face)
    flat = np.concatenate(
        [pixels, (np.einsum("tij,nj->tni", truth[:, :3, :3], face) * K[0, 0] / 5)[..., 2:]], axis=-1
    )
    found = initial_head_poses(face[rigid], flat[:, rigid], K)
    found = refine_head_poses(found, face[rigid], pixels[:, rigid], K, rounds=15)
    assert _degrees_between(found, truth).max() < 0.01
    assert np.abs(found[:, :3, 3] - truth[:, :3, 3]).max() < 1e-3


def test_outliers_hardly_move_the_pose() -> None:
    face, truth, rigid = made_face(), _poses(10), list(RIGID)
    pixels = project(truth, K, face)[:, rigid]
    pixels = pixels + np.random.default_rng(0).normal(0, 0.3, pixels.shape)
    pixels[:, :4] += 15
    found = refine_head_poses(truth, face[rigid], pixels, K, soft_pixels=0.5)
    assert np.median(_degrees_between(found, truth)) < 0.5


def test_a_wrong_point_moves_to_where_the_frames_see_it() -> None:
    face, truth = made_face(), _poses()
    wrong = face.copy()
    wrong[100, :2] += 0.1
    found = refine_shape(truth, wrong, project(truth, K, face), K, prior=1e-4)
    assert np.linalg.norm(found[100] - face[100]) < 0.01


def test_rigid_shape_comes_back_in_eye_units() -> None:
    face = normalise_shape(made_face())
    random = np.random.default_rng(1)
    points = np.stack(
        [
            random.uniform(80, 120) * face @ pose[:3, :3].T
            + pose[:3, 3] * 50
            + random.normal(0, 0.2, face.shape)
            for pose in _poses()
        ]
    )
    found = fit_rigid_shape(points)
    assert np.linalg.norm(found[33] - found[263]) == pytest.approx(1)
    assert np.linalg.norm(found - face, axis=1).mean() < 0.01


def test_angles_have_the_signs_of_the_conventions() -> None:
    nose = np.array([0, 0, -1.0])
    right = np.array([1.0, 0, 0])
    yaw, pitch, roll = (head_pose(turn=t) for t in ((0, -0.3, 0), (0.3, 0, 0), (0, 0, 0.3)))
    assert (yaw[:3, :3] @ nose)[0] > 0
    assert (pitch[:3, :3] @ nose)[1] > 0
    assert (roll[:3, :3] @ right)[1] > 0
    angles = head_angles(np.stack([yaw, pitch, roll]))
    degrees = np.degrees(0.3)
    assert np.allclose(angles, [[degrees, 0, 0], [0, -degrees, 0], [0, 0, degrees]])


def test_smoothing_adds_no_lag_and_does_not_cross_gaps() -> None:
    truth = _poses(60)
    noisy = truth.copy()
    noisy[:, :3, 3] += np.random.default_rng(0).normal(0, 0.01, (60, 3))
    seen = np.ones(60, bool)
    seen[30] = False
    smooth = smooth_head_poses(noisy, seen, sigma_frames=1.0)
    error, before = (np.abs(p[seen, :3, 3] - truth[seen, :3, 3]).mean() for p in (smooth, noisy))
    assert error < 0.8 * before
    assert np.array_equal(smooth[30], noisy[30])
    step = truth.copy()
    step[31:, 0, 3] += 5
    assert smooth_head_poses(step, seen, sigma_frames=1.0)[29, 0, 3] == pytest.approx(
        step[29, 0, 3], abs=0.05
    )


def test_unbroken_runs() -> None:
    assert unbroken_runs(np.array([1, 1, 0, 1, 0, 0, 1], bool)) == [(0, 2), (3, 4), (6, 7)]
    assert unbroken_runs(np.zeros(3, bool)) == []


def test_steady_head_poses_drop_the_jaw_and_keep_the_turn() -> None:
    times = np.arange(150) / 25
    poses = np.repeat(np.eye(4)[None], len(times), axis=0)
    poses[:, 0, 3] = 0.2 * times  # the head moves slowly
    poses[:, 1, 3] = 0.05 * np.sin(2 * np.pi * 4 * times)  # and shakes with every syllable
    steady = steady_head_poses(poses, fps=25)
    middle = slice(40, 110)
    np.testing.assert_allclose(steady[middle, 0, 3], poses[middle, 0, 3], atol=2e-3)
    assert np.abs(steady[middle, 1, 3]).max() < 0.001


@settings(max_examples=40, deadline=None)
@given(
    yaw=st.floats(-40, 40),
    pitch=st.floats(-30, 30),
    roll=st.floats(-40, 40),
    shift=st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(3, 12)),
)
def test_any_usual_pose_is_found_and_its_angles_are_told(
    yaw: float, pitch: float, roll: float, shift: tuple[float, float, float]
) -> None:
    face, rigid = made_face(), list(RIGID)
    turns = [head_pose(turn=tuple(np.radians(t))) for t in ((0, -yaw, 0), (-pitch, 0, 0), (0, 0, roll))]
    truth = head_pose(shift=shift)
    truth[:3, :3] = turns[0][:3, :3] @ turns[1][:3, :3] @ turns[2][:3, :3]
    assert np.allclose(head_angles(truth[None])[0], [yaw, pitch, roll], atol=1e-6)
    pixels = project(truth[None], K, face)
    relief = (face @ truth[:3, :3].T)[None, :, 2:] * K[0, 0] / shift[2]
    start = initial_head_poses(face[rigid], np.concatenate([pixels, relief], axis=-1)[:, rigid], K)
    found = refine_head_poses(start, face[rigid], pixels[:, rigid], K, rounds=25)
    assert _degrees_between(found, truth[None])[0] < 0.05
    assert np.abs(found[0, :3, 3] - truth[:3, 3]).max() < 0.01


def test_unseen_frames_take_the_nearest_seen_one() -> None:
    seen = np.array([0, 0, 1, 0, 0, 0, 1, 0, 1, 0], bool)
    assert _nearest(seen).tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 2, 2]
    assert _nearest(np.array([0, 1, 0], bool)).tolist() == [0, 0, 0]


def test_shots_without_the_person_take_the_nearest_pose_and_takes_without_any_the_usual_one() -> None:
    take, shot = made_take("a", frames=12), np.repeat(np.arange(3, dtype=np.int32), 4)
    track = dataclasses.replace(take, shot=shot)
    person = {"a": shot != 1, "b": np.zeros(12, bool)}
    poses = fit_poses({"a": track, "b": track}, person, PrepareSettings(smoothing_frames=0))[1]
    assert np.array_equal(poses["a"][4:6], poses["a"][[3, 3]])
    assert np.array_equal(poses["a"][6:8], poses["a"][[8, 8]])
    assert np.array_equal(poses["b"], poses["a"][[0] * 12])


@pytest.mark.parametrize(("fps", "sigma"), [("25", 0.7), ("50", 1.4), ("60", 1.68), ("30000/1001", 0.83916)])
def test_head_poses_are_smoothed_over_the_same_time_at_any_rate(
    fps: str, sigma: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, used = made_take("a", frames=6), list[float]()

    def smooth(poses: np.ndarray, _: object, *, sigma_frames: float) -> np.ndarray:
        used.append(sigma_frames)
        return poses

    monkeypatch.setattr(fitting, "smooth_head_poses", smooth)
    track = dataclasses.replace(take, info=dataclasses.replace(take.info, fps=Fraction(fps)))
    fit_poses({"a": track}, {"a": np.ones(6, bool)}, PrepareSettings())
    assert used == [pytest.approx(sigma, rel=1e-4)]
    assert fps != "25" or used == [0.7]
