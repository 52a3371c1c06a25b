"""The public lip-sync expert SyncNet (Chung & Zisserman 2016, "Out of time"): network, features and scoring.

Weights are never shipped or fetched: the user gives a safetensors file with the tensors of the public
checkpoint `syncnet_v2.model` under their own names. Its figures are known to rank some made videos above real
ones, so read them against the real video's row only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.ndimage import map_coordinates, median_filter
from torch import Tensor, nn

from speech2lip.conventions import SAMPLE_RATE, Array, Picture
from speech2lip.errors import SettingsError
from speech2lip.evaluation.accumulate import Figures, Moment, Openings
from speech2lip.evaluation.held_out import Span
from speech2lip.evaluation.speech_labels import Heard, Wave

FPS = 25
SIDE = 224
WINDOW_FRAMES = 5
WINDOW_MFCC = 20
MFCC_PER_FRAME = 4
MAX_OFFSET = 15
"""Frames to either side that the public tool tries."""
EMBEDDING = 1024

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


class SyncNet(nn.Module):
    """Two encoders, of five frames of a face and of 0.2 s of sound, into one space of 1024 numbers."""

    def __init__(self) -> None:
        super().__init__()
        # The names are those of the public weights.
        self.netcnnaud = _convolutions(SOUND_LAYERS, nn.Conv2d, nn.BatchNorm2d)
        self.netcnnlip = _convolutions(FACE_LAYERS, nn.Conv3d, nn.BatchNorm3d)
        self.netfcaud, self.netfclip = _head(), _head()

    def encode_sound(self, mfcc: Tensor) -> Tensor:
        """Encode windows of cepstra; [B, 1, 13, 20] to [B, 1024]."""
        out: Tensor = self.netfcaud(self.netcnnaud(mfcc).flatten(1))
        return out

    def encode_face(self, faces: Tensor) -> Tensor:
        """Encode windows of faces (BGR, levels 0 to 255); [B, 3, 5, 224, 224] to [B, 1024]."""
        out: Tensor = self.netfclip(self.netcnnlip(faces).flatten(1))
        return out


def load_syncnet(weights: Path) -> SyncNet:
    """Load the expert from a safetensors file; SettingsError if it is missing or holds something else."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not weights.is_file():
        raise SettingsError(f"no SyncNet weights at {weights}; name a safetensors file or leave them out")
    expert = SyncNet()
    try:
        expert.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        raise SettingsError(
            f"{weights} does not hold the tensors of syncnet_v2 as safetensors; convert the public file as "
            "docs/metrics.md tells"
        ) from error
    return expert.eval().requires_grad_(False)


def syncnet_score(
    expert: SyncNet, faces: NDArray[np.uint8], wave: NDArray[np.float32], *, batch: int = 8
) -> SyncScore:
    """Score one clip as the public tool does.

    Args:
        expert: from `load_syncnet`.
        faces: [T, 224, 224, 3], RGB, 25 frames a second exactly, cropped by `face_crop`.
        wave: [S], 16 kHz, from the same moment on.
        batch: windows encoded at a time.
    """
    count = windows_in(len(faces), wave)
    assert count > 0, f"SyncNet needs more than {WINDOW_FRAMES} frames, not {len(faces)}"
    windows = [faces[i : i + WINDOW_FRAMES] for i in range(count)]
    codes = [encode_faces(expert, windows[first : first + batch]) for first in range(0, count, batch)]
    return score_embeddings(np.concatenate(codes), encode_sounds(expert, wave, count, batch=batch))


