import torch

from speech2lip.synthesis.speech import log_mel
from speech2lip.training.augmentation import noise_windows


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
