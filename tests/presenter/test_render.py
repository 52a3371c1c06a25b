"""Pictures of the presenter agree with its truth."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from speech2lip_presenter import render
from speech2lip_presenter.model import LANDMARKS, build_model, pose_model, rotation
from speech2lip_presenter.motion import CHANNELS, mouth_moves
from speech2lip_presenter.render import State
from speech2lip_presenter.shading import MOUTH, SKIN, TEETH

SIZE = 160
REST = State()


def speaking(opening: float, **pose: Any) -> State:
    mouth = dict.fromkeys(CHANNELS, 0.0) | {
        "jaw": 0.8 * opening,
        "lip_opening": opening,
        "lift": 0.2 * opening,
    }
    return State(moves=mouth_moves(mouth), **pose)


def test_the_outer_eye_corners_are_one_unit_apart_around_the_origin() -> None:
    _, head = render.landmarks_of(REST, size=SIZE)
    left, right = head[LANDMARKS.index("eye_left_outer")], head[LANDMARKS.index("eye_right_outer")]
    np.testing.assert_allclose(np.linalg.norm(right - left), 1.0, atol=1e-5)
    np.testing.assert_allclose((left + right) / 2, 0.0, atol=1e-5)
    assert head[LANDMARKS.index("nose_tip"), 2] < left[2]


@pytest.mark.parametrize("opening", [0.0, 0.05, 0.12, 0.24])
def test_the_lips_stand_as_far_open_as_asked(opening: float) -> None:
    unit = build_model().unit
    _, head = render.landmarks_of(speaking(opening), size=SIZE)
    assert render.lip_measures(head)[0] == pytest.approx(opening / unit, abs=0.006)
    _, turned = render.landmarks_of(speaking(opening, yaw=15.0, pitch=-8.0), size=SIZE)
    assert render.lip_measures(turned) == pytest.approx(render.lip_measures(head), abs=1e-5)


def test_the_jaw_carries_the_chin() -> None:
    chin = LANDMARKS.index("chin")
    _, rest = render.landmarks_of(REST, size=SIZE)
    _, open_ = render.landmarks_of(speaking(0.24), size=SIZE)
    assert 0.1 < open_[chin, 1] - rest[chin, 1] < 0.3
    np.testing.assert_allclose(
        open_[LANDMARKS.index("nose_tip")], rest[LANDMARKS.index("nose_tip")], atol=1e-6
    )


def test_landmarks_are_the_projected_head_points() -> None:
    state = speaking(0.1, yaw=12.0, pitch=5.0, roll=-4.0)
    pixels, head = render.landmarks_of(state, size=SIZE)
    pose, k = render.head_pose(state), render.camera_matrix(SIZE)
    camera = head @ pose[:3, :3].T + pose[:3, 3]
    projected = camera @ k.T
    np.testing.assert_allclose(projected[:, :2] / projected[:, 2:], pixels, atol=1e-2)


def test_depth_is_that_of_the_surface_under_a_landmark() -> None:
    state = speaking(0.0, yaw=8.0)
    pixels, head = render.landmarks_of(state, size=SIZE)
    pose = render.head_pose(state)
    camera = head @ pose[:3, :3].T + pose[:3, 3]
    _, depth, _ = render.render_frame(state, size=SIZE)
    for name in ("nose_tip", "lip_lower_outer"):
        x, y = pixels[LANDMARKS.index(name)]
        assert depth[int(y), int(x)] == pytest.approx(camera[LANDMARKS.index(name), 2], abs=0.03)
    assert np.isinf(depth[0, 0])
    assert 7 < depth.min() < 10


def test_the_signs_of_the_angles() -> None:
    nose = np.array([0.0, 0.0, -1.0])
    assert (rotation(0.2, 0, 0) @ nose)[0] > 0  # yaw: to the picture's right
    assert (rotation(0, 0.2, 0) @ nose)[1] < 0  # pitch: up
    assert (rotation(0, 0, 0.2) @ np.array([1.0, 0, 0]))[1] > 0  # roll: clockwise
    np.testing.assert_allclose(rotation(0.3, -0.2, 0.1) @ rotation(0.3, -0.2, 0.1).T, np.eye(3), atol=1e-12)


def test_closed_lips_hide_the_teeth_and_open_ones_show_them() -> None:
    for pose in ({"yaw": 0.0}, {"yaw": 14.0, "pitch": -7.0}, {"yaw": -14.0, "pitch": 7.0}):
        closed = render.render_frame(speaking(0.0, **pose), size=SIZE)[2]
        opened = render.render_frame(speaking(0.2, **pose), size=SIZE)[2]
        assert np.isin(closed, (TEETH, MOUTH)).sum() == 0
        assert (opened == TEETH).sum() > 20
        assert (opened == MOUTH).sum() > 20


def test_one_never_sees_through_the_open_mouth() -> None:
    for yaw in (-15.0, 0.0, 15.0):
        state = speaking(0.24, yaw=yaw)
        pixels, _ = render.landmarks_of(state, size=SIZE)
        layers = render.render_frame(state, size=SIZE)[2]
        x0, x1 = pixels[:2, 0].astype(int) + np.array([3, -3])
        y0, y1 = pixels[2:4, 1].astype(int)
        assert np.isin(layers[y0 : y1 + 1, x0 : x1 + 1], (SKIN, TEETH, MOUTH)).all()


def test_a_blink_covers_the_eyes() -> None:
    eye = 1
    open_, shut = (render.render_frame(State(moves={"blink": b}), size=SIZE)[2] for b in (0.0, 1.0))
    assert (open_ == eye).sum() > 40
    assert (shut == eye).sum() == 0


def test_the_picture_moves_with_its_state_and_only_so() -> None:
    first, depth, _ = render.render_frame(speaking(0.1), size=SIZE)
    again, _, _ = render.render_frame(speaking(0.1), size=SIZE)
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.uint8
    assert first.shape == (SIZE, SIZE, 3)
    assert depth.dtype == np.float32
    other, _, _ = render.render_frame(speaking(0.2), size=SIZE)
    changed = np.abs(first.astype(int) - other).max(-1) > 3
    assert changed.any()
    assert not changed[: SIZE // 2].any()  # nothing above the nose moves with the jaw


def test_posing_leaves_the_model_alone() -> None:
    model = build_model()
    before = model.vertices.copy()
    pose_model(model, {"jaw": 0.2, "blink": 1.0}, gaze=(0.2, 0.1))
    np.testing.assert_array_equal(model.vertices, before)
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.unit = 2.0  # type: ignore[misc]
