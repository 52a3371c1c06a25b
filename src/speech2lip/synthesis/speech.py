"""Sound in, speech code at any moment out."""

from __future__ import annotations

import functools
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from speech2lip.config import ModelSettings
from speech2lip.conventions import MEL_BANDS, MEL_RATE, SAMPLE_RATE
from speech2lip.errors import SettingsError
from speech2lip.synthesis.phonetic import SCORES, STRIDE, PhoneScores

SPEECH = ("mel", "phonetic", "mel+phonetic")
_WINDOW = 400
_FFT = 512
_HOP = SAMPLE_RATE // MEL_RATE
_FLOOR = 1e-6
SILENT_MEL = (math.log10(_FLOOR) + 3.0) / 1.5
"""Value of every band of the normalised log-mel spectrum in digital silence."""


@functools.lru_cache(maxsize=4)
def mel_filters(bands: int = MEL_BANDS, fft: int = _FFT, rate: int = SAMPLE_RATE) -> Tensor:
    """Return triangular filters, evenly spaced on the mel scale 2595 log10(1 + f / 700); [bands, fft / 2 +
    1].
    """
    top = 2595 * math.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, bands + 2, dtype=torch.float64) / 2595) - 1)
    frequency = torch.arange(fft // 2 + 1, dtype=torch.float64) * rate / fft
    up = (frequency - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - frequency) / (edges[2:] - edges[1:-1])[:, None]
    filters = torch.minimum(up, down).clamp_min(0)
    # The lowest bands are narrower than a bin of the transform: an area of 1 keeps them comparable, not
    # empty.
    filters = filters + (filters.sum(1, keepdim=True) == 0) * (frequency - edges[1:-1, None]).abs().lt(
        rate / fft / 2 + 1e-9
    )
    return (filters / filters.sum(1, keepdim=True).clamp_min(1e-9)).float()


def log_mel(wave: Float[Tensor, "S"]) -> Float[Tensor, "M F"]:
    """Return the normalised log-mel spectrum; frame f is centred on second f / 100.

    Args:
        wave: [S] at 16 kHz.

    Returns:
        [M, F] with F = S // 160 + 1; silence is `SILENT_MEL`, loud speech about +1.
    """
    window = torch.hann_window(_WINDOW, device=wave.device)
    padded = nn.functional.pad(wave[None], (_FFT // 2, _FFT // 2))[0]
    spectrum = torch.stft(padded, _FFT, _HOP, _WINDOW, window, center=False, return_complex=True)
    power = spectrum.abs() ** 2 / (window**2).sum()
    return ((mel_filters().to(wave.device) @ power).clamp_min(_FLOOR).log10() + 3.0) / 1.5


def window_offsets(settings: ModelSettings) -> Tensor:
    """Return the mel frames that the encoder hears, relative to its moment; [W]."""
    past, ahead = round(settings.past_seconds * MEL_RATE), round(settings.ahead_seconds * MEL_RATE)
    return torch.arange(-past, ahead)


def mel_windows(
    mel: Float[Tensor, "M F"],
    times: Float[Tensor, "T"],
    offsets: Int[Tensor, "W"],
    *,
    pace: Float[Tensor, "T"] | None = None,
) -> Float[Tensor, "T M W"]:
    """Cut the windows around moments, between mel frames by linear interpolation.

    Args:
        mel: [M, F]; beyond its ends there is silence.
        times: [T] seconds.
        offsets: [W] mel frames.
        pace: [T] factors on the offsets: above 1 a window holds more sound, as if spoken faster; None for 1.

    Returns:
        [T, M, W].
    """
    stretch = torch.ones_like(times) if pace is None else pace.to(times.dtype)
    reach = math.ceil(float(offsets.abs().max()) * float(stretch.max())) + 2
    padded = nn.functional.pad(mel, (2 * reach, 2 * reach), value=SILENT_MEL)
    centre = times.to(torch.float64) * MEL_RATE + 2 * reach
    centre = centre.clamp(reach, padded.shape[1] - reach)
    place = centre[:, None] + offsets.to(centre.device) * stretch[:, None].to(torch.float64)
    whole = place.floor().long()
    part = (place - whole).to(mel.dtype)
    left, right = padded[:, whole], padded[:, whole + 1]
    return (left + (right - left) * part).permute(1, 0, 2)


class SpeechEncoder(nn.Module):
    """Turns mel windows into speech codes with a small convolutional network.

    It hears the mel spectrum, how well a recogniser's phones explain it, or both.

    Raises:
        SettingsError: there is no such kind of speech.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        width = settings.encoder_width
        if settings.speech not in SPEECH:
            raise SettingsError(f"there is no speech {settings.speech!r}; there are {', '.join(SPEECH)}")
        self.hears_mel = "mel" in settings.speech
        self.scores = self.phones = self.gate = None
        if "phonetic" in settings.speech:
            self.scores = PhoneScores()
            self.phones = nn.Conv1d(SCORES, width, 3, padding=1)
            # Some phone explains even faint noise best: what is no speech can shut the scores out.
            self.gate = nn.Conv1d(MEL_BANDS, width, 1, stride=STRIDE)
        self.layers = nn.Sequential(
            nn.Conv1d(MEL_BANDS, width, 5, stride=2, padding=2) if self.hears_mel else nn.Identity(),
            nn.GELU(),
            nn.Conv1d(width, width, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv1d(width, width, 3, stride=2, padding=1),
            nn.GELU(),
        )
        frames = len(window_offsets(settings))
        for _ in range(3):
            frames = (frames + 1) // 2
        self.out = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(width * frames, settings.code_size))

    def forward(self, windows: Float[Tensor, "B M W"]) -> Float[Tensor, "B D"]:
        """[B, M, W] -> [B, D]."""
        code: Tensor = self.out(self.layers[1:](self._heard(windows)))
        return code

    def _heard(self, windows: Tensor) -> Tensor:
        heard = [self.layers[0](windows)] if self.hears_mel else []
        if self.scores is not None and self.phones is not None and self.gate is not None:
            open_to = torch.sigmoid(self.gate(windows) + 1)
            heard.append(open_to * self.phones(self.scores(windows)))
        total: Tensor = sum(heard[1:], heard[0])
        return total
