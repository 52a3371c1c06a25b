from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from speech2lip.arrays import Array
from speech2lip.inference.order import (
    calm_span,
    head_path,
    ping_pong_order,
    reversal_frames,
)
from tests.made_face import head_pose

FPS = 25.0


def _wandering(frames: int, seed: int = 0) -> Array:
    """Head poses that wander as a talking person's do."""
    random = np.random.default_rng(seed)
    moves = gaussian_filter1d(random.normal(0, 1, (frames + 100, 4)), 9, axis=0)[50:-50] * (
        0.6,
        0.9,
        0.4,
        0.5,
    )
    return np.stack([head_pose(turn=(p, y, r), shift=(x, 0, 8)) for p, y, r, x in moves])


def _at(values: Array, places: list[float]) -> Array:
    """Read values [T, D] between frames."""
    return np.stack([np.interp(places, np.arange(len(values)), column) for column in values.T], axis=1)


def test_the_order_turns_evenly() -> None:
    order = list(islice(ping_pong_order(5, 3, 20), 120))
    assert order[:12] == [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
    assert min(order) == 3
    assert max(order) == 20
    assert order[18:21] == [20 - 1 / 16, 20, 20 - 1 / 16]
    speed = np.diff(order)
    assert np.abs(speed).max() == 1
    assert np.abs(np.diff(speed)).max() <= 1 / 8 + 1e-9  # sixteen frames from forward to back


@pytest.mark.parametrize("start", [0, 2, 3, 4, 17, 19, 20, 21, 24])
def test_the_order_begins_anywhere_and_never_leaves_the_take(start: int) -> None:
    order = list(islice(ping_pong_order(start, 3, 20), 120))
    assert order[0] == start
    assert np.abs(np.diff(order)).max() <= 1
    assert min(order[40:]) == 3
    assert max(order[40:]) == 20


def test_the_shortest_takes_have_an_order_too() -> None:
    assert set(islice(ping_pong_order(0, 0, 0), 5)) == {0}
    for last in (1, 2, 3, 5):
        order = list(islice(ping_pong_order(0, 0, last), 60))
        assert min(order) == 0
        assert max(order) == last
        assert np.abs(np.diff(order)).max() <= 1


def test_velocity_does_not_jump_at_turns() -> None:
    """A turn changes the velocity hardly more than the head does itself; turning at once would."""
    abruptly = 0
    for seed in range(8):
        path = head_path(poses := _wandering(300, seed))
        speed = np.linalg.norm(np.diff(path, axis=0), axis=1)
        own = np.linalg.norm(np.diff(path, 2, axis=0), axis=1).max()
        first, last = reversal_frames(poses, fps=FPS)
        order = list(islice(ping_pong_order(0, first, last), 1500))
        moved = np.diff(_at(path, order), axis=0)
        assert np.linalg.norm(moved, axis=1).max() <= speed.max() + 1e-9
        assert np.linalg.norm(np.diff(moved, axis=0), axis=1).max() <= 1.3 * own
        abruptly += 2 * max(speed[0], speed[-1]) > 1.3 * own
    assert abruptly >= 6


def test_it_turns_where_the_head_rests() -> None:
    poses = np.stack([head_pose(turn=(0, 0.02 * i, 0)) for i in range(120)])
    poses[108:112] = poses[108]
    poses[9:13] = poses[9]
    first, last = reversal_frames(poses, fps=FPS)
    assert 9 <= first <= 12
    assert 108 <= last <= 112


def test_no_blink_is_cut_in_half() -> None:
    poses = np.tile(head_pose(), (200, 1, 1))
    eyes = np.full(200, 0.1, np.float32)
    eyes[:6] = 0.02
    eyes[190:197] = 0.02
    first, last = reversal_frames(poses, fps=FPS, eyes=eyes)
    assert first >= 10
    assert last <= 185
    assert reversal_frames(poses, fps=FPS) == (0, 199)


def test_short_takes_turn_at_their_ends() -> None:
    assert reversal_frames(_wandering(4), fps=FPS) == (0, 3)
    first, last = reversal_frames(_wandering(20), fps=FPS)
    assert first < 7
    assert last >= 13


def test_the_calm_part_of_a_take_is_found() -> None:
    poses = _wandering(400)
    poses[210:330] = poses[210]
    start, stop = calm_span(poses, fps=FPS, seconds=4)
    assert stop - start == 100
    assert start >= 205
    assert stop <= 335
    assert calm_span(poses[:30], fps=FPS) == (0, 30)
