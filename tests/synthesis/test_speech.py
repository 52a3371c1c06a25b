import math

import pytest
import torch

from speech2lip.config import ModelSettings
from speech2lip.synthesis.speech import (
    SILENT_MEL,
    SpeechEncoder,
    log_mel,
    mel_filters,
    mel_windows,
    window_offsets,
)


def _tone(hertz: float, seconds: float = 1.0) -> torch.Tensor:
    return 0.5 * torch.sin(2 * math.pi * hertz * torch.arange(int(16_000 * seconds)) / 16_000)


def test_silence_is_the_floor_everywhere() -> None:
    mel = log_mel(torch.zeros(16_000))
    assert mel.shape == (80, 101)
    assert torch.allclose(mel, torch.full_like(mel, SILENT_MEL))


@pytest.mark.parametrize("hertz", [300.0, 1000.0, 4000.0])
def test_a_tone_is_loudest_in_its_band(hertz: float) -> None:
    band = 2595 * math.log10(1 + hertz / 700) / (2595 * math.log10(1 + 8000 / 700)) * 81 - 1
    assert abs(int(log_mel(_tone(hertz))[:, 50].argmax()) - band) <= 1


def test_every_filter_hears_something() -> None:
    assert (mel_filters().sum(1) > 0.5).all()


def test_ten_times_the_amplitude_is_20_decibels() -> None:
    quiet, loud = (log_mel(_tone(1000) * gain)[:, 50].max() for gain in (0.1, 1.0))
    assert (loud - quiet).item() == pytest.approx(2 / 1.5, abs=1e-3)


def test_a_click_shows_at_its_own_time() -> None:
    wave = torch.zeros(16_000)
    wave[8000] = 1
    assert int(log_mel(wave).sum(0).argmax()) == 50


def test_windows_lie_around_their_moment() -> None:
    mel = torch.arange(200.0).expand(80, -1)
    windows = mel_windows(mel, torch.tensor([1.0, 1.005]), torch.tensor([-2, 0, 3]))
    assert windows.shape == (2, 80, 3)
    assert windows[0, 0].tolist() == [98, 100, 103]
    assert windows[1, 0].tolist() == pytest.approx([98.5, 100.5, 103.5])


def test_a_faster_pace_reaches_further() -> None:
    mel = torch.arange(200.0).expand(80, -1)
    moments, offsets = torch.tensor([1.0, 1.0]), torch.tensor([-10, 0, 5])
    windows = mel_windows(mel, moments, offsets, pace=torch.tensor([1.5, 0.5]))
    assert windows[0, 0].tolist() == [85, 100, 107.5]
    assert windows[1, 0].tolist() == [95, 100, 102.5]
    assert torch.equal(
        mel_windows(mel, moments, offsets, pace=torch.ones(2)), mel_windows(mel, moments, offsets)
    )


def test_beyond_the_ends_there_is_silence() -> None:
    windows = mel_windows(torch.ones(80, 50), torch.tensor([0.0, 0.49, 99.0]), torch.arange(-40, 20))
    assert (windows[0, :, :39] == SILENT_MEL).all()
    assert (windows[0, :, 40:] == 1).all()
    assert (windows[1, :, -15:] == SILENT_MEL).all()
    assert (windows[2] == SILENT_MEL).all()


def test_the_encoder_hears_its_window_and_no_further_than_it_says() -> None:
    settings = ModelSettings()
    offsets = window_offsets(settings)
    assert offsets.max() < settings.ahead_seconds * 100 <= 20
    windows = torch.randn(3, 80, len(offsets), requires_grad=True)
    code = SpeechEncoder(settings)(windows)
    assert code.shape == (3, settings.code_size)
    code[1].sum().backward()
    assert windows.grad is not None
    assert windows.grad[1].abs().sum() > 0
    assert windows.grad[0].abs().sum() == 0
