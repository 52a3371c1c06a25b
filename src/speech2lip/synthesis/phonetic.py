"""How well each phone explains what is heard, read from mel windows with a recogniser's Gaussians."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from speech2lip.conventions import MEL_BANDS, SAMPLE_RATE
from speech2lip.synthesis.recogniser import STATES, Recogniser

PHONES = 42
SCORES = STATES * PHONES
STRIDE = 2
"""Mel frames from one score to the next: 20 ms."""
KEPT = 16
"""Gaussians kept of each phone's 128 in a stream, those that weigh most; half the time of 32, as good."""
_STREAMS, _CEPSTRA, _FILTERS = 3, 13, 25
_LOWEST, _HIGHEST = 130.0, 6800.0
"""Hertz: the recogniser's filters lie between, evenly spaced in mel."""
_LIFTER = 22
_EMPHASIS = 0.97
_BLOCK = 512
"""Moments scored at once: their Gaussians stay in the processor's cache."""
_FLOOR = 1e-13
_WORST = -36.0
_SHIFT = (-23.0, 23.0)
"""How far loudness is evened out, in units of the first cepstrum: 20 dB softer to 20 dB louder."""
_PEAK_RANK = 5
"""A window is as loud as its fifth loudest mel frame."""
_NATURAL = math.log(10)


class PhoneScores(nn.Module):
    """Mel windows in, the log-probabilities of every phone's three states out.

    Source: a Gaussian mixture model's posterior with equal priors; mel-frequency cepstra and their
    differences as the recogniser was trained on (its `feat.params`), made from the mel spectrum that
    everything else hears. Nothing of it is learned here but the voice's mean cepstrum and loudness.
    """

    filters: Tensor
    cosines: Tensor
    mean: Tensor
    peak: Tensor
    constant: Tensor
    squares: Tensor
    weights: Tensor

    def __init__(self) -> None:
        super().__init__()
        gaussians = PHONES * KEPT
        self.register_buffer("filters", _filters())
        self.register_buffer("cosines", _cosines())
        self.register_buffer("mean", torch.zeros(_CEPSTRA))
        self.register_buffer("peak", torch.zeros(()))
        self.register_buffer("constant", torch.zeros(_STREAMS, gaussians))
        self.register_buffer("squares", torch.zeros(_STREAMS, 2 * _CEPSTRA, gaussians))
        self.register_buffer("weights", torch.zeros(_STREAMS, PHONES, KEPT, STATES))

    def learn(self, recogniser: Recogniser, windows: Float[Tensor, "N M W"]) -> None:
        """Take over a recogniser's Gaussians, and the voice's mean and loudness from windows of its sound."""
        weights = torch.from_numpy(recogniser.weights)
        kept = weights.sum(3).topk(KEPT, dim=2).indices
        means, variances = (
            torch.from_numpy(np.array(values)).gather(2, kept[..., None].expand(-1, -1, -1, _CEPSTRA))
            for values in (recogniser.means, recogniser.variances)
        )
        constant = (-0.5 * (2 * math.pi * variances).log() - 0.5 * means**2 / variances).sum(3)
        squares = torch.cat([means / variances, -0.5 / variances], dim=3)
        self.constant.copy_(constant.transpose(0, 1).reshape(_STREAMS, -1))
        self.squares.copy_(squares.permute(1, 3, 0, 2).reshape(_STREAMS, 2 * _CEPSTRA, -1))
        self.weights.copy_(weights.gather(2, kept[..., None].expand(-1, -1, -1, STATES)).transpose(0, 1))
        cepstra = self._cepstra(windows.float())
        loud = cepstra[:, 0] > torch.quantile(_loudness(cepstra), 0.5) - 15
        self.mean.copy_(cepstra.transpose(1, 2)[loud].mean(0))
        self.peak.copy_(torch.quantile(_loudness(cepstra) - self.mean[0], 0.7))

    @torch.no_grad()
    def forward(self, windows: Float[Tensor, "B M W"]) -> Float[Tensor, "B P V"]:
        """[B, M, W] -> [B, 126, W / 2], about -2.6 to 1."""
        with torch.autocast(windows.device.type, enabled=False):
            cepstra = self._cepstra(windows.float()) - self.mean[:, None]
            quiet = (_loudness(cepstra) - self.peak).clamp(*_SHIFT)
            cepstra = torch.cat([cepstra[:, :1] - quiet[:, None, None], cepstra[:, 1:]], dim=1)
            streams = _streams(cepstra)
            moments = streams.shape[2]
            scores = self._all_scores(streams.reshape(_STREAMS, -1, _CEPSTRA))
            scores = scores.transpose(0, 1).reshape(-1, SCORES)
            scores = scores - torch.logsumexp(scores, dim=1, keepdim=True)
            return (scores.clamp_min(_WORST) / 10 + 1).reshape(-1, moments, SCORES).transpose(1, 2)

    def _all_scores(self, streams: Tensor) -> Tensor:
        """Streams [3, T, 13] -> log-likelihoods [42, T, 3], in blocks where there are many."""
        if streams.shape[1] <= _BLOCK:
            return self._scores(streams)
        return torch.cat([self._scores(block) for block in torch.split(streams, _BLOCK, dim=1)], dim=1)

    def _cepstra(self, windows: Tensor) -> Tensor:
        """[B, M, W] -> [B, 13, W]."""
        power = torch.exp(windows * (1.5 * _NATURAL) - 3 * _NATURAL)
        return self.cosines @ (self.filters @ power + _FLOOR).log()

    def _scores(self, block: Tensor) -> Tensor:
        """Streams [3, T, 13] -> log-likelihoods [42, T, 3]."""
        total = torch.zeros((), device=block.device)
        for stream, numbers in enumerate(block):
            both = torch.cat([numbers, numbers**2], dim=1)
            gaussians = torch.addmm(self.constant[stream], both, self.squares[stream])
            gaussians = gaussians.reshape(-1, PHONES, KEPT).transpose(0, 1)
            top = gaussians.amax(2, keepdim=True)
            mixed = torch.bmm((gaussians - top).exp(), self.weights[stream])
            total = total + mixed.clamp_min(1e-20).log() + top
        return total


