import torch

from speech2lip.synthesis.speech import SILENT_MEL
from speech2lip.training.augmentation import vary_speech


def test_variation_is_repeatable_and_keeps_shape_and_floor() -> None:
    windows = torch.randn(8, 80, 60) * 0.5
    one, again, other = (
        vary_speech(windows, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert one.shape == windows.shape
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.min() >= SILENT_MEL


def test_loud_speech_stays_above_the_noise() -> None:
    windows = torch.full((64, 80, 60), SILENT_MEL)
    windows[:, 20:50, 20:40] = 1.0
    varied = vary_speech(windows, generator=torch.Generator().manual_seed(0))
    inside, outside = varied[:, 25:45, 20:40].mean((1, 2)), varied[:, 25:45, :20].mean((1, 2))
    assert (inside > outside + 0.3).float().mean() > 0.95
