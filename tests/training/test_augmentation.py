import math

import pytest
import torch

from speech2lip.synthesis.speech import SILENT_MEL, log_mel, mel_corners
from speech2lip.training.augmentation import vary_speech


def _vary(windows: torch.Tensor, seed: int = 0, parts: int = 1) -> torch.Tensor:
    return vary_speech(windows, generator=torch.Generator().manual_seed(seed), parts=parts)


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


def test_echoes_do_not_reach_from_one_part_into_the_next() -> None:
    windows = torch.full((64, 80, 120), SILENT_MEL)
    windows[:, :, 50:60] = 1.0  # loud at the end of the first part
    together, apart = _vary(windows, parts=2), _vary(windows, parts=1)
    assert together[:, :, 60].mean() < apart[:, :, 60].mean() - 0.1


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
