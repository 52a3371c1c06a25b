from typing import Any

import numpy as np
import pytest
from scipy.signal import lfilter

from benchmarks.robustness.vocoder import change_voice
from benchmarks.robustness.voices import VOICES, in_voice
from speech2lip.conventions import SAMPLE_RATE
from speech2lip.errors import SettingsError

Wave = np.ndarray[Any, Any]


def _vowel(seconds: float, *, pitch: float = 110.0, formants: tuple[float, ...] = (600.0, 1200.0)) -> Wave:
    """Pulses through two resonances, on and off at irregular times."""
    count = round(seconds * SAMPLE_RATE)
    wave = np.zeros(count)
    wave[np.arange(0, count, SAMPLE_RATE / pitch).astype(int)] = 1
    for hertz in formants:
        radius, angle = 0.985, 2 * np.pi * hertz / SAMPLE_RATE
        wave = lfilter([1], [1, -2 * radius * np.cos(angle), radius**2], wave)
    moments = np.arange(count) / SAMPLE_RATE
    on = np.interp(moments, *_syllables(seconds))
    return (0.3 * wave / np.abs(wave).max() * on).astype(np.float32)


def _syllables(seconds: float) -> tuple[Wave, Wave]:
    rng = np.random.default_rng(0)
    edges = np.cumsum(rng.uniform(0.08, 0.25, size=round(seconds * 12)))
    times = np.repeat(edges, 2) + np.tile([0.0, 0.01], len(edges))
    return times, np.tile([0.0, 1.0, 1.0, 0.0], len(edges) // 2 + 1)[: len(times)]


def _lag_ms(a: Wave, b: Wave) -> int:
    """How much later b's loudness comes than a's."""

    def loudness(wave: Wave) -> Wave:
        smooth = np.convolve(np.abs(wave.astype(float)), np.hanning(320), "same")[:: SAMPLE_RATE // 1000]
        return smooth - smooth.mean()

    x, y = loudness(a), loudness(b)
    lags = range(-60, 61)
    return lags[int(np.argmax([x[100:-100] @ np.roll(y, -lag)[100:-100] for lag in lags]))]


@pytest.mark.parametrize("kind", [kind for kind in VOICES if kind != "room"])
def test_moments_stay_within_10_ms(kind: str) -> None:
    wave = _vowel(6.0)
    changed = in_voice(wave, kind)
    assert changed.shape == wave.shape
    assert changed.dtype == np.float32
    assert np.abs(changed).max() <= 1
    third = len(wave) // 3
    for start in (0, third, 2 * third):
        assert abs(_lag_ms(wave[start : start + third], changed[start : start + third])) <= 10


def test_an_echo_comes_after_its_sound() -> None:
    wave = np.zeros(SAMPLE_RATE, np.float32)
    wave[8000] = 0.5
    changed = np.abs(in_voice(wave, "room"))
    assert changed.argmax() == 8000
    assert changed[:8000].max() < 1e-6
    assert 0.3 < (changed[8001:] ** 2).sum() / (changed**2).sum() < 0.7


@pytest.mark.parametrize("kind", VOICES)
def test_the_sound_is_another_one_and_the_same_each_time(kind: str) -> None:
    wave = _vowel(2.0)
    changed = in_voice(wave, kind)
    assert np.abs(changed - wave).max() > 1e-3
    assert np.array_equal(changed, in_voice(wave, kind))


@pytest.mark.parametrize("factor", [0.75, 1.7])
def test_pitch_moves_and_formants_stay(factor: float) -> None:
    count = 2 * SAMPLE_RATE
    wave = np.zeros(count, np.float32)
    wave[:: SAMPLE_RATE // 100] = 0.5
    wave = lfilter([1], [1, -2 * 0.97 * np.cos(2 * np.pi * 0.1), 0.97**2], wave).astype(np.float32)
    changed = change_voice(wave, pitch=factor, formants=1.0)
    spectrum = np.abs(np.fft.rfft(changed[4000:-4000] * np.hanning(count - 8000)))
    hertz = np.arange(len(spectrum)) * SAMPLE_RATE / (count - 8000)
    assert abs(hertz[spectrum.argmax()] - 1600) < 0.75 * 100 * factor
    near = (hertz > 60 * factor) & (hertz < 140 * factor)
    assert hertz[near][spectrum[near].argmax()] == pytest.approx(100 * factor, rel=0.05)


def test_formants_move_and_pitch_stays() -> None:
    wave = _vowel(2.0, formants=(1000.0, 1000.0))
    centre = [_centre(change_voice(wave, pitch=1.0, formants=factor)) for factor in (1.0, 1.2)]
    assert centre[1] / centre[0] == pytest.approx(1.2, abs=0.08)


def _centre(wave: Wave) -> float:
    power = np.abs(np.fft.rfft(wave.astype(float))) ** 2
    hertz = np.arange(len(power)) * SAMPLE_RATE / len(wave)
    return float((power * hertz).sum() / power.sum())


def test_silence_stays_silence() -> None:
    nothing = np.zeros(SAMPLE_RATE, np.float32)
    for kind in VOICES:
        assert np.abs(in_voice(nothing, kind)).max() < 1e-3, kind


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"'helium'.*telephone"):
        in_voice(np.zeros(100, np.float32), "helium")