def _loudness(cepstra: Tensor) -> Tensor:
    """[B, 13, W] -> [B]."""
    first = cepstra[:, 0]
    return first.topk(min(_PEAK_RANK, first.shape[1]), dim=1).values[:, -1]


def _streams(cepstra: Tensor) -> Tensor:
    """Cepstra [B, 13, W], their slopes and curvatures at every second of them; [3, B, W / 2, 13]."""
    frames = cepstra.shape[2]
    padded = nn.functional.pad(cepstra, (3, 3), mode="replicate")

    def at(offset: int) -> Tensor:
        return padded[..., 3 + offset : 3 + offset + frames : STRIDE]

    slope = at(2) - at(-2)
    curvature = (at(3) - at(-1)) - (at(1) - at(-3))
    return torch.stack([at(0), slope, curvature]).transpose(2, 3)


def _filters() -> Tensor:
    """From mel bands to the recogniser's filters, the emphasis of high tones in them; [25, 80]."""
    hertz = np.linspace(0, SAMPLE_RATE / 2, 257)
    bands = _hertz(np.linspace(0, _mel(SAMPLE_RATE / 2), MEL_BANDS + 2))[1:-1]
    spread = np.stack([np.interp(hertz, bands, one) for one in np.eye(MEL_BANDS)], axis=1)
    # The recogniser rounds its edges to bins of the transform.
    edges = _hertz(np.linspace(_mel(_LOWEST), _mel(_HIGHEST), _FILTERS + 2))
    edges = np.round(edges / hertz[1])[:, None] * hertz[1]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rise, fall = (hertz - low) / (middle - low), (high - hertz) / (high - middle)
    triangles = np.clip(np.minimum(rise, fall), 0, None) * 2 / (high - low)
    emphasis = np.abs(1 - _EMPHASIS * np.exp(-2j * np.pi * hertz / SAMPLE_RATE)) ** 2
    return torch.from_numpy((triangles * emphasis) @ spread).float()


def _cosines() -> Tensor:
    """The discrete cosine transform with raised middle orders (liftering); [13, 25]."""
    order = np.arange(_CEPSTRA)[:, None]
    waves = np.cos(np.pi * order * (np.arange(_FILTERS) + 0.5) / _FILTERS) * math.sqrt(2 / _FILTERS)
    waves[0] /= math.sqrt(2)
    return torch.from_numpy(waves * (1 + _LIFTER / 2 * np.sin(np.pi * order / _LIFTER))).float()


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def _hertz(
    mel: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return 700 * (10 ** (mel / 2595) - 1)
