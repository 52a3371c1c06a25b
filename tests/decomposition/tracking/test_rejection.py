"""Why frames are left out, on made tracks."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech2lip.config import PrepareSettings
from speech2lip.decomposition.footage import Rejection, Track
from speech2lip.decomposition.head_pose import fit_poses
from speech2lip.decomposition.tracking.faces import appearance_distances, upright_face
from speech2lip.decomposition.tracking.landmarks import BLOCK
from speech2lip.decomposition.tracking.rejection import (
    covered_scores,
    find_other_people,
    reject_frames,
)
from speech2lip.formats import TakeInfo
from tests.decomposition.tracking.test_faces import _seen
from tests.made_face import head_pose


def _track(frames: int = 60, *, person: int = 0, shots: int = 1) -> Track:
    return Track(
        Path("a"),
        TakeInfo(640, 480, Fraction(25)),
        times=np.arange(frames) / 25,
        landmarks=np.stack([_seen(person, 300, i) for i in range(frames)]),
        light=np.full((frames, 3), 120, np.float32),
        sharpness=np.full(frames, 50, np.float32),
        covered=np.random.default_rng(0).normal(0.01, 0.01, frames).astype(np.float32),
        shot=np.repeat(np.arange(shots), frames // shots).astype(np.int32),
        appearance_distances=np.where(np.eye(shots, dtype=bool), 0, 0.05).astype(np.float32),
    )


def _poses(frames: int = 60) -> np.ndarray:
    return np.stack([head_pose(turn=(0, 0.02 * np.sin(i), 0)) for i in range(frames)])


def _told(track: Track, poses: np.ndarray) -> dict[str, list[int]]:
    tracks = {"a": track}
    reasons = reject_frames(tracks, find_other_people(tracks), {"a": poses}, PrepareSettings())["a"]
    return {Rejection(r).words: np.flatnonzero(reasons == r).tolist() for r in np.unique(reasons) if r}


def test_good_frames_are_kept() -> None:
    assert _told(_track(), _poses()) == {}


def test_each_fault_has_its_name() -> None:
    track, poses = _track(), _poses()
    landmarks = np.asarray(track.landmarks)  # the very same array
    landmarks[3] = np.nan
    track.light[3] = np.nan
    track.sharpness[7] = 5
    track.covered[11] = 0.2
    track.light[13] = (200, 120, 40)
    landmarks[17, :, 0] -= 300
    landmarks[19, :, :2] = landmarks[19, :, :2] * 0.2 + 100
    poses[23] = head_pose(turn=(0, 0.9, 0))
    assert _told(track, poses) == {
        "no face": [3],
        "heavy blur": [7],
        "mouth covered": [11],
        "broken colours": [13],
        "face cut by the border": [17],
        "face too small": [19],
        "turned away": [23],
    }


def test_another_face_is_somebody_else_wherever_it_is() -> None:
    mixed, other = _track(120, shots=2), _track(60, person=2)
    np.asarray(mixed.landmarks)[60:] = other.landmarks
    mixed.appearance_distances[:] = [[0, 0.5], [0.5, 0]]
    strangers = find_other_people({"a": _track(90), "mixed": mixed, "other": other})
    assert not strangers["a"].any()
    assert strangers["other"].all()
    assert not strangers["mixed"][:60].any()
    assert strangers["mixed"][60:].all()


def test_a_face_that_looks_the_same_is_the_same_though_its_shape_is_off() -> None:
    mixed = _track(120, shots=2)
    np.asarray(mixed.landmarks)[60:] = _track(60, person=2).landmarks
    assert not find_other_people({"mixed": mixed})["mixed"].any()


def _faces(frames: int) -> np.ndarray:
    random = np.random.default_rng(1)
    face = random.uniform(60, 200, (32, 32, 3))
    light = random.uniform(0.7, 1.2, frames)[:, None, None, None]
    return np.clip(face * light + random.normal(0, 3, (frames, 32, 32, 3)), 0, 255).astype(np.uint8)


def test_a_hand_stands_out_and_light_does_not() -> None:
    appearances = _faces(50)
    appearances[10, 20:30, 8:24] = (190, 140, 120)
    scores = covered_scores(appearances)
    assert scores.argmax() == 10
    assert scores[10] > 0.17 > 3 * np.delete(scores, 10).max()
    assert covered_scores(appearances[:0]).shape == (0,)


def test_looks_are_near_within_a_person_and_far_between() -> None:
    other = _faces(20)[:, ::-1]
    gaps = appearance_distances(
        np.concatenate([_faces(40), other]), np.repeat([0, 1, 2], 20).astype(np.int32), 4
    )
    assert (appearance_distances(other[:0], np.zeros(0, np.int32), 1) == 1).all()
    assert gaps[0, 1] < 0.05
    assert gaps[0, 2] > 0.3
    assert (gaps[3] == 1).all()


def test_the_look_is_upright_at_any_size_and_turn() -> None:
    random = np.random.default_rng(0)
    rgb = random.integers(0, 255, (480, 640, 3), np.uint8)
    points = _seen(0, 300, 0)
    assert upright_face(rgb, points).shape == (32, 32, 3)
    assert upright_face(rgb, points - 290).shape == (32, 32, 3)  # mostly outside


class _Counted:
    """Landmarks that remember how many frames were asked for at once."""

    def __init__(self, landmarks: np.ndarray) -> None:
        self.landmarks, self.most = landmarks, 0

    def __getitem__(self, key: Any) -> np.ndarray:
        found = self.landmarks[key]
        self.most = max(self.most, found.size // self.landmarks[0].size)
        return found


def test_landmarks_of_a_long_take_are_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speech2lip.decomposition.head_pose._SAMPLES", 60)
    frames = 600
    short = _track(50)
    counted: Any = _Counted(np.tile(np.asarray(short.landmarks), (frames // 50, 1, 1)))
    names = ("light", "sharpness", "covered", "shot")
    tiled = {name: np.concatenate([getattr(short, name)] * (frames // 50)) for name in names}
    track = replace(short, landmarks=counted, **tiled)
    shape, poses = fit_poses({"a": track}, {"a": track.seen}, PrepareSettings())
    assert shape.shape == (478, 3)
    reasons = reject_frames({"a": track}, find_other_people({"a": track}), poses, PrepareSettings())
    assert not reasons["a"].any()
    assert counted.most <= BLOCK
