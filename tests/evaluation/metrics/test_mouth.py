"""The mouth's box, distances, trembling and closures on made landmarks and openings."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from speech2lip.evaluation.metrics.mouth import (
    MOUTH_68,
    OpeningScale,
    bilabial_intervals,
    closures_reached,
    eye_distance,
    frames_inside,
    jitter,
    lip_width,
    lmd_frames,
    mouth_68,
    square_box,
)
from speech2lip.faces.landmarks import LIPS, lip_opening

Landmarks = NDArray[np.float64]


@pytest.fixture
def face() -> Landmarks:
    """Ten frames of random points whose eye corners are 100 px apart and whose lips are 0 to 9 px open."""
    points = np.tile(np.random.default_rng(0).normal(200, 30, (478, 3)), (10, 1, 1))
    points[:, 33], points[:, 263] = (150, 150, 0), (250, 150, 0)
    points[:, 61], points[:, 291] = (175, 220, 0), (225, 220, 0)
    for upper, lower in ((13, 14), (82, 87), (312, 317)):
        points[:, lower] = points[:, upper]
        points[:, lower, 1] += np.arange(10)
    return points


def rotated(points: Landmarks, degrees: float) -> Landmarks:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    out = points.copy()
    out[..., :2] = points[..., :2] @ np.array([[c, s], [-s, c]])
    return out


def test_the_map_has_twenty_different_points_and_mirrors() -> None:
    assert len(set(MOUTH_68)) == 20
    mirror = {61: 291, 40: 270, 37: 267, 91: 321, 84: 314, 78: 308, 81: 311, 178: 402}
    mirror |= {right: left for left, right in mirror.items()} | {middle: middle for middle in (0, 17, 13, 14)}
    outer, inner = MOUTH_68[:12], MOUTH_68[12:]
    assert [mirror[p] for p in outer] == [outer[(6 - i) % 12] for i in range(12)]
    assert [mirror[p] for p in inner] == [inner[(4 - i) % 8] for i in range(8)]


def test_equal_landmarks_have_no_distance(face: Landmarks) -> None:
    assert not lmd_frames(face, face).any()


def test_lmd_ignores_a_shift_of_the_whole_mouth(face: Landmarks) -> None:
    assert lmd_frames(face + 7, face) == pytest.approx(0, abs=1e-9)


def test_lmd_known_value(face: Landmarks) -> None:
    moved = face.copy()
    moved[:, 14, 1] += 4  # 1 of 20 points by 4 px: its mean moves by 0.2
    assert lmd_frames(moved, face) == pytest.approx((3.8 + 19 * 0.2) / 20)
    assert lmd_frames(2 * moved, 2 * face) == pytest.approx(2 * lmd_frames(moved, face))


def test_frames_without_a_face_are_unknown(face: Landmarks) -> None:
    moved = face.copy()
    moved[:, 14, 1] += 4
    moved[3] = np.nan
    assert np.isnan(lmd_frames(moved, face)).tolist() == [i == 3 for i in range(10)]
    assert np.isnan(lip_opening(moved)[3])


def test_opening_and_width_in_eye_distances(face: Landmarks) -> None:
    assert lip_opening(face) == pytest.approx(np.arange(10) / 100)
    assert lip_width(face) == pytest.approx(0.5)
    assert eye_distance(face) == pytest.approx(100)


def test_opening_and_width_ignore_scale_roll_and_place(face: Landmarks) -> None:
    other = 1.7 * rotated(face, 25) + 40
    assert lip_opening(other) == pytest.approx(lip_opening(face), abs=1e-6)
    assert lip_width(other) == pytest.approx(lip_width(face))


def test_depth_is_not_looked_at(face: Landmarks) -> None:
    assert np.array_equal(lip_opening(face), lip_opening(face[..., :2]))
    assert np.array_equal(mouth_68(face), mouth_68(face[..., :2]))
    assert np.array_equal(lip_width(face), lip_width(face[..., :2]))


def test_other_schemes_are_refused() -> None:
    with pytest.raises(AssertionError, match="478"):
        mouth_68(np.zeros((3, 68, 2)))


TIMES = np.arange(250) / 25
SCALE = OpeningScale(closed=0.0, wide=0.2)
PHONES = np.array([[1.0, 1.1], [3.0, 3.1], [5.0, 5.1], [7.0, 7.1]])
SILENCE = np.array([[8.0, 10.0]])


@pytest.fixture
def openings() -> NDArray[np.float64]:
    """A mouth 0.2 open but for the four closures and the silence at the end."""
    series = np.full(250, 0.2)
    for start, end in (*PHONES, *SILENCE):
        series[np.abs(TIMES - (start + end) / 2) <= (end - start) / 2 + 1e-9] = 0.0
    return series


def test_scale_of_a_person(openings: NDArray[np.float64]) -> None:
    scale = OpeningScale.measure(np.append(openings, np.nan))
    assert scale == SCALE
    assert scale.threshold == pytest.approx(0.03)
    with pytest.raises(AssertionError, match="face"):
        OpeningScale.measure(np.array([np.nan]))


def test_all_closures_reached(openings: NDArray[np.float64]) -> None:
    assert closures_reached(openings, TIMES, PHONES, scale=SCALE) == [True] * 4


def test_half_closed_lips_do_not_count(openings: NDArray[np.float64]) -> None:
    openings[(TIMES >= 2.9) & (TIMES <= 3.2)] = 0.1
    assert closures_reached(openings, TIMES, PHONES, scale=SCALE) == [True, False, True, True]


def test_static_open_lips_fail(openings: NDArray[np.float64]) -> None:
    static = np.full_like(openings, openings.mean())
    assert not any(closures_reached(static, TIMES, PHONES, scale=SCALE))
    assert SCALE.open_percent(static) == 100


def test_lips_that_are_always_shut_close_nothing(openings: NDArray[np.float64]) -> None:
    assert not any(closures_reached(np.zeros_like(openings), TIMES, PHONES, scale=SCALE))


def test_late_closures_are_missed(openings: NDArray[np.float64]) -> None:
    assert all(closures_reached(np.roll(openings, 1), TIMES, PHONES, scale=SCALE))
    assert not any(closures_reached(np.roll(openings, 5), TIMES, PHONES, scale=SCALE))


def test_phones_without_a_face_are_not_judged(openings: NDArray[np.float64]) -> None:
    openings[(TIMES >= 0.8) & (TIMES <= 1.3)] = np.nan
    assert len(closures_reached(openings, TIMES, PHONES, scale=SCALE)) == 3
    assert closures_reached(openings, TIMES, np.zeros((0, 2)), scale=SCALE) == []


def test_silence(openings: NDArray[np.float64]) -> None:
    silent = frames_inside(TIMES, SILENCE, margin=0.2)
    assert SCALE.open_percent(openings[silent]) == 0
    openings[220:230] = 0.1  # 10 of the 40 frames between 8.2 and 9.8 s
    assert SCALE.open_percent(openings[silent]) == 25
    assert math.isnan(SCALE.open_percent(openings[frames_inside(TIMES, PHONES[:1], margin=0.2)]))


def test_frames_inside_is_half_open() -> None:
    inside = frames_inside(np.array([0.9, 1.0, 1.5, 2.0]), np.array([[1.0, 2.0]]))
    assert inside.tolist() == [False, True, True, False]


def test_bilabial_intervals() -> None:
    rows = [("p", 0.0, 0.1), ("AA1", 0.1, 0.3), ("M", 0.3, 0.4), ("pau", 0.4, 1.0)]
    assert bilabial_intervals(rows).tolist() == [[0.0, 0.1], [0.3, 0.4]]
    assert bilabial_intervals([]).shape == (0, 2)


def test_the_box_lies_around_its_centre() -> None:
    assert square_box(np.array([100.0, 80.0]), 60, frame_height=200, frame_width=300) == (70, 50, 130, 110)


def test_side_does_not_flicker_with_the_place() -> None:
    boxes = [
        square_box(np.array([x, 80.0]), 61, frame_height=200, frame_width=300)
        for x in np.arange(90, 110, 0.13)
    ]
    assert {x1 - x0 for x0, _, x1, _ in boxes} == {61}
    assert {y1 - y0 for _, y0, _, y1 in boxes} == {61}


def test_clipped_to_the_frame() -> None:
    assert square_box(np.array([5.0, 195.0]), 60, frame_height=200, frame_width=300) == (0, 165, 35, 200)


def test_outside_is_empty() -> None:
    x0, _, x1, _ = square_box(np.array([-500.0, 80.0]), 60, frame_height=200, frame_width=300)
    assert x0 == x1


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.fixture
def talking() -> Landmarks:
    """Hundred frames of a face whose lips move slowly; eye corners 100 px apart."""
    points = np.tile(np.random.default_rng(0).normal(200, 40, (478, 2)), (100, 1, 1))
    points[:, 33], points[:, 263] = (150, 150), (250, 150)
    points[:, LIPS, 1] += 6 * np.sin(np.arange(100) / 3)[:, None] * np.linspace(-1, 1, len(LIPS))
    return points


def test_shaken_lips_show_in_jitter(talking: Landmarks, random: np.random.Generator) -> None:
    shaken = talking.copy()
    shaken[:, LIPS] += random.normal(0, 2, (100, 1, 2))
    assert jitter(shaken) > 5 * jitter(talking)
    # White shake of sigma in x and y has second differences of variance 6 sigma^2 each.
    still = np.tile(talking[:1], (100, 1, 1))
    still[:, LIPS] += random.normal(0, 2, (100, 1, 2))
    assert jitter(still) == pytest.approx(math.sqrt(2 * 6 * 4), rel=0.15)


def test_two_pixels_to_and_fro(talking: Landmarks) -> None:
    still = np.tile(talking[:1], (100, 1, 1))
    assert jitter(still) == pytest.approx(0, abs=1e-6)
    still[::2, LIPS, 0] += 2
    assert jitter(still) == pytest.approx(4)


def test_a_moving_head_is_no_jitter(talking: Landmarks, random: np.random.Generator) -> None:
    angle = random.normal(0, 0.1, 100)
    turn = np.stack(
        [np.stack([np.cos(angle), np.sin(angle)], 1), np.stack([-np.sin(angle), np.cos(angle)], 1)], 1
    )
    moved = random.uniform(0.8, 1.2, (100, 1, 1)) * talking @ turn + random.normal(0, 30, (100, 1, 2))
    still = np.tile(talking[:1], (100, 1, 1))
    assert jitter(moved) == pytest.approx(jitter(talking), rel=0.1)
    assert jitter(still) < 1e-6 < jitter(moved)


def test_jitter_with_missing_frames(talking: Landmarks) -> None:
    whole = jitter(talking)
    talking[40] = np.nan
    assert jitter(talking) == pytest.approx(whole, rel=0.1)
    assert math.isnan(jitter(np.full_like(talking, np.nan)))
    assert math.isnan(jitter(talking[:2]))


def test_a_cut_is_no_jitter(talking: Landmarks) -> None:
    jumped = talking.copy()
    jumped[50:, LIPS, 1] += 20  # another sitting, turned another way
    assert jitter(jumped) > 2 * jitter(talking)
    assert jitter(jumped, cuts=[50]) == pytest.approx(jitter(talking), rel=0.02)
    assert jitter(talking, cuts=[0]) == jitter(talking)
