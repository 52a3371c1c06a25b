import math

import numpy as np
import pytest
import torch

from speech2lip.arrays import Floats
from speech2lip.conventions import SAMPLE_RATE
from speech2lip.synthesis.speech import SILENT_MEL, log_mel, mel_corners
from speech2lip.training.augmentation import (
    _other_voice,
    noise_windows,
    quiet_wave,
    vary_speech,
    vary_wave,
)


def _vary(windows: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return vary_speech(windows, generator=torch.Generator().manual_seed(seed))


def test_variation_is_repeatable_and_keeps_shape_and_floor() -> None:
    windows = torch.randn(8, 80, 60) * 0.5
    one, again, other = (_vary(windows, seed) for seed in (1, 1, 2))
    assert one.shape == windows.shape
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.min() >= SILENT_MEL
    assert torch.isfinite(one).all()


def test_loud_speech_stays_above_the_noise() -> None:
    windows = torch.full((64, 80, 60), SILENT_MEL)
    windows[:, 20:50, 20:40] = 1.0
    varied = _vary(windows)
    inside, outside = varied[:, 25:45, 20:40].mean((1, 2)), varied[:, 25:45, :20].mean((1, 2))
    assert (inside > outside + 0.3).float().mean() > 0.9


def test_moments_stay() -> None:
    windows = torch.full((256, 80, 60), SILENT_MEL)
    windows[:, :, 30:] = 1.0
    rise = _vary(windows).mean(1).diff(dim=1)
    assert (rise.argmax(1) == 29).float().mean() > 0.9


def test_softer_and_louder_and_cut_off_below_and_above() -> None:
    windows = torch.full((256, 80, 60), 1.0)
    varied = _vary(windows)
    level = varied[:, 20:40].mean((1, 2))
    assert level.min() < -0.4
    assert level.max() > 1.4
    assert (varied[:, 78].mean(1) < 0.2 * level).float().mean() > 0.1
    assert (varied[:, 1].mean(1) < level - 1).float().mean() > 0.03


@pytest.mark.parametrize("hertz", [200.0, 1000.0, 5000.0])
def test_band_centres_are_those_of_the_spectrum(hertz: float) -> None:
    tone = 0.5 * torch.sin(2 * math.pi * hertz * torch.arange(16_000) / 16_000)
    band = int(log_mel(tone)[:, 50].argmax())
    assert band == int((mel_corners()[1:-1] - hertz).abs().argmin())


def test_windows_flicker_as_noise_does() -> None:
    windows = noise_windows(200, 60, generator=torch.Generator().manual_seed(1))
    assert windows.shape == (200, 80, 60)
    real = log_mel(torch.randn(16_000 * 5, generator=torch.Generator().manual_seed(2)))
    real = real - real.mean(1, keepdim=True)
    for band in (3, 40, 75):
        assert abs(windows[:, band].std() / real[band].std() - 1) < 0.15
    # A narrow band flickers more than a wide one, and both from frame to frame alike.
    assert windows[:, 3].std() > 2 * windows[:, 75].std()
    power = 10 ** (1.5 * windows)
    assert abs(power.mean().item() - 1) < 0.05


def test_windows_are_repeatable_and_differ() -> None:
    first, again = (noise_windows(4, 30, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first[0], first[1])


def _envelope(wave: Floats) -> np.ndarray:
    blocks = wave[: len(wave) // 800 * 800].reshape(-1, 800)
    return np.log(np.sqrt(np.mean(blocks**2, axis=1)) + 1e-4)


def _syllables(seconds: float) -> Floats:
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
