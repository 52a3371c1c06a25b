"""Published networks whose weights the user gives: LPIPS (perceptual distance) and SyncNet (lip sync).

Weights are never shipped or fetched: the user gives safetensors files that hold the tensors of the public
files under their own names, see docs/metrics.md.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.ndimage import median_filter
from torch import Tensor, nn
from torch.nn import functional

from speech2lip.arrays import Array, Floats, Picture, Series
from speech2lip.config import EvaluateSettings
from speech2lip.conventions import SAMPLE_RATE
from speech2lip.errors import SettingsError
from speech2lip.evaluation.accumulate import Figures, Moment, Openings
from speech2lip.evaluation.held_out import Span
from speech2lip.evaluation.result import Row
from speech2lip.evaluation.runner import Observer
from speech2lip.evaluation.speech_labels import Heard
from speech2lip.synthesis.speech import mel_corners

Network = TypeVar("Network", bound=nn.Module)

LPIPS_SHIFT = (-0.030, -0.088, -0.188)
LPIPS_SCALE = (0.458, 0.448, 0.450)
"""What is taken off each of red, green and blue in [-1, 1], and what they are divided by: as published."""
LPIPS_FEATURES = (64, 192, 384, 256, 256)
"""Channels of the five rectified layers that are compared."""

FPS = 25
SIDE = 224
WINDOW_FRAMES = 5
WINDOW_MFCC = 20
MFCC_PER_FRAME = 4
MAX_OFFSET = 15
"""Frames to either side that the public tool tries."""

SOUND_LAYERS = (
    (1, 64, (3, 3), (1, 1), (1, 1), nn.Identity()),
    (64, 192, (3, 3), (1, 1), (1, 1), nn.MaxPool2d((3, 3), (1, 2))),
    (192, 384, (3, 3), (1, 1), (1, 1), None),
    (384, 256, (3, 3), (1, 1), (1, 1), None),
    (256, 256, (3, 3), (1, 1), (1, 1), nn.MaxPool2d((3, 3), (2, 2))),
    (256, 512, (5, 4), (1, 1), (0, 0), None),
)
"""Channels in and out, kernel, stride, padding, pooling after; over [cepstrum, time]."""

FACE_LAYERS = (
    (3, 96, (5, 7, 7), (1, 2, 2), (0, 0, 0), nn.MaxPool3d((1, 3, 3), (1, 2, 2))),
    (96, 256, (1, 5, 5), (1, 2, 2), (0, 1, 1), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))),
    (256, 256, (1, 3, 3), (1, 1, 1), (0, 1, 1), None),
    (256, 256, (1, 3, 3), (1, 1, 1), (0, 1, 1), None),
    (256, 256, (1, 3, 3), (1, 1, 1), (0, 1, 1), nn.MaxPool3d((1, 3, 3), (1, 2, 2))),
    (256, 512, (1, 6, 6), (1, 1, 1), (0, 0, 0), None),
)
"""The same over [time, row, column]."""

PIECE_FRAMES = 60 * FPS
"""A take is scored in pieces of a minute at most, as clips of their own."""
LEAST_FRAMES = FPS
"""Pieces below a second tell nothing."""

MARGIN = 0.4
"""Around the face: of half its side, left and right; twice that below, none above."""
SMOOTH_FRAMES = 13


class Lpips(nn.Module):
    """LPIPS 0.1 (Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features") on AlexNet.

    Its five rectified layers are compared place by place, with one weight for each of their channels.
    """

    def __init__(self) -> None:
        super().__init__()
        # The places in `features` and the names of the heads are those of the public weights.
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(),
        )  # fmt: skip
        for number, channels in enumerate(LPIPS_FEATURES):
            # The public model drops some channels out in training, which has no part here.
            weights = nn.Sequential(nn.Identity(), nn.Conv2d(channels, 1, 1, bias=False))
            self.add_module(f"lin{number}", nn.ModuleDict({"model": weights}))

    def describe(self, pictures: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Return the five layers' features of pictures in [-1, 1], each place scaled to length 1."""
        shift, scale = (pictures.new_tensor(one)[:, None, None] for one in (LPIPS_SHIFT, LPIPS_SCALE))
        out, found = (pictures - shift) / scale, []
        for layer in self.features:
            out = layer(out)
            if isinstance(layer, nn.ReLU):
                found.append(functional.normalize(out, dim=1))
        return found

    def between(self, a: list[Tensor], b: list[Tensor]) -> Float[Tensor, "B"]:
        """Return the distance of what `describe` gave for two batches."""
        parts = [
            functional.conv2d((x - y).square(), self.get_parameter(f"lin{number}.model.1.weight"))
            for number, (x, y) in enumerate(zip(a, b, strict=True))
        ]
        return torch.stack([part.mean(dim=(1, 2, 3)) for part in parts]).sum(dim=0)


class SyncNet(nn.Module):
    """The public lip-sync expert (Chung & Zisserman 2016, "Out of time"): two encoders into one space.

    They take five frames of a face and 0.2 s of sound to 1024 numbers. Its figures are known to rank some
    made videos above real ones, so read them against the real video's row only.
    """

    def __init__(self) -> None:
        super().__init__()
        # The names are those of the public weights.
        self.netcnnaud = _convolutions(SOUND_LAYERS, nn.Conv2d, nn.BatchNorm2d)
        self.netcnnlip = _convolutions(FACE_LAYERS, nn.Conv3d, nn.BatchNorm3d)
        self.netfcaud, self.netfclip = (
            nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))
            for _ in range(2)
        )

    def encode_sound(self, mfcc: Float[Tensor, "B 1 13 20"]) -> Float[Tensor, "B 1024"]:
        """Encode windows of cepstra."""
        out: Tensor = self.netfcaud(self.netcnnaud(mfcc).flatten(1))
        return out

    def encode_face(self, faces: Float[Tensor, "B 3 5 224 224"]) -> Float[Tensor, "B 1024"]:
        """Encode windows of faces (BGR, levels 0 to 255)."""
        out: Tensor = self.netfclip(self.netcnnlip(faces).flatten(1))
        return out


