from __future__ import annotations

import numpy as np
import pytest

from speech2lip.arrays import Floats
from speech2lip.geometry.splat import splat, visible
from tests.reference.geometry.splat import splat_plain


def _lattice(rows: int, columns: int, *, step: float = 4.0, depth: float = 5.0) -> Floats:
    """Nodes `step` pixels apart, the first at (0, 0)."""
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32) * np.float32(step)
    return np.stack([x, y, np.full_like(x, depth)], axis=-1)


def _folded() -> Floats:
    random = np.random.default_rng(3)
    points = _lattice(9, 11)
    points[..., :2] += random.normal(0, 1.5, (9, 11, 2))
    points[..., 2] += random.normal(0, 0.5, (9, 11))
    points[:, 6:, 0] -= 14.0  # one half slides over the other
    points[:, 6:, 2] -= 2.0
    return points


@pytest.mark.parametrize("points", [_lattice(6, 9), _folded()], ids=["flat", "folded"])
def test_both_twins_draw_the_same(points: Floats) -> None:
    where, depth = splat(points, (30, 40))
    plain_where, plain_depth = splat_plain(points, (30, 40))
    drawn = np.isfinite(depth)
    assert drawn.sum() > 300
    assert (drawn == np.isfinite(plain_depth)).all()
    assert np.abs(depth[drawn] - plain_depth[drawn]).max() < 1e-4
    # Where two triangles meet, either may be drawn: both say the same place.
    assert np.abs(where[drawn] - plain_where[drawn]).max() < 1e-3


def test_what_does_not_move_is_looked_up_where_it_is() -> None:
    where, depth = splat(_lattice(8, 10), (28, 36))
    y, x = np.mgrid[0:28, 0:36] + 0.5
    assert np.abs(where * 4 - np.stack([x, y], axis=-1)).max() < 1e-4
    assert np.abs(depth - 5).max() < 1e-4


def test_a_known_shift_and_slant_are_found_again() -> None:
    points = _lattice(8, 10)
    points[..., 2] += points[..., 0] * 0.1
    points[..., 0] += 8
    where, depth = splat(points, (28, 60))
    assert not np.isfinite(where[:, :8]).any()
    assert where[10, 20] == pytest.approx([(20.5 - 8) / 4, 10.5 / 4], abs=1e-4)
    assert depth[10, 20] == pytest.approx(5 + 1.25, abs=1e-4)


def test_the_nearer_surface_hides_the_farther() -> None:
    points = _lattice(5, 21)
    points[:, 11:, 0] -= 28  # the right half lies over the left one, nearer
    points[:, 11:, 2] = 3
    where, depth = splat(points, (16, 40))
    assert np.abs(depth[2:14, 17:40] - 3).max() < 1e-4
    assert (where[2:14, 17:40, 0] > 10.9).all()
    points[:, 11:, 2] = 7
    assert np.abs(splat(points, (16, 40))[1][2:14, 17:39] - 5).max() < 1e-4


def test_what_is_turned_away_or_behind_the_camera_is_not_drawn() -> None:
    mirrored = _lattice(5, 5)
    mirrored[..., 0] = 16 - mirrored[..., 0]
    assert not np.isfinite(splat(mirrored, (16, 16))[0]).any()
    assert not np.isfinite(splat(_lattice(5, 5, depth=-1.0), (16, 16))[0]).any()


def test_visible_nodes_are_those_in_front() -> None:
    points = _lattice(5, 21)
    points[:, 11:, 0] -= 28
    points[:, 11:, 2] = 3
    seen = visible(points, splat(points, (16, 40))[1])
    assert seen[1:3, 11:16].all()  # the half that lies on top
    assert not seen[1:3, 5:9].any()  # what it covers
    assert seen[1:3, :4].all()  # what it leaves free
    points[..., 1] += 100
    assert not visible(points, np.full((16, 40), np.inf, np.float32)).any()
