"""Cuts, on made changes of the picture and on real jump cuts."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from speech2lip.decomposition.tracking.take import (
    change_between,
    is_abrupt,
    shot_numbers,
    thumbnail,
)
from speech2lip.geometry.rigid import unbroken_runs
from speech2lip.media.video import read_frames


def _changes(*spikes: tuple[int, float], length: int = 60, usual: float = 0.8) -> np.ndarray:
    random = np.random.default_rng(0)
    changes = random.uniform(0.6, 1.0, length).astype(np.float32) * usual
    changes[0] = 0
    for index, height in spikes:
        changes[index] = height
    return changes


def _cuts(changes: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.diff(shot_numbers(changes))) + 1


def test_single_jumps_are_cuts() -> None:
    assert _cuts(_changes((20, 4.0), (40, 30.0))).tolist() == [20, 40]
    assert shot_numbers(_changes((20, 4.0), (40, 30.0)))[[0, 19, 20, 39, 40, 59]].tolist() == [
        0,
        0,
        1,
        1,
        2,
        2,
    ]


def test_flashes_nods_and_stills_are_none() -> None:
    assert not len(_cuts(_changes((20, 30.0), (21, 30.0))))  # a flash
    assert not len(_cuts(_changes(*((i, 8.0 - abs(i - 20)) for i in range(15, 26)))))  # a nod
    assert not len(_cuts(_changes((30, 0.8), usual=0.01)))  # noise in a still picture
    assert not len(_cuts(np.zeros(1, np.float32)))
    assert not len(_cuts(np.zeros(0, np.float32)))


def test_the_tracker_is_warned_at_once() -> None:
    assert is_abrupt([0.0, 1.0, 1.0, 20.0])
    assert not is_abrupt([0.0, 9.0, 9.0, 20.0])


def test_another_picture_changes_more_than_a_shifted_one() -> None:
    random = np.random.default_rng(0)
    one, other = (random.integers(0, 255, (72, 128, 3), np.uint8) for _ in range(2))
    assert change_between(None, thumbnail(one)) == 0
    same = change_between(thumbnail(one), thumbnail(one))
    assert same == 0 < change_between(thumbnail(one), thumbnail(other))


def test_runs_end_at_cuts() -> None:
    flags = np.array([0, 1, 1, 1, 1, 0, 1], bool)
    shot = np.array([0, 0, 0, 1, 1, 1, 1], np.int32)
    assert unbroken_runs(flags, shot) == [(1, 3), (3, 5), (6, 7)]
    assert unbroken_runs(~flags & False, shot) == []


def test_real_jump_cuts_are_found(real_footage: Path) -> None:
    before, changes = None, []
    for frame in read_frames(real_footage / "words" / "words.mkv", stop_frame=420):
        now = thumbnail(frame.rgb)
        changes.append(change_between(before, now))
        before = now
    with (real_footage / "words" / "words.clips.csv").open() as file:
        true = [int(row["first_frame"]) for row in csv.DictReader(file)]
    assert _cuts(np.array(changes, np.float32)).tolist() == [t for t in true if 0 < t < 417]
