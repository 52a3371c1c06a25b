"""Sound offsets, from made lips and sounds."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from speech2lip.decomposition.av_offset import SoundOffset, find_offsets, shifted


def _talking(seconds: float, late: float, *, seed: int = 0) -> tuple[NDArray, NDArray, NDArray]:
    """Return lip openings, a sound that is `late` seconds behind them, and the frame times."""
    random = np.random.default_rng(seed)
    fine = np.arange(int(seconds * 16_000)) / 16_000
    beats = np.cumsum(random.uniform(0.18, 0.45, int(seconds * 4)))
    loud = sum(np.exp(-(((fine - late - b) / 0.05) ** 2)) for b in beats if b < seconds)
    wave = (random.normal(0, 0.1, len(fine)) * (loud + 0.002)).astype(np.float32)
    times = np.arange(int(seconds * 25)) / 25
    opening = sum(np.exp(-(((times - b) / 0.05) ** 2)) for b in beats if b < seconds) * 0.1
    return np.asarray(opening + random.normal(0, 0.005, len(times)), np.float32), wave, times


@pytest.mark.parametrize("late", [0.12, -0.1])
def test_a_late_sound_is_found_and_put_right(late: float) -> None:
    opening, wave, times = _talking(24, late)
    found = find_offsets({"a": opening}, {"a": wave}, {"a": times})["a"]
    assert found.corrected
    assert found.basis == "take"
    assert found.milliseconds == pytest.approx(1000 * late, abs=25)
    again = shifted(wave, found.shift_seconds)
    mended = find_offsets({"a": opening}, {"a": again}, {"a": times})["a"]
    assert mended.milliseconds == pytest.approx(0, abs=15)
    assert not mended.corrected


def test_sound_in_step_is_left_alone() -> None:
    opening, wave, times = _talking(24, 0.0)
    found = find_offsets({"a": opening}, {"a": wave}, {"a": times})["a"]
    assert found.milliseconds == pytest.approx(0, abs=25)
    assert not found.corrected
    assert found.shift_seconds == 0


def test_short_takes_are_judged_together() -> None:
    made = {f"t{n}": _talking(4, 0.12, seed=n) for n in range(6)}
    found = find_offsets(*({name: values[part] for name, values in made.items()} for part in range(3)))
    assert {offset.basis for offset in found.values()} == {"all takes"}
    assert all(offset.corrected for offset in found.values())


def test_foreign_sound_and_still_lips_tell_nothing() -> None:
    opening, _, times = _talking(24, 0.0, seed=1)
    other = _talking(24, 0.0, seed=2)[1]
    assert not find_offsets({"a": opening}, {"a": other}, {"a": times})["a"].corrected
    still = np.full_like(opening, 0.1)
    found = find_offsets({"a": still}, {"a": other}, {"a": times})["a"]
    assert found.milliseconds is None
    assert found.basis == "none"


def test_shifting_moves_sound_to_its_picture_and_keeps_the_length() -> None:
    wave = np.arange(1, 16_001, dtype=np.float32)
    earlier, later = shifted(wave, 0.5), shifted(wave, -0.25)
    assert earlier[0] == 8001
    assert earlier[-1] == 0
    assert len(earlier) == len(wave)
    assert later[3999] == 0
    assert later[4000] == 1
    assert len(later) == len(wave)
    assert not shifted(wave, 5.0).any()
    assert SoundOffset(80.0, 1.0, 0.5, "take", False).shift_seconds == 0
