from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from speech2lip.decomposition.footage import Take
from speech2lip.errors import SettingsError
from speech2lip.training.split import held_out_ranges, trainable


def _take(name: str, frames: int = 100) -> Take:
    return Take(
        name=name,
        folder=Path(name),
        width=64,
        height=64,
        fps=Fraction(25),
        focal=1.6,
        times=np.arange(frames) / 25,
        landmarks=np.zeros((frames, 478, 3), np.float32),
        light=np.ones((frames, 3), np.float32),
        camera_from_head=np.tile(np.eye(4), (frames, 1, 1)),
        left_out=np.zeros(frames, np.uint8),
    )


def test_every_tenth_of_many_takes_beginning_with_the_fourth() -> None:
    takes = [_take(f"{i:02d}") for i in reversed(range(24))]
    assert held_out_ranges(takes, None) == {"03": (0, 100), "13": (0, 100), "23": (0, 100)}


def test_the_last_tenth_of_few_takes() -> None:
    takes = [_take("a", 300), _take("b", 20), _take("c", 10)]
    assert held_out_ranges(takes, None) == {"c": (0, 10), "b": (0, 20), "a": (297, 300)}
    assert held_out_ranges([_take("a", 500)], None) == {"a": (450, 500)}


def test_a_share_and_nothing() -> None:
    assert held_out_ranges([_take("a", 500)], 0.2) == {"a": (400, 500)}
    assert held_out_ranges([_take(str(i)) for i in range(20)], 0) == {}
    with pytest.raises(SettingsError, match=r"1\.5"):
        held_out_ranges([_take("a")], 1.5)


def test_frames_next_to_held_out_ones_are_not_trained_on() -> None:
    take = _take("a", 100)
    take.left_out[3] = 1
    flags = trainable(take, {"a": (90, 100)})
    assert flags[:80].sum() == 79
    assert not flags[80:].any()
    assert trainable(take, {}).sum() == 99
