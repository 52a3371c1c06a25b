"""Sound in, speech code at any moment out."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor, nn

from speech2lip.config import ModelSettings
from speech2lip.conventions import MEL_BANDS, MEL_FFT, MEL_HOP, MEL_RATE, MEL_WINDOW, SAMPLE_RATE
from speech2lip.synthesis.pretrained import (
    AHEAD_FRAMES,
    COMPONENTS,
    FRAMES_PER_TOKEN,
    PAST_SECONDS,
    Projection,
    pretrained_name,
)

_FLOOR = 1e-6
SILENT_MEL = (math.log10(_FLOOR) + 3.0) / 1.5
"""Value of every band of the normalised log-mel spectrum in digital silence."""


def mel_scale(hertz: Tensor) -> Tensor:
    """Return the pitch of frequencies on the mel scale, 2595 log10(1 + f / 700)."""
    return 2595 * torch.log10(1 + hertz / 700)


def mel_corners(bands: int = MEL_BANDS) -> Float[Tensor, "N"]:
    """Return where the triangles of a bank of mel filters meet, even on the mel scale; [bands + 2] hertz."""
    top = float(mel_scale(torch.tensor(SAMPLE_RATE / 2, dtype=torch.float64)))
    return 700 * (10 ** (torch.linspace(0, top, bands + 2, dtype=torch.float64) / 2595) - 1)


@functools.lru_cache(maxsize=1)
def mel_filters() -> Float[Tensor, "M Q"]:
    """Return the filters of `log_mel`, triangles of area 1; [80, 257]."""
    corners = mel_corners()[:, None]
    low, middle, high = corners[:-2], corners[1:-1], corners[2:]
    frequency = torch.arange(MEL_FFT // 2 + 1, dtype=torch.float64) * SAMPLE_RATE / MEL_FFT
    rise, fall = (frequency - low) / (middle - low), (high - frequency) / (high - middle)
    filters = torch.minimum(rise, fall).clamp_min(0)
    # The lowest bands are narrower than a bin of the transform: they take the nearest one, not nothing.
    nearest = (frequency - middle).abs() < SAMPLE_RATE / MEL_FFT / 2 + 1e-9
    filters = torch.where(filters.sum(1, keepdim=True) == 0, nearest.double(), filters)
    return (filters / filters.sum(1, keepdim=True).clamp_min(1e-9)).float()


def log_mel(wave: Float[Tensor, "S"]) -> Float[Tensor, "M F"]:
    """Return the normalised log-mel spectrum; frame f is centred on second f / 100.

    Args:
        wave: [S] at 16 kHz.

    Returns:
        [M, F] with F = S // 160 + 1; silence is `SILENT_MEL`, loud speech about +1.
    """
    window = torch.hann_window(MEL_WINDOW, device=wave.device)
    padded = nn.functional.pad(wave[None], (MEL_FFT // 2, MEL_FFT // 2))[0]
    spectrum = torch.stft(padded, MEL_FFT, MEL_HOP, MEL_WINDOW, window, center=False, return_complex=True)
    power = spectrum.abs() ** 2 / (window**2).sum()
    return ((mel_filters().to(wave.device) @ power).clamp_min(_FLOOR).log10() + 3.0) / 1.5


def window_offsets(settings: ModelSettings) -> Tensor:
    """Return the mel frames that the encoder hears, relative to its moment; [W]."""
    past, ahead = round(settings.past_seconds * MEL_RATE), round(settings.ahead_seconds * MEL_RATE)
    return torch.arange(-past, ahead)


def heard_seconds(settings: ModelSettings) -> tuple[float, float]:
    """Return how much sound before and after a moment plays a part in what is heard of it."""
    before = PAST_SECONDS if pretrained_name(settings.speech) else 0.0
    return settings.past_seconds + before, settings.ahead_seconds


def cut_windows(rows: Float[Tensor, "S C L"], columns: Float[Tensor, "S N W"]) -> Float[Tensor, "S*N C W"]:
    """Cut windows out of rows, between their columns by linear interpolation.

    Args:
        rows: [S, C, L].
        columns: [S, N, W] where the values of N windows stand in each of them.

    Returns:
        [S N, C, W].
    """
    count, channels, length = rows.shape
    whole = columns.floor().long()
    part = (columns - whole).reshape(count, 1, -1).to(torch.promote_types(rows.dtype, torch.float32))
    at = whole.reshape(count, 1, -1).expand(-1, channels, -1)
    left, right = rows.gather(2, at), rows.gather(2, (at + 1).clamp_max(length - 1))
    windows = (left + (right - left) * part).reshape(count, channels, *columns.shape[1:])
    return windows.transpose(1, 2).flatten(0, 1)


def mel_windows(
    mel: Float[Tensor, "M F"],
    times: Float[Tensor, "T"],
    offsets: Int[Tensor, "W"],
    *,
    pace: Float[Tensor, "T"] | None = None,
) -> Float[Tensor, "T M W"]:
    """Cut the windows around moments, between mel frames by linear interpolation.

    Args:
        mel: [M, F]; beyond its ends there is silence. Rows beneath the mel bands are what a pretrained
            encoder hears; beyond their ends they are 0.
        times: [T] seconds.
        offsets: [W] mel frames.
        pace: [T] factors on the offsets: above 1 a window holds more sound, as if spoken faster; None for 1.

    Returns:
        [T, M, W].
    """
    stretch = torch.ones_like(times) if pace is None else pace.to(times.dtype)
    reach = math.ceil(float(offsets.abs().max()) * float(stretch.max())) + 2
    around = (2 * reach, 2 * reach)
    padded = nn.functional.pad(mel[:MEL_BANDS], around, value=SILENT_MEL)
    if len(mel) > MEL_BANDS:
        padded = torch.cat([padded, nn.functional.pad(mel[MEL_BANDS:], around)])
    centre = times.to(torch.float64) * MEL_RATE + 2 * reach
    centre = centre.clamp(reach, padded.shape[1] - reach)
    columns = centre[:, None] + offsets.to(centre.device) * stretch[:, None].to(torch.float64)
    return cut_windows(padded[None], columns[None])


class SpeechEncoder(nn.Module):
    """Turns mel windows into speech codes with a small convolutional network.

    It hears the mel spectrum, what a pretrained encoder makes of the sound, or both. The latter is given as
    rows beneath the mel bands.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        width, offsets = settings.encoder_width, window_offsets(settings)
        self.hears_mel = settings.speech.startswith("mel")
        self.pretrained = self.features = self.gate = None
        self.channels, self.in_time = MEL_BANDS, 0
        if pretrained_name(settings.speech):
            self.pretrained = Projection()
            self.features = nn.Conv1d(COMPONENTS, width, 3, padding=1)
            # Even noise looks like some speech to it: the spectrum of what is none can shut it out.
            self.gate = nn.Conv1d(MEL_BANDS, width, 1, stride=FRAMES_PER_TOKEN)
            self.channels += COMPONENTS
            # Features stand for more of the sound to come than mel frames do: the last ones come too late.
            self.in_time = max(0, len(offsets) - AHEAD_FRAMES + 1)
        self.layers = nn.Sequential(
            nn.Conv1d(MEL_BANDS, width, 5, stride=2, padding=2) if self.hears_mel else nn.Identity(),
            nn.GELU(),
            nn.Conv1d(width, width, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv1d(width, width, 3, stride=2, padding=1),
            nn.GELU(),
        )
        frames = -(-len(offsets) // 8)
        self.out = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(width * frames, settings.code_size))

    def forward(self, windows: Float[Tensor, "B M W"]) -> Float[Tensor, "B D"]:
        """[B, M, W] -> [B, D]."""
        mel = windows[:, :MEL_BANDS]
        heard: Tensor | float = self.layers[0](mel) if self.hears_mel else 0.0
        if self.features is not None and self.gate is not None:
            # The encoder's rows every 20 ms; what would be heard too late is left out.
            rows = windows[:, MEL_BANDS:, : self.in_time]
            rows = nn.functional.pad(rows, (0, windows.shape[2] - self.in_time))[..., ::FRAMES_PER_TOKEN]
            heard = heard + torch.sigmoid(self.gate(mel) + 1) * self.features(rows)
        code: Tensor = self.out(self.layers[1:](heard))
        return code


ENCODER_WEIGHTS = Path(__file__).with_name("speech_encoder.safetensors")
"""The built-in weights, named as in `SpeechEncoder`, in half precision."""


def init_encoder(encoder: SpeechEncoder) -> bool:
    """Let an encoder begin with the built-in weights; tell whether they fit.

    They fit one that hears mel and has the default sizes; what it hears beside mel begins anew.
    """
    weights, own = load_file(ENCODER_WEIGHTS), encoder.state_dict()
    if any(name not in own or own[name].shape != value.shape for name, value in weights.items()):
        return False
    encoder.load_state_dict(weights, strict=False)
    return True