def _convolutions(
    layers: tuple[Any, ...], convolution: type[nn.Module], norm: type[nn.Module]
) -> nn.Sequential:
    """Chain convolution, norm and rectifier, and pooling where there is one."""
    chain: list[nn.Module] = []
    for channels, to, kernel, stride, padding, pooling in layers:
        chain += [convolution(channels, to, kernel, stride, padding), norm(to), nn.ReLU()]
        if pooling is not None:
            chain.append(pooling)
    return nn.Sequential(*chain)


def load_lpips(weights: Path) -> Lpips:
    """Load the metric from a safetensors file; SettingsError if it is missing or holds something else."""
    # AlexNet's classifier may be in the file too: it has no part here.
    return _load(Lpips(), weights, "LPIPS", "AlexNet's features and the five LPIPS heads")


def load_syncnet(weights: Path) -> SyncNet:
    """Load the expert from a safetensors file; SettingsError if it is missing or holds something else."""
    return _load(SyncNet(), weights, "SyncNet", "the tensors of syncnet_v2")


def _load(network: Network, weights: Path, name: str, wanted: str) -> Network:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not weights.is_file():
        raise SettingsError(f"no {name} weights at {weights}; name a safetensors file or leave them out")
    try:
        held = load_file(weights)
        network.load_state_dict({key: held[key] for key in network.state_dict()})
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise SettingsError(
            f"{weights} does not hold {wanted} as safetensors; convert the public file as docs/metrics.md "
            "tells"
        ) from error
    return network.eval().requires_grad_(False)


