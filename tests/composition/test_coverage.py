"""Which head poses can be spoken over: known turns of a made head give known answers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from speech2lip.composition.coverage import (
    MOST_HIDDEN,
    RegionSurface,
    best_stretch,
    drawn_shares,
    region_surface,
    with_shares,
)
from tests.made_face import head_pose, made_canonical


@pytest.fixture(scope="module")
def surface() -> RegionSurface:
    return region_surface(made_canonical())


def _turned(axis: int, degrees: np.ndarray) -> np.ndarray:
    turns = np.radians(degrees)[:, None] * np.eye(3)[axis]
    return np.stack([head_pose(turn=tuple(turn)) for turn in turns])


def test_the_surface_faces_its_own_camera(surface: RegionSurface) -> None:
    assert surface.hidden_share(head_pose()[None])[0] == 0
    assert np.isclose(surface.weights.sum(), 1)
    assert np.allclose(np.linalg.norm(surface.normals, axis=1), 1)
    assert ((surface.normals * surface.points).sum(1) < 0).all()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("side", [-1, 1])
def test_the_further_a_head_turns_the_more_is_hidden(surface: RegionSurface, axis: int, side: int) -> None:
    hidden = surface.hidden_share(_turned(axis, side * np.linspace(0, 120, 25)))
    assert (np.diff(hidden) >= -1e-9).all()
    assert hidden[-1] > 0.5


def test_a_profile_cannot_be_spoken_over_and_a_little_turn_can(surface: RegionSurface) -> None:
    assert surface.bears(_turned(1, np.array([-10.0, 0, 10]))).all()
    assert not surface.bears(_turned(1, np.array([-90.0, -75, 75, 90]))).any()
    assert 0 < MOST_HIDDEN < surface.hidden_share(_turned(1, np.array([75.0])))[0]


def test_tilting_moving_and_coming_closer_hide_nothing(surface: RegionSurface) -> None:
    poses = [*_turned(2, np.array([-40.0, 40])), head_pose(shift=(0.5, -0.4, 4)), head_pose(shift=(0, 0, 12))]
    assert surface.hidden_share(np.stack(poses)).max() == 0


def test_what_lies_behind_the_camera_is_hidden(surface: RegionSurface) -> None:
    assert surface.hidden_share(head_pose(shift=(0, 0, -5))[None])[0] == pytest.approx(1)


def test_half_a_cylinder_is_hidden_as_geometry_says() -> None:
    """Normals spread over 120 degrees, seen from far away: at a turn of t, (t - 30) / 120 are hidden."""
    angles = np.radians(np.linspace(-60, 60, 1201))
    normals = np.stack([np.sin(angles), np.zeros_like(angles), -np.cos(angles)], axis=1)
    pose = head_pose(shift=(0, 0, 1e6))
    surface = RegionSurface(0.1 * normals + (0, 0, 1e6), normals, np.full(1201, 1 / 1201), pose)
    found = surface.hidden_share(
        np.stack([head_pose(turn=(0, np.radians(t), 0), shift=(0, 0, 1e6)) for t in (0, 20, 60, 90)])
    )
    assert np.allclose(found, [0, 0, 0.25, 0.5], atol=0.01)


FPS = 25.0


def _flags(*away: tuple[int, int], count: int = 400) -> np.ndarray:
    flags = np.ones(count, bool)
    for start, stop in away:
        flags[start:stop] = False
    return flags


def test_the_longest_stretch_is_shown_or_the_one_that_was_asked_for() -> None:
    flags = _flags((120, 130), (300, 310))
    assert best_stretch(flags, fps=FPS) == (130, 300)
    assert best_stretch(flags, fps=FPS, start=50) == (0, 120)
    assert best_stretch(flags, fps=FPS, start=125) == (130, 300)
    assert best_stretch(flags, fps=FPS, start=350) == (130, 300)  # what holds it is too short
    assert best_stretch(_flags(), fps=FPS) == (0, 400)


def test_where_no_stretch_is_long_enough_all_of_the_take_is_shown() -> None:
    away = [(start, start + 5) for start in range(50, 400, 60)]
    assert best_stretch(_flags(*away), fps=FPS) == (0, 400)
    assert best_stretch(np.zeros(400, bool), fps=FPS) == (0, 400)


@pytest.mark.parametrize("fps", [25.0, 60.0])
def test_lips_come_and_go_over_the_same_time_at_any_frame_rate(fps: float) -> None:
    shares = drawn_shares(_flags((200, 220)), fps=fps)
    assert (shares[200:220] == 0).all()
    fading = np.flatnonzero((shares > 0) & (shares < 1))
    assert len(fading) / 2 / fps == pytest.approx(0.12, abs=0.6 / fps)
    assert np.abs(np.diff(shares)).max() <= 1 / (0.12 * fps)
    assert (drawn_shares(_flags(), fps=fps) == 1).all()
    assert (drawn_shares(np.zeros(9, bool), fps=fps) == 0).all()


def test_shares_found_on_the_way_are_those_of_the_whole() -> None:
    flags = _flags((0, 3), (40, 41), (44, 50), (90, 130), count=200)
    endless = itertools.chain(enumerate(flags), itertools.repeat((0, True)))
    found = [
        share for _, share in itertools.islice(with_shares(endless, lambda one: bool(one[1]), fps=FPS), 200)
    ]
    assert found == pytest.approx(drawn_shares(flags, fps=FPS).tolist())
