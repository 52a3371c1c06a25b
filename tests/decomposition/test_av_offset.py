"""The sound's offset against the lips, on made syllables of known time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from speech2lip.decomposition.av_offset import (
    SyncCurve,
    SyncOffset,
    find_offsets,
    pooled_offset,
    shifted,
    speech_energy,
    sync_curve,
    trusted_offset,
)
from speech2lip.formats import SoundOffset

SECONDS = 10


def syllables(seed: int) -> NDArray[np.float64]:
    """How open a mouth is at 1000 Hz: bumps at random times."""
    rng = np.random.default_rng(seed)
    starts = np.cumsum(rng.uniform(0.12, 0.45, 60))
    impulses = np.zeros(SECONDS * 1000)
    impulses[(starts[starts < SECONDS - 0.1] * 1000).astype(int)] = rng.uniform(
        0.5, 1, (starts < SECONDS - 0.1).sum()
    )
    bumps = gaussian_filter1d(impulses, 50)
    return np.asarray(bumps / bumps.max(), np.float64)


def sound(opening: NDArray[np.float64], *, late: float = 0.0, seed: int = 9) -> NDArray[np.float32]:
    """A tone at 1 kHz as loud as the mouth is open, in soft noise."""
    t = np.arange(SECONDS * 16000) / 16000
    loud = np.interp(t - late, np.arange(len(opening)) / 1000, opening)
    noise = np.random.default_rng(seed).normal(0, 0.01, len(t))
    return (0.5 * loud * np.sin(2 * np.pi * 1000 * t) + noise).astype(np.float32)


def av_offset(
    series: NDArray[np.float64], wave: NDArray[np.float32], times: NDArray[np.float64]
) -> SyncOffset:
    return pooled_offset([sync_curve(series, wave, times)])


def lips(opening: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.interp(times, np.arange(len(opening)) / 1000, opening)


TIMES = np.arange(SECONDS * 25) / 25
OPENING = syllables(1)


@pytest.mark.parametrize("late", [-0.2, -0.04, 0.0, 0.025, 0.08, 0.2])
def test_late_sound_is_positive_to_a_fraction_of_a_frame(late: float) -> None:
    found = av_offset(lips(OPENING, TIMES), sound(OPENING, late=late), TIMES)
    assert found.milliseconds == pytest.approx(1000 * late, abs=6)
    assert found.correlation > 0.8
    assert found.confidence > 0.5


@pytest.mark.parametrize("frames", [-3, 2, 4])
def test_lips_delayed_by_k_frames_give_minus_k(frames: int) -> None:
    """Late lips are early sound."""
    found = av_offset(np.roll(lips(OPENING, TIMES), frames), sound(OPENING), TIMES)
    assert found.milliseconds == pytest.approx(-40 * frames, abs=6)


def test_frame_rate_and_uneven_times_make_no_difference() -> None:
    uneven = np.sort(np.random.default_rng(2).uniform(0, SECONDS, 350))
    for times in (np.arange(299) * 1001 / 30000, uneven):
        assert av_offset(
            lips(OPENING, times), sound(OPENING, late=0.06), times
        ).milliseconds == pytest.approx(60, abs=6)


def test_swapped_sound_has_low_confidence() -> None:
    right = av_offset(lips(OPENING, TIMES), sound(OPENING), TIMES)
    wrong = [
        av_offset(lips(OPENING, TIMES), sound(syllables(seed)), TIMES).correlation for seed in range(2, 8)
    ]
    assert max(wrong) < 0.6 * right.correlation


def test_static_lips_have_no_offset() -> None:
    found = av_offset(np.full(len(TIMES), 0.1), sound(OPENING), TIMES)
    assert math.isnan(found.milliseconds)
    assert (found.correlation, found.confidence) == (0, 0)


def test_silence_has_no_offset() -> None:
    found = av_offset(lips(OPENING, TIMES), np.zeros(SECONDS * 16000, np.float32), TIMES)
    assert math.isnan(found.milliseconds)


def test_missing_frames_do_not_disturb() -> None:
    series = lips(OPENING, TIMES)
    series[60:110] = np.nan
    found = av_offset(series, sound(OPENING, late=0.08), TIMES)
    assert found.milliseconds == pytest.approx(80, abs=6)
    assert sync_curve(series, sound(OPENING), TIMES).weight == pytest.approx(10 - 2.04, abs=0.06)


def test_pooling_weighs_by_length_and_leaves_empty_takes_out() -> None:
    whole = sync_curve(lips(OPENING, TIMES), sound(OPENING, late=0.05), TIMES)
    empty = sync_curve(np.full(len(TIMES), np.nan), sound(OPENING), TIMES)
    assert empty.weight == 0
    assert pooled_offset([empty, whole]) == pooled_offset([whole])
    assert math.isnan(pooled_offset([empty]).milliseconds)
    assert math.isnan(pooled_offset([]).milliseconds)


def test_energy_is_in_decibels_and_floored() -> None:
    t = np.arange(32000) / 16000
    tone = np.sin(2 * np.pi * 1000 * t) * np.where(t < 1, 1, 0.1)
    energy = speech_energy(tone.astype(np.float32))
    assert len(energy) == 200
    assert energy[50] == pytest.approx(0, abs=0.2)
    assert energy[150] == pytest.approx(-20, abs=0.2)
    assert speech_energy(np.concatenate([tone, 0 * tone]).astype(np.float32))[300] == -40


def test_a_peak_that_may_be_chance_is_not_trusted() -> None:
    lags = np.arange(-30, 31) / 100
    hill = np.exp(-(((lags - 0.05) / 0.05) ** 2))
    assert trusted_offset([SyncCurve(lags, 0.5 * hill, 60.0)]) == pytest.approx(50)
    assert trusted_offset([SyncCurve(lags, 0.5 * hill, 4.0)]) is None
    assert trusted_offset([SyncCurve(lags, 0.9 * hill, 4.0)]) == pytest.approx(50)
    assert trusted_offset([SyncCurve(lags, hill, 1.0)]) is None
    assert (
        trusted_offset([SyncCurve(lags, np.exp(lags), 60.0)]) is None
    )  # the best lies beyond what was looked at


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
    found = find_offsets({"a": (opening, wave, times)})["a"]
    assert found.corrected
    assert found.basis == "take"
    assert found.milliseconds == pytest.approx(1000 * late, abs=25)
    again = shifted(wave, found.shift_seconds)
    mended = find_offsets({"a": (opening, again, times)})["a"]
    assert mended.milliseconds == pytest.approx(0, abs=15)
    assert not mended.corrected


def test_sound_in_step_is_left_alone() -> None:
    opening, wave, times = _talking(24, 0.0)
    found = find_offsets({"a": (opening, wave, times)})["a"]
    assert found.milliseconds == pytest.approx(0, abs=25)
    assert not found.corrected
    assert found.shift_seconds == 0


def test_short_takes_are_judged_together() -> None:
    made = {f"t{n}": _talking(4, 0.12, seed=n) for n in range(6)}
    found = find_offsets(made)
    assert {offset.basis for offset in found.values()} == {"all takes"}
    assert all(offset.corrected for offset in found.values())


def test_foreign_sound_and_still_lips_tell_nothing() -> None:
    opening, _, times = _talking(24, 0.0, seed=1)
    other = _talking(24, 0.0, seed=2)[1]
    assert not find_offsets({"a": (opening, other, times)})["a"].corrected
    still = np.full_like(opening, 0.1)
    found = find_offsets({"a": (still, other, times)})["a"]
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
