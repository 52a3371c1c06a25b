from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from speech2lip.arrays import Picture
from speech2lip.composition.occlusion import (
    Flags,
    UsualFace,
    departures,
    in_front,
    learn_usual_face,
    mask_in_frame,
    node_colours,
)
from speech2lip.composition.reposing.reposer import Reposer
from speech2lip.faces.landmarks import LIPS_INNER
from speech2lip.geometry.rigid import camera_matrix, project
from tests.made_face import SIZE, head_pose, made_canonical, made_face, made_head

K = camera_matrix(SIZE[1], SIZE[0], 1.6)
POSE = head_pose()
HEAD = made_head(POSE)
Y, X = np.mgrid[0 : SIZE[0], 0 : SIZE[1]] + 0.5
MOUTH = project(POSE[None], K, made_face()[list(LIPS_INNER)])[0].mean(0)
FRAMES = 40


def _talking(index: int, *, seed: int = 0) -> Picture:
    """A face with noise whose mouth, a dark hole, opens and closes."""
    random = np.random.default_rng(seed + index)
    frame = np.full((*SIZE, 3), (190.0, 150.0, 130.0)) + random.normal(0, 3, (*SIZE, 3))
    tall = 1 + 9 * np.sin(index * 0.7) ** 2
    frame[((X - MOUTH[0]) / 16) ** 2 + ((Y - MOUTH[1]) / tall) ** 2 < 1] = (60, 20, 20)
    return frame.clip(0, 255).astype(np.uint8)


def _hand(index: int) -> Flags:
    """Something that comes up from below in the second half and covers the left of the mouth."""
    top = SIZE[0] - 8.0 * max(0, index - FRAMES // 2)
    covered: Flags = (np.abs(X - MOUTH[0] + 14) < 16) & (np.maximum(MOUTH[1] - 12, top) < Y)
    return covered


@pytest.fixture(scope="module")
def reposer() -> Reposer:
    return Reposer(made_canonical())


@pytest.fixture(scope="module")
def face(reposer: Reposer) -> UsualFace:
    return learn_usual_face(reposer, made_canonical(), [(_talking(i), HEAD) for i in range(0, FRAMES, 2)])


def _found(reposer: Reposer, face: UsualFace, frames: list[Picture]) -> list[Flags]:
    return in_front(face, [departures(face, node_colours(reposer, frame, HEAD)) for frame in frames])


def test_a_talking_mouth_is_never_in_front(reposer: Reposer, face: UsualFace) -> None:
    assert face.jaw.sum() > 20
    frames = [_talking(i, seed=100) for i in range(FRAMES)]
    assert not any(nodes.any() for nodes in _found(reposer, face, frames))


@pytest.mark.parametrize("colour", [(40.0, 40.0, 45.0), (150.0, 110.0, 90.0)])
def test_a_hand_is_in_front_where_it_is(
    reposer: Reposer, face: UsualFace, colour: tuple[float, float, float]
) -> None:
    frames = [_talking(i) for i in range(FRAMES)]
    for index, frame in enumerate(frames):
        frame[_hand(index)] = colour
    found = _found(reposer, face, frames)
    assert not any(nodes.any() for nodes in found[: FRAMES // 2])
    jaw = mask_in_frame(reposer, face.jaw, HEAD, SIZE) > 0.5
    apart = float(np.median(np.diff(reposer.mesh.project(HEAD)[..., 0], axis=1)))
    for index in (FRAMES - 8, FRAMES - 2):
        mask = mask_in_frame(reposer, found[index], HEAD, SIZE)
        hand = _hand(index)
        assert (jaw & hand).sum() > 50
        assert mask[jaw & hand].mean() > 0.8
        beside = jaw & (distance_transform_edt(~hand) > 3 * apart)
        assert beside.sum() > 50
        assert mask[beside].mean() < 0.05


def test_what_shows_for_an_instant_is_not(reposer: Reposer, face: UsualFace) -> None:
    frames = [_talking(i) for i in range(FRAMES)]
    for index in (10, 11, 25):
        frames[index][_hand(FRAMES)] = 40
    assert not any(nodes.any() for nodes in _found(reposer, face, frames))


def test_what_stays_within_the_jaw_region_is_not(reposer: Reposer, face: UsualFace) -> None:
    frames = [_talking(i) for i in range(FRAMES)]
    for frame in frames[20:]:
        frame[(np.hypot(X - MOUTH[0], Y - MOUTH[1]) < 7)] = (250, 250, 250)
    assert not any(nodes.any() for nodes in _found(reposer, face, frames))


def test_nothing_covered_gives_an_empty_mask(reposer: Reposer, face: UsualFace) -> None:
    assert not mask_in_frame(reposer, np.zeros_like(face.jaw), HEAD, SIZE).any()
