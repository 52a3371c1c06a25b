"""Varied waves sound otherwise and keep their moments; quiet ones are quiet."""

from __future__ import annotations

import numpy as np
import pytest

from speech2lip.conventions import SAMPLE_RATE
from speech2lip.training.pretrained_sound import Wave, _other_voice, quiet_wave, vary_wave


def _envelope(wave: Wave) -> np.ndarray:
    blocks = wave[: len(wave) // 800 * 800].reshape(-1, 800)
    return np.log(np.sqrt(np.mean(blocks**2, axis=1)) + 1e-4)


def _syllables(seconds: float) -> Wave:
    """A tone of 200 Hz and its harmonics that comes and goes four times a second."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tone = sum(np.sin(2 * np.pi * 200 * k * time) / k for k in range(1, 9))
    return (0.1 * tone * np.clip(np.sin(2 * np.pi * 4 * time), 0, 1)).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.01, 0.5, 4.0, 4.03, 9.7])
def test_the_length_stays_and_moments_keep_their_place(seconds: float) -> None:
    wave = _syllables(seconds)
    for seed in range(3):
        varied = vary_wave(wave, np.random.default_rng(seed))
        assert len(varied) == len(wave)
        assert varied.dtype == np.float32
        assert np.isfinite(varied).all()
        assert np.abs(varied).max() <= 1
        if seconds >= 4:
            assert not np.allclose(varied, wave)
            one, other = _envelope(wave), _envelope(varied)
            lags = {lag: float(np.corrcoef(one, np.roll(other, lag))[0, 1]) for lag in range(-2, 3)}
            # Blocks of 50 ms.
            assert max(lags, key=lambda lag: lags[lag]) == 0, lags


def test_silence_stays_silence() -> None:
    assert not vary_wave(np.zeros(5 * SAMPLE_RATE, np.float32), np.random.default_rng(0)).any()


@pytest.mark.parametrize("factor", [0.8, 0.93, 1.0, 1.25])
def test_another_voice_is_so_many_times_as_high(factor: float) -> None:
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    higher = _other_voice(np.sin(2 * np.pi * 500 * time).astype(np.float32), factor)
    assert len(higher) == len(time)
    middle = higher[SAMPLE_RATE // 2 : 3 * SAMPLE_RATE // 2]
    assert np.abs(np.fft.rfft(middle)).argmax() == pytest.approx(500 * factor, abs=2)
    # Bins that drift apart cost some loudness, which is given back afterwards.
    assert 0.4 < np.sqrt(np.mean(middle**2)) < 0.8


def test_quiet_waves_hold_no_speech_but_something() -> None:
    wave = quiet_wave(6, np.random.default_rng(0))
    assert len(wave) == 12 * SAMPLE_RATE
    pieces = [10 * np.log10(np.mean(piece**2) + 1e-14) for piece in np.split(wave, 6)]
    assert max(pieces) < -24
    assert min(pieces) < -48
    # Clicks are loud for a moment.
    assert np.abs(wave).max() > 0.01
