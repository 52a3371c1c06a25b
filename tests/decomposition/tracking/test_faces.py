"""Who the person is, among made faces, and how faces look."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from speech2lip.arrays import Points
from speech2lip.decomposition.tracking.faces import (
    DOUBTFUL_SHAPE,
    OTHER_APPEARANCE,
    OTHER_SHAPE,
    SAME_APPEARANCE,
    appearance_distance,
    appearance_distances,
    changes_abruptly,
    check_pick,
    choose_person,
    face_distance,
    follow_faces,
    group_faces,
    is_abrupt_change,
)
from speech2lip.errors import SettingsError
from tests.made_face import made_face

_PROPORTIONS = ((1.0, 1.0, 1.0), (1.2, 0.85, 1.1), (0.85, 1.2, 0.9))
"""Width, height and depth of three people's faces, held against the made face."""


def _person(number: int) -> NDArray[np.float64]:
    """Return a face of its own: longer, wider and uneven in its own way; person 0 is the made face."""
    face = made_face()
    if number:
        face = face * _PROPORTIONS[number] + 0.04 * np.sin(face[:, [1, 0, 0]] * 3 + number)
    return face


def _seen(person: int, x: float, frame: int, *, size: float = 100.0) -> Points:
    random = np.random.default_rng(frame)
    points = _person(person) * size + [x + 3 * np.sin(frame / 5), 200, 0] + random.normal(0, 0.3, (478, 3))
    return points.astype(np.float32)


def _x(chosen: list[Points | None]) -> list[float]:
    return [float("nan") if p is None else float(p[:, 0].mean()) for p in chosen]


def _look(person: int, frame: int) -> NDArray[np.uint8]:
    """Return the look of a face: patches of light and dark of its own, a little noise."""
    coarse = np.random.default_rng(100 + person).uniform(40, 220, (4, 4, 3)).repeat(8, 0).repeat(8, 1)
    noise = np.random.default_rng(frame).normal(0, 6, (32, 32, 3))
    return np.clip(coarse + noise, 0, 255).astype(np.uint8)


def _same_looks(faces: list[list[Points]]) -> list[list[NDArray[np.uint8]]]:
    return [[_look(0, i)] * len(found) for i, found in enumerate(faces)]


def test_faces_are_followed_past_swaps_and_gaps() -> None:
    faces = [
        [_seen(1, 500, i), _seen(0, 150, i)] if i % 2 else [_seen(0, 150, i), _seen(1, 500, i)]
        for i in range(40)
    ]
    faces[20:24] = [[f[0] if i % 2 == 0 else f[1]] for i, f in enumerate(faces[20:24])]
    tracks = follow_faces(faces, np.zeros(40, np.int32), _same_looks(faces))
    assert sorted(round(t.x, -2) for t in tracks) in ([100, 500], [200, 500])
    assert sorted(len(t.frames) for t in tracks) == [36, 40]


def test_a_cut_ends_tracks_and_blips_are_dropped() -> None:
    faces = [[_seen(0, 150, i)] for i in range(30)]
    faces[10] = [_seen(0, 150, 10), _seen(2, 600, 10)]
    shot = np.repeat([0, 1], 15).astype(np.int32)
    tracks = follow_faces(faces, shot, _same_looks(faces))
    assert [(t.shot, len(t.frames)) for t in tracks] == [(0, 15), (1, 15)]


def test_one_face_is_one_shape_and_others_are_others() -> None:
    shapes = [_person(n) for n in (0, 1, 2)]
    turned = shapes[0] * 37 + 5
    assert face_distance(turned, shapes[0]) < 1e-6
    assert min(face_distance(shapes[0], shapes[n]) for n in (1, 2)) > 0.03
    noisy = shapes[0] + np.random.default_rng(0).normal(0, 0.003, (478, 3))
    never, unlike = np.zeros((3, 3), bool), np.full((3, 3), 0.25, np.float32)
    groups = group_faces([shapes[1], shapes[0], noisy], [5, 9, 4], apart=never, gaps=unlike)
    assert groups.tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("pick", "expected"), [("longest", 600), ("left", 150), ("right", 600), ("1", 150), ("2", 600)]
)
def test_the_person_is_picked_and_found_again_after_a_cut(pick: str, expected: float) -> None:
    both = [[_seen(0, 150, i), _seen(1, 600, i)] for i in range(40)]
    alone = [[_seen(1 if expected == 600 else 0, 300, i)] for i in range(30)]
    stranger = [[_seen(2, 300, i)] for i in range(20)]
    longer = [[_seen(1, 620, i)] for i in range(40)]
    shot = np.repeat([0, 1, 2, 3], [40, 30, 20, 40]).astype(np.int32)
    who = [[0, 1]] * 40 + [[1 if expected == 600 else 0]] * 30 + [[2]] * 20 + [[1]] * 40
    looks = [[_look(person, i) for person in seen] for i, seen in enumerate(who)]
    chosen, people = choose_person(follow_faces(both + alone + stranger + longer, shot, looks), pick, 130)
    assert people == 3
    x = np.array(_x(chosen))
    assert np.allclose(x[:40], expected, atol=60)
    assert np.allclose(x[40:70], 300, atol=60)
    assert np.isnan(x[70:90]).all()
    assert np.isnan(x[90:]).all() == (expected == 150)


