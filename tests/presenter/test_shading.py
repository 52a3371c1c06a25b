"""Known values of the rasteriser."""

from __future__ import annotations

import numpy as np
import pytest

from speech2lip_presenter.shading import project, rasterise, vertex_normals


def draw(points: list[list[float]], faces: list[list[int]], size: int = 8) -> tuple[np.ndarray, np.ndarray]:
    nearness, ids = np.zeros((size, size), np.float32), np.full((size, size), -1, np.int32)
    rasterise(np.array(points, np.float32), np.array(faces, np.int32), nearness, ids)
    return nearness, ids


def test_a_triangle_covers_the_samples_whose_centres_it_holds() -> None:
    _, ids = draw([[0, 0, 1], [0, 4, 1], [4, 0, 1]], [[0, 1, 2]])
    expected = np.full((8, 8), -1)
    for row in range(4):
        expected[row, : 4 - row] = 0  # centres with x + y <= 4
    np.testing.assert_array_equal(ids, expected)


def test_triangles_seen_from_behind_are_left_out() -> None:
    _, ids = draw([[0, 0, 1], [0, 8, 1], [8, 0, 1]], [[0, 2, 1]])
    assert (ids == -1).all()


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_the_nearer_triangle_wins_whatever_the_order(order: list[int]) -> None:
    corners = [[0, 0], [0, 16], [16, 0]]
    points = [[x, y, 2.0] for x, y in corners] + [[x, y, 1.0] for x, y in corners]
    faces = [[0, 1, 2], [3, 4, 5]]
    nearness, ids = draw(points, [faces[i] for i in order], size=4)
    assert (ids == order.index(1)).all()
    np.testing.assert_allclose(nearness, 1.0, rtol=1e-6)


def test_depth_is_right_in_perspective() -> None:
    # a plane z = 2 + x seen by a camera with K = diag(f, f) and its centre at (0, 0)
    k = np.array([[10.0, 0, 0], [0, 10.0, 0], [0, 0, 1]])
    corners = np.array([[0, 0, 2], [0, 4, 2], [4, 0, 6]], np.float32)
    nearness, ids = np.zeros((6, 6), np.float32), np.full((6, 6), -1, np.int32)
    rasterise(project(corners, k=k), np.array([[0, 1, 2]], np.int32), nearness, ids)
    rows, columns = np.nonzero(ids >= 0)
    assert len(rows) > 20
    ray = (columns + 0.5) / 10.0  # x = ray * z and z = 2 + x
    np.testing.assert_allclose(1 / nearness[rows, columns], 2 / (1 - ray), rtol=1e-5)


def test_neighbours_share_an_edge_without_a_gap() -> None:
    _, ids = draw([[0, 0, 1], [0, 8, 1], [8, 8, 1], [8, 0, 1]], [[0, 1, 2], [0, 2, 3]])
    assert (ids >= 0).all()


def test_normals_have_unit_length_and_point_out() -> None:
    vertices = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0]], np.float32)
    np.testing.assert_allclose(vertex_normals(vertices, np.array([[0, 1, 2]], np.int32)), [[0, 0, -1]] * 3)