def published_observers(
    settings: EvaluateSettings, methods: Iterable[str], device: torch.device
) -> list[Observer]:
    """Return the observers that the settings name weights for; they are read at once.

    Raises:
        SettingsError: a file is missing or holds something else.
    """
    names, found = list(methods), list[Observer]()
    if settings.lpips_weights is not None:
        found.append(LpipsObserver(load_lpips(settings.lpips_weights).to(device), names))
    if settings.syncnet_weights is not None:
        found.append(SyncNetObserver(load_syncnet(settings.syncnet_weights).to(device), names))
    return found


def as_tensor(pictures: list[Picture]) -> Float[Tensor, "B 3 H W"]:
    """Bring RGB pictures [H, W, 3], levels 0 to 255, to [-1, 1]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


class LpipsObserver(Observer):
    """Measures the whole frames of all methods."""

    def __init__(self, metric: Lpips, methods: Iterable[str]) -> None:
        self.metric = metric
        self._sums = dict.fromkeys(methods, 0.0)
        self._frames = 0

    @torch.inference_mode()
    def frame(self, moment: Moment, made: Mapping[str, Picture], figures: Mapping[str, Figures]) -> None:
        """Measure a frame of every method; one that is the real frame needs no work."""
        self._frames += 1
        others = [name for name in self._sums if made[name] is not moment.real]
        if not others:
            return
        pictures = as_tensor([moment.real, *(made[name] for name in others)])
        described = self.metric.describe(pictures.to(next(self.metric.parameters()).device))
        real = [layer[:1].expand(len(others), -1, -1, -1) for layer in described]
        found = self.metric.between(real, [layer[1:] for layer in described])
        for name, distance in zip(others, found.tolist(), strict=True):
            self._sums[name] += distance

    def figures(self) -> dict[str, Row]:
        """Return the mean over frames, by method."""
        count = self._frames
        return {name: {"lpips": total / count if count else None} for name, total in self._sums.items()}


@torch.inference_mode()
def encode_faces(expert: SyncNet, windows: NDArray[np.uint8]) -> Floats:
    """Encode windows of five faces, RGB [B, 5, 224, 224, 3]; [B, 1024]."""
    clips = torch.from_numpy(windows).flip(-1).permute(0, 4, 1, 2, 3)
    device = next(expert.parameters()).device
    return expert.encode_face(clips.to(device, torch.float32)).cpu().numpy()


@torch.inference_mode()
def encode_sounds(expert: SyncNet, wave: Floats, count: int, *, batch: int = 64) -> Floats:
    """Encode the sound of the first `count` windows of a clip; [count, 1024]."""
    cepstra = torch.from_numpy(mfcc(wave).astype(np.float32))
    device = next(expert.parameters()).device
    sounds = cepstra.unfold(1, WINDOW_MFCC, MFCC_PER_FRAME)[:, :count].transpose(0, 1)[:, None]
    return torch.cat(
        [expert.encode_sound(part.to(device)).cpu() for part in torch.split(sounds, batch)]
    ).numpy()


def offset_distances(faces: Array | Floats, sounds: Array | Floats) -> Array:
    """Return the mean distance of face and sound embeddings, [T, D] each, at offsets of -15 to 15; [31].

    As in the public tool, sound before the beginning and after the end is all zeros, which raises the
    distance at far offsets of short clips: compare clips of equal length.
    """
    padded = np.pad(sounds.astype(np.float64), ((MAX_OFFSET, MAX_OFFSET), (0, 0)))
    shifted = (padded[shift : shift + len(faces)] for shift in range(2 * MAX_OFFSET + 1))
    return np.array([np.linalg.norm(faces - sound, axis=1).mean() for sound in shifted])


@dataclass(frozen=True)
class SyncScore:
    """The published scores of one clip."""

    offset_frames: int
    """How late the sound is, in frames of 1/25 s; positive = sound late (the public tool prints the
    negative).
    """
    distance: float
    """LSE-D: mean embedding distance at the best offset; lower is better."""
    confidence: float
    """LSE-C: median of the mean distances over all offsets minus the smallest; higher is better."""

    def row(self, judge: str) -> Row:
        """Return the columns of a table that a judge of sync fills."""
        return {
            f"{judge}_confidence": self.confidence,
            f"{judge}_distance": self.distance,
            f"{judge}_offset_ms": 1000 * self.offset_frames / FPS,
        }


def score_distances(distances: Series) -> SyncScore:
    """Score the mean distances at all offsets, the middle one being none."""
    best = int(distances.argmin())
    nearest = float(distances[best])
    return SyncScore(best - len(distances) // 2, nearest, float(np.median(distances) - nearest))


def mfcc(wave: Floats) -> Array:
    """Return the cepstra that the expert was trained on; [13, about 100 a second].

    Pre-emphasis 0.97; frames of 25 ms each 10 ms, no window; power spectrum of 512 points on the 16-bit
    scale; 26 triangular mel filters; 13 orthonormal cosine coefficients, liftered with 22, the first one the
    log energy.
    """
    samples = wave.astype(np.float64) * 32768
    samples = np.append(samples[:1], samples[1:] - 0.97 * samples[:-1])
    frames = 1 + max(0, math.ceil((len(samples) - 400) / 160))
    samples = np.pad(samples, (0, (frames - 1) * 160 + 400 - len(samples)))
    pieces = np.lib.stride_tricks.sliding_window_view(samples, 400)[::160]
    power = np.abs(np.fft.rfft(pieces, 512)) ** 2 / 512
    tiny = np.finfo(float).eps
    bands = np.log(np.maximum(power @ _mel_filters().T, tiny))
    cepstra = dct(bands, type=2, axis=1, norm="ortho")[:, :13]
    cepstra *= 1 + 11 * np.sin(np.pi * np.arange(13) / 22)
    cepstra[:, 0] = np.log(np.maximum(power.sum(axis=1), tiny))
    return np.asarray(cepstra.T, np.float64)


def _mel_filters() -> Array:
    """Return 26 triangles over the 257 bins of the spectrum, their corners rounded down to bins."""
    corners = np.floor(513 * mel_corners(26).numpy() / SAMPLE_RATE)
    bins = np.arange(257)
    left, middle, right = (corners[i : i + 26, None] for i in range(3))
    rise, fall = (bins - left) / (middle - left), (right - bins) / (right - middle)
    return np.asarray(np.where(bins < middle, rise, fall).clip(0), np.float64)


class SyncNetObserver(Observer):
    """Shows every method's faces to SyncNet, all cropped alike, by the real frames' faces.

    Pictures are brought to 25 a second by taking the nearest frame; a missing frame ends a piece.
    """

    def __init__(self, expert: SyncNet, methods: Iterable[str]) -> None:
        self.expert, self.methods = expert, list(methods)
        self.scored: list[tuple[int, Array]] = []
        """Windows and mean distances at all offsets, [methods, 31], piece by piece."""
        self._squares: Array = np.zeros((0, 3))
        self._recent: deque[NDArray[np.uint8]] = deque(maxlen=WINDOW_FRAMES)
        """Faces of the latest moments, each [methods, 224, 224, 3]."""
        self._codes: list[Floats] = []
        """Of the piece that is under way, each [methods, 1024]."""
        self._expected, self._shown, self._begun = -1, 0, 0.0

    def begin_take(self, span: Span, heard: Heard) -> None:
        """Get ready for a take."""
        super().begin_take(span, heard)
        self._squares = face_squares(span.take.landmarks[span.start : span.stop])
        self._expected, self._shown = -1, 0

    def frame(self, moment: Moment, made: Mapping[str, Picture], figures: Mapping[str, Figures]) -> None:
        """See a frame of every method."""
        if moment.index != self._expected or self._shown >= PIECE_FRAMES:
            self._end_piece()
            self._begun = moment.time
        self._expected = moment.index + 1
        # The nearest frame of each moment of 25 a second: none, one or several times this one.
        until = moment.time + 0.5 / float(self.span.take.fps) - self._begun
        times = max(0, math.ceil(until * FPS) - self._shown)
        if times:
            square = self._squares[moment.index - self.span.start]
            crops = np.stack([face_crop(made[name], square, side=SIDE) for name in self.methods])
        for _ in range(times):
            self._recent.append(crops)
            if len(self._recent) == WINDOW_FRAMES:
                self._codes.append(encode_faces(self.expert, np.stack(self._recent, axis=1)))
        self._shown += times

    def end_take(self, openings: Mapping[str, Openings]) -> None:
        """Compare what was seen of a take with its sound."""
        self._end_piece()

    def _end_piece(self) -> None:
        wave = self.heard.wave[round((self._begun - self.heard.begins) * SAMPLE_RATE) :]
        wave = wave[: self._shown * SAMPLE_RATE // FPS]
        # As many windows as the public tool scores in a clip of so many frames and this sound.
        count = min(self._shown, len(wave) * FPS // SAMPLE_RATE) - WINDOW_FRAMES
        if self._shown >= LEAST_FRAMES and count > 0:
            sounds = encode_sounds(self.expert, wave, count)
            faces = np.stack(self._codes[:count], axis=1)
            self.scored.append((count, np.stack([offset_distances(one, sounds) for one in faces])))
        self._recent.clear()
        self._codes, self._shown = [], 0

    def figures(self) -> dict[str, Row]:
        """Return means over pieces by length, by method; the offset is that of the pooled distances."""
        if not self.scored:
            return {}
        weights, pieces = zip(*self.scored, strict=True)
        found: dict[str, Row] = {}
        for name, distances in zip(self.methods, np.stack(pieces, axis=1), strict=True):
            scores = [score_distances(piece) for piece in distances]
            distance, confidence = (
                float(np.average([getattr(one, figure) for one in scores], weights=weights))
                for figure in ("distance", "confidence")
            )
            pooled = score_distances(np.average(distances, 0, weights))
            found[name] = SyncScore(pooled.offset_frames, distance, confidence).row("syncnet")
        return found


def face_squares(landmarks: NDArray[np.floating[Any]]) -> Array:
    """Return x0, y0 and side of the crop in each frame, median-smoothed over 13 frames; [T, 3], pixels.

    The public pipeline takes the box of a face detector; here it is the box of the face mesh (brows to chin,
    cheek to cheek), much the same. Frames without a face (NaN) take the nearest one's.

    Args:
        landmarks: [T, 478, 2 or 3], pixels; at least one frame with a face.
    """
    known = np.flatnonzero(np.isfinite(landmarks[:, 0, 0]))
    assert known.size > 0, "no frame has a face"
    # Between two known frames the middle decides; no table of all frames by all frames for long takes.
    nearest = known[np.searchsorted((known[1:] + known[:-1]) / 2, np.arange(len(landmarks)))]
    low, high = landmarks[nearest, :468, :2].min(axis=1), landmarks[nearest, :468, :2].max(axis=1)
    centre, half = (low + high) / 2, (high - low).max(axis=1) / 2
    track = np.column_stack([centre, half]).astype(np.float64)
    x, y, half = np.asarray(median_filter(track, size=(SMOOTH_FRAMES, 1), mode="nearest")).T
    return np.column_stack([x - half * (1 + MARGIN), y - half, 2 * half * (1 + MARGIN)])


def face_crop(frame: Picture, square: Array, *, side: int = SIDE) -> Picture:
    """Cut a square out and bring it to side x side by bilinear look-up; grey (110) outside the frame.

    Args:
        frame: [H, W, 3].
        square: x0, y0, side in pixels, see `face_squares`.
        side: pixels of the crop.
    """
    x0, y0, length = square
    scale = length / side
    # From pixel centres of the crop to those of the frame.
    crop_to_frame = np.array([[scale, 0, x0 + scale / 2 - 0.5], [0, scale, y0 + scale / 2 - 0.5]])
    found = cv2.warpAffine(
        frame, crop_to_frame, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT, borderValue=(110, 110, 110),
    )  # fmt: skip
    return np.asarray(found, np.uint8)
