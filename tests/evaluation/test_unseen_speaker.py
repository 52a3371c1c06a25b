"""Strangers' words: sounds one after the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speech2lip.errors import SoundError
from speech2lip.evaluation.unseen_speaker import joined


@pytest.fixture
def sounds(tmp_path: Path) -> list[Path]:
    for name, rate, level in (("a", 16_000, 0.1), ("b", 8_000, 0.2), ("c", 16_000, 0.3)):
        soundfile.write(tmp_path / f"{name}.wav", np.full((2 * rate, 2), level), rate)
    return [tmp_path / f"{name}.wav" for name in "abc"]


def test_sounds_follow_each_other_after_a_breath(sounds: list[Path]) -> None:
    wave, names = joined(sounds, seconds=4.0)
    assert names == ("a", "b")
    assert len(wave) == 64_000
    assert wave[16_000] == pytest.approx(0.1, abs=0.01)
    assert not wave[round(2.05 * 16_000) : round(2.35 * 16_000)].any()
    assert wave[56_000] == pytest.approx(0.2, abs=0.01)


def test_what_is_not_reached_is_not_named(sounds: list[Path]) -> None:
    assert joined(sounds, seconds=1.0)[1] == ("a",)
    assert len(joined(sounds)[0]) == 6.8 * 16_000  # all there is


def test_no_sound_is_told() -> None:
    with pytest.raises(SoundError, match="no foreign sound"):
        joined([])