def windows_in(frames: int, wave: NDArray[np.float32]) -> int:
    """Return how many windows the public tool scores in a clip of so many frames and this sound."""
    return min(frames, len(wave) * FPS // SAMPLE_RATE) - WINDOW_FRAMES


@torch.inference_mode()
def encode_faces(expert: SyncNet, windows: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Encode windows of five faces, RGB [5, 224, 224, 3] each; [B, 1024]."""
    turned = np.stack(windows)[..., ::-1].transpose(0, 4, 1, 2, 3)
    clips = torch.from_numpy(np.ascontiguousarray(turned))
    device = next(expert.parameters()).device
    return expert.encode_face(clips.to(device, torch.float32)).cpu().numpy()


@torch.inference_mode()
def encode_sounds(
    expert: SyncNet, wave: NDArray[np.float32], count: int, *, batch: int = 64
) -> NDArray[np.float32]:
    """Encode the sound of the first `count` windows of a clip; [count, 1024]."""
    cepstra = torch.from_numpy(mfcc(wave).astype(np.float32))
    device = next(expert.parameters()).device
    codes = []
    for first in range(0, count, batch):
        starts = range(MFCC_PER_FRAME * first, MFCC_PER_FRAME * min(first + batch, count), MFCC_PER_FRAME)
        sounds = torch.stack([cepstra[None, :, start : start + WINDOW_MFCC] for start in starts])
        codes.append(expert.encode_sound(sounds.to(device)).cpu().numpy())
    return np.concatenate(codes)


def score_embeddings(
    faces: NDArray[np.floating[Any]], sounds: NDArray[np.floating[Any]], *, max_offset: int = MAX_OFFSET
) -> SyncScore:
    """Score face and sound embeddings, [T, D] each, at offsets of up to +-15 frames."""
    return score_distances(offset_distances(faces, sounds, max_offset=max_offset))


def offset_distances(
    faces: NDArray[np.floating[Any]], sounds: NDArray[np.floating[Any]], *, max_offset: int = MAX_OFFSET
) -> Array:
    """Return the mean distance of face and sound embeddings, [T, D] each, at each offset; [31].

    As in the public tool, sound before the beginning and after the end is all zeros, which raises the
    distance at far offsets of short clips: compare clips of equal length.
    """
    padded = np.pad(sounds.astype(np.float64), ((max_offset, max_offset), (0, 0)))
    shifted = (padded[shift : shift + len(faces)] for shift in range(2 * max_offset + 1))
    return np.array([np.linalg.norm(faces - sound, axis=1).mean() for sound in shifted])


def score_distances(distances: Array) -> SyncScore:
    """Score the mean distances at all offsets, the middle one being none."""
    best = int(distances.argmin())
    nearest = float(distances[best])
    return SyncScore(best - len(distances) // 2, nearest, float(np.median(distances) - nearest))


def mfcc(wave: NDArray[np.float32]) -> Array:
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
    top = 2595 * math.log10(1 + SAMPLE_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, top, 28) / 2595) - 1)
    corners = np.floor(513 * hertz / SAMPLE_RATE)
    bins = np.arange(257)
    left, middle, right = (corners[i : i + 26, None] for i in range(3))
    rise, fall = (bins - left) / (middle - left), (right - bins) / (right - middle)
    return np.asarray(np.where(bins < middle, rise, fall).clip(0), np.float64)


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


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, EMBEDDING))


PIECE_FRAMES = 60 * FPS
"""A take is scored in pieces of a minute at most, as clips of their own."""
LEAST_FRAMES = FPS
"""Pieces below a second tell nothing."""
BATCH = 8
"""Windows encoded at a time."""


class _Row:
    """What was seen of one row in the piece that is under way."""

    def __init__(self, expert: SyncNet) -> None:
        self.expert = expert
        self.scored: list[tuple[int, Array]] = []
        """Windows and mean distances at all offsets, piece by piece."""
        self._recent: list[Picture] = []
        self._windows: list[Picture] = []
        self._codes: list[NDArray[np.float32]] = []

    def add(self, crop: Picture) -> None:
        self._recent = [*self._recent, crop][-WINDOW_FRAMES:]
        if len(self._recent) == WINDOW_FRAMES:
            self._windows.append(np.stack(self._recent))
        if len(self._windows) == BATCH:
            self._flush()

    def end(self, sounds: NDArray[np.float32] | None) -> None:
        """Compare what was seen with the sound's embeddings; None: the piece is too short to tell."""
        self._flush()
        if sounds is not None:
            faces = np.concatenate(self._codes)[: len(sounds)]
            self.scored.append((len(sounds), offset_distances(faces, sounds)))
        self._recent, self._codes = [], []

    def _flush(self) -> None:
        if self._windows:
            self._codes.append(encode_faces(self.expert, self._windows))
        self._windows = []

    def figures(self) -> dict[str, float | None]:
        """Return means over pieces by length; the offset is that of the pooled distances."""
        names = ("syncnet_confidence", "syncnet_distance", "syncnet_offset_ms")
        if not self.scored:
            return dict.fromkeys(names)
        weights = [count for count, _ in self.scored]
        scores = [score_distances(distances) for _, distances in self.scored]
        pooled = score_distances(np.average([distances for _, distances in self.scored], 0, weights))
        values = (
            float(np.average([score.confidence for score in scores], weights=weights)),
            float(np.average([score.distance for score in scores], weights=weights)),
            1000 * pooled.offset_frames / FPS,
        )
        return dict(zip(names, values, strict=True))


class SyncNetTrials:
    """A watcher of an evaluation: every row is cropped alike, by the real frames' faces.

    Pictures are brought to 25 a second by taking the nearest frame; a missing frame ends a piece.
    """

    def __init__(self, expert: SyncNet, rows: Iterable[str]) -> None:
        self.expert = expert
        self.rows = {name: _Row(expert) for name in rows}
        self._wave: Wave = np.zeros(0, np.float32)
        self._squares: Array = np.zeros((0, 3))
        self._begins, self._half = 0.0, 0.5 / FPS
        self._expected, self._shown, self._begun = -1, 0, 0.0

    def begin_take(self, span: Span, heard: Heard) -> None:
        """Get ready for a take."""
        self._wave, self._begins, self._half = heard.wave, heard.begins, 0.5 / float(span.take.fps)
        self._squares = face_squares(span.take.landmarks[span.start : span.stop])
        self._expected, self._shown = -1, 0

    def frame(
        self,
        span: Span,
        index: int,
        moment: Moment,
        made: Mapping[str, Picture],
        figures: Mapping[str, Figures],
    ) -> None:
        """See a frame of every row."""
        if index != self._expected or self._shown >= PIECE_FRAMES:
            self._end_piece()
            self._begun = moment.time
        self._expected = index + 1
        # The nearest frame of each moment of 25 a second: none, one or several times this one.
        times = 0
        while self._begun + (self._shown + times) / FPS < moment.time + self._half:
            times += 1
        if not times:
            return
        square = self._squares[index - span.start]
        for name, row in self.rows.items():
            crop = face_crop(made[name], square, side=SIDE)
            for _ in range(times):
                row.add(crop)
        self._shown += times

    def pass_over(self, span: Span, index: int, moment: Moment, made: Mapping[str, Picture]) -> None:
        """Nothing is judged across a frame that is not spoken over: it is a gap."""

    def end_take(self, openings: Mapping[str, Openings]) -> None:
        """Compare what was seen of a take with its sound."""
        self._end_piece()

    def _end_piece(self) -> None:
        wave = self._wave[round((self._begun - self._begins) * SAMPLE_RATE) :]
        wave = wave[: self._shown * SAMPLE_RATE // FPS]
        count = windows_in(self._shown, wave)
        enough = self._shown >= LEAST_FRAMES and count > 0
        sounds = encode_sounds(self.expert, wave, count) if enough else None
        for row in self.rows.values():
            row.end(sounds)
        self._shown = 0

    def figures(self) -> dict[str, dict[str, float | None]]:
        """Return confidence, distance and offset (positive: sound late) by row."""
        return {name: row.figures() for name, row in self.rows.items()}


MARGIN = 0.4
"""Of half the face's side, left and right; twice that below, none above."""
SMOOTH_FRAMES = 13


def face_squares(landmarks: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
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
    track = np.asarray(median_filter(track, size=(SMOOTH_FRAMES, 1), mode="nearest"))
    x, y, half = track.T
    return np.column_stack([x - half * (1 + MARGIN), y - half, 2 * half * (1 + MARGIN)])


def face_crop(frame: NDArray[np.uint8], square: NDArray[np.float64], *, side: int = 224) -> NDArray[np.uint8]:
    """Cut a square out and bring it to side x side by bilinear look-up; grey (110) outside the frame.

    Args:
        frame: [H, W, 3].
        square: x0, y0, side in pixels, see `face_squares`.
        side: pixels of the crop.
    """
    x0, y0, length = square
    steps = (np.arange(side) + 0.5) * length / side - 0.5
    rows, columns = np.meshgrid(y0 + steps, x0 + steps, indexing="ij")
    planes = [
        map_coordinates(frame[..., c].astype(np.float32), [rows, columns], order=1, mode="constant", cval=110)
        for c in range(3)
    ]
    return np.asarray(np.round(np.stack(planes, axis=2)), np.uint8)