def _alike(x: float, frame: int) -> Points:
    """Return the face of somebody very like person 0."""
    points = _seen(0, 0, frame)
    return (points * np.array([1.035, 0.965, 1.0], np.float32) + [x, 7, 0]).astype(np.float32)


def test_the_ones_alike_are_alike() -> None:
    apart = face_distance(_alike(0, 0).astype(np.float64), _seen(0, 0, 0).astype(np.float64))
    assert DOUBTFUL_SHAPE < apart < OTHER_SHAPE  # by shape alone they are one person
    assert (
        appearance_distance(_look(0, 1), _look(0, 2))
        < SAME_APPEARANCE
        < OTHER_APPEARANCE
        < appearance_distance(_look(0, 1), _look(1, 1))
    )


def test_two_alike_seen_together_are_two() -> None:
    faces = [[_seen(0, 150, i), _alike(600, i)] for i in range(40)] + [[_seen(0, 150, i)] for i in range(20)]
    chosen, people = choose_person(
        follow_faces(faces, np.zeros(60, np.int32), _same_looks(faces)), "longest", 60
    )
    assert people == 2
    assert np.allclose(_x(chosen), 150, atol=60)


def test_after_a_cut_those_alike_are_told_by_their_look() -> None:
    # Both; then both at changed places; then the other one alone.
    faces = [[_seen(0, 150, i), _alike(600, i)] for i in range(50)]
    faces += [[_alike(150, i), _seen(0, 600, i)] for i in range(40)]
    faces += [[_alike(300, i)] for i in range(30)]
    appearances = [[_look(0, i), _look(1, i)] for i in range(50)]
    appearances += [[_look(1, i), _look(0, i)] for i in range(40)]
    appearances += [[_look(1, i)] for i in range(30)]
    shot = np.repeat([0, 1, 2], [50, 40, 30]).astype(np.int32)
    chosen, people = choose_person(follow_faces(faces, shot, appearances), "left", 120)
    assert people == 2
    x = np.array(_x(chosen))
    assert np.allclose(x[:50], 150, atol=60)
    assert np.allclose(x[50:90], 600, atol=60)
    assert np.isnan(x[90:]).all()  # somebody else, however alike


def test_who_steps_into_anothers_place_is_another() -> None:
    faces = [[_seen(0, 300, i)] for i in range(40)] + [[]] * 4 + [[_alike(300, i)] for i in range(30)]
    appearances = [[_look(0, i)] for i in range(40)] + [[]] * 4 + [[_look(1, i)] for i in range(30)]
    shot = np.zeros(74, np.int32)
    assert [len(t.frames) for t in follow_faces(faces, shot, appearances)] == [40, 30]
    assert len(follow_faces(faces, shot, _same_looks(faces))) == 1  # what place alone would say
    chosen, people = choose_person(follow_faces(faces, shot, appearances), "longest", 74)
    assert people == 2
    assert all(p is None for p in chosen[40:])


def test_nobody_is_no_person() -> None:
    assert choose_person([], "longest", 3) == ([None, None, None], 0)


@pytest.mark.parametrize("pick", ["middle", "0", "-1", ""])
def test_a_pick_that_means_nothing_says_so(pick: str) -> None:
    with pytest.raises(SettingsError, match="face must be"):
        check_pick(pick)


def test_light_makes_no_difference_and_another_face_does() -> None:
    darker = (_look(0, 1) * 0.5 + 20).astype(np.uint8)
    assert appearance_distance(_look(0, 1), darker) < 0.05
    assert appearance_distance(_look(0, 1), _look(1, 1)) > 0.4
    assert appearance_distance(_look(0, 1), _look(0, 1)) == pytest.approx(0, abs=1e-5)


def test_gaps_of_shots() -> None:
    appearances = np.stack([_look(person, frame) for person in (0, 1, 0) for frame in range(20)])
    gaps = appearance_distances(appearances, np.repeat([0, 1, 3], 20).astype(np.int32), 4)
    assert gaps[0, 3] < 0.05 < 0.4 < gaps[0, 1]
    assert (gaps[2] == 1).all()  # nobody is seen in it


def test_a_fast_turn_is_no_other_person() -> None:
    assert not is_abrupt_change(0.37, 1)
    assert is_abrupt_change(0.37, 4)
    assert is_abrupt_change(0.6, 1)


def test_somebody_else_in_the_same_place_is_noticed() -> None:
    appearances = np.stack([_look(0, i) for i in range(10)] + [_look(1, i) for i in range(10)])
    frames, one_shot = np.arange(20), np.zeros(20, np.int32)
    assert changes_abruptly(appearances, frames, one_shot)
    assert not changes_abruptly(appearances[:10], frames[:10], one_shot[:10])
    assert not changes_abruptly(
        appearances, frames, np.repeat([0, 1], 10).astype(np.int32)
    )  # a cut tells as much
    assert not changes_abruptly(appearances[:1], frames[:1], one_shot[:1])
