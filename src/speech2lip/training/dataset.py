"""Everything that training looks at, read from the footage once and held in memory."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from speech2lip.atomic import kept_tensors, save_tensors
from speech2lip.composition.blend_net import CROP_SIZE, shrink
from speech2lip.composition.coverage import region_surface
from speech2lip.composition.paste import Paster
from speech2lip.config import ModelSettings
from speech2lip.conventions import MEL_HOP, MEL_RATE, SAMPLE_RATE
from speech2lip.decomposition.footage import Footage, Take
from speech2lip.errors import FootageError
from speech2lip.faces.landmarks import SHAPE_POINTS
from speech2lip.head_track import HeadTrack, median_skin_colour
from speech2lip.progress import Progress
from speech2lip.synthesis.pretrained import (
    AFTER,
    STEP,
    PretrainedEncoder,
    PretrainedListener,
    Projection,
    pretrained_name,
    step_windows,
)
from speech2lip.synthesis.speech import SILENT_MEL, log_mel, window_offsets
from speech2lip.training.augmentation import quiet_wave, vary_wave

_LOG = logging.getLogger(__name__)

MAX_FRAMES = 9000
"""Frames held in memory, at most: six minutes at 25 a second; of longer footage runs are chosen."""
_RUN = 100
"""Neighbouring frames of such a run."""
MAX_CROPS = 2000
"""Frames that the Blend-Net is trained on, at most."""

MANY_TAKES = 10
"""From this many takes on whole takes are held out."""
_GAP_SECONDS = 0.4
"""Kept free between trained and held-out frames of one take: they hear the same sound."""

Ranges = dict[str, tuple[int, int]]
"""Per take: start and stop of its held-out frames."""


@dataclass
class Crops:
    """Surroundings of the mouth in the observed frames, for the Blend-Net."""

    index: Tensor
    """[N] which of the training frames."""
    picture: Tensor
    """[N, 3, h, w] uint8, the true crop."""
    uv: Tensor
    """[N, h, w, 2] the place on the lip patch of every pixel."""


@dataclass
class TrainingSet:
    """Lip patches in canonical space with what was heard at their moments."""

    patches: Tensor
    """[N, 3, h, w] uint8, in the canonical light."""
    mel: Tensor
    """[M, F] of all takes, with silence between them."""
    times: Tensor
    """[N] seconds in `mel`."""
    outlines: Tensor
    """[N, 2 P] lip outline, in the patch's uv."""
    poses: Tensor
    """[N, 6] numbers of the steady head pose."""
    light: Tensor
    """[N, 3] light of the frame over the canonical light."""
    rates: Tensor
    """[N] frames a second of the frame's take."""
    followed: Tensor
    """[K] indices of frames whose successor in the same take is the next index."""
    motion: Tensor
    """[h, w] how much each place of the patch moves, mean 1 over the jaw region."""
    crops: Crops
    seconds: float
    """Length of what is trained on."""
    wave: Tensor | None = None
    """[S] sound of `mel`, where a pretrained encoder shall hear it."""
    heard: Tensor | None = None
    """[M + 64, V F] `mel` and what a pretrained encoder heard, V times behind one another, each time of
    another version of the sound; the first is the sound as it is.
    """
    quiet: Tensor | None = None
    """[M + 64, F] of sounds in which nobody speaks."""

    def to(self, device: torch.device) -> TrainingSet:
        """Move every tensor to a device."""
        return replace(self, **_moved(self, device), crops=Crops(**_moved(self.crops, device)))


def _moved(held: TrainingSet | Crops, device: torch.device) -> dict[str, Any]:
    return {name: value.to(device) for name, value in vars(held).items() if isinstance(value, Tensor)}


def held_out_ranges(takes: Sequence[Take], hold_out: float | None) -> Ranges:
    """Choose the held-out frames.

    With ten takes or more every tenth in sorted order, beginning with the fourth; otherwise the last 10 % of
    the footage. A share holds out the last part of the footage of that size.

    Args:
        hold_out: share of the footage in [0, 0.9], 0 for nothing; None for the rule above.
    """
    ordered = sorted(takes, key=lambda take: take.name)
    if hold_out is None and len(ordered) >= MANY_TAKES:
        return {take.name: (0, len(take.times)) for take in ordered[3::10]}
    left = round((0.1 if hold_out is None else hold_out) * sum(len(take.times) for take in ordered))
    ranges: Ranges = {}
    for take in reversed(ordered):
        count = min(left, len(take.times))
        if count:
            ranges[take.name] = (len(take.times) - count, len(take.times))
        left -= count
    return ranges


def trainable(take: Take, ranges: Ranges) -> NDArray[np.bool_]:
    """Tell which frames of a take are trained on: not left out, not held out, not next to held out; [T]."""
    allowed = take.kept
    if take.name in ranges:
        start, stop = ranges[take.name]
        gap = round(_GAP_SECONDS * float(take.fps))
        allowed[max(0, start - gap) : stop + gap] = False
    return allowed


class _Collector:
    """Gathers the parts of a training set, take by take."""

    def __init__(self, footage: Footage, settings: ModelSettings, count: int) -> None:
        """Make room for the pictures of `count` frames: gathered first they would be held twice."""
        self.canonical, self.paster = footage.canonical, Paster(footage.canonical)
        self.skin_colour = median_skin_colour(footage.takes)
        self.silence = len(window_offsets(settings)) + MEL_RATE
        self.keep_wave = pretrained_name(settings.speech) is not None
        self.patches = torch.empty(count, 3, *footage.canonical.patch.size, dtype=torch.uint8)
        self.crop_every = max(1, -(-count // MAX_CROPS))
        crops = -(-count // self.crop_every)
        self.crops = Crops(
            index=torch.arange(crops) * self.crop_every,
            picture=torch.empty(crops, 3, *CROP_SIZE, dtype=torch.uint8),
            uv=torch.empty(crops, *CROP_SIZE, 2),
        )
        self.takes: list[dict[str, Tensor]] = []
        self.count = self.clock = 0

    def add(self, take: Take, chosen: NDArray[np.intp], report: Callable[[int], None]) -> None:
        """Gather frames of a take, sorted, and its sound."""
        head, first, read = HeadTrack.of_take(take, self.canonical, self.skin_colour), self.count, []
        for frame in take.frames(int(chosen[0]), int(chosen[-1]) + 1, only=set(chosen.tolist())):
            self._add_picture(torch.from_numpy(frame.rgb).permute(2, 0, 1).float() / 255, head[frame.index])
            read.append(frame.index)
            report(self.count)
        used = np.array(read, np.intp)
        landmarks = torch.from_numpy(take.landmarks[used][:, list(SHAPE_POINTS), :2])
        unbroken = (np.diff(used) == 1) & ~np.isin(used[1:], take.cuts)
        wave = torch.from_numpy(take.wave())
        mel = functional.pad(log_mel(wave), (0, self.silence), value=SILENT_MEL)
        samples = mel.shape[1] * MEL_HOP
        self.takes.append(
            {
                "outlines": self.paster.patch_places(landmarks, head[used]).flatten(1),
                "times": torch.from_numpy(take.times[used]) + self.clock / MEL_RATE,
                "rates": torch.full((len(used),), float(take.fps), dtype=torch.float64),
                "poses": torch.from_numpy(head.pose[used]),
                "light": torch.from_numpy(head.light_gain[used]),
                "followed": first + torch.from_numpy(np.flatnonzero(unbroken)),
                "mel": mel.T,
                "wave": functional.pad(wave, (0, samples - len(wave))) if self.keep_wave else wave[:0],
            }
        )
        self.clock += mel.shape[1]

    def _add_picture(self, picture: Tensor, head: HeadTrack) -> None:
        """Gather the mouth of a frame [3, H, W], of which `head` is the track."""
        self.patches[self.count] = (self.paster.patch_of(picture, head, mode="bicubic") * 255).round().byte()
        if self.count % self.crop_every == 0:
            row = self.count // self.crop_every
            boxes = self.paster.regions(head, (picture.shape[1], picture.shape[2]))
            x0, y0, x1, y1 = boxes[0]
            crop = shrink(picture[None, :, y0:y1, x0:x1])[0]
            self.crops.picture[row] = (crop.clamp(0, 1) * 255).round().byte()
            self.crops.uv[row] = shrink(self.paster.patch_uv(head, boxes).movedim(-1, 1))[0].movedim(0, -1)
        self.count += 1

    def finish(self, seconds: float) -> TrainingSet:
        # Fewer than there was room for where a picture ends early.
        _require_enough(self.count)
        patches, crops = self.patches[: self.count], -(-self.count // self.crop_every)
        parts = {name: torch.cat([take[name] for take in self.takes]) for name in self.takes[0]}
        mel, wave = parts.pop("mel").T.contiguous(), parts.pop("wave")
        return TrainingSet(
            **parts,
            patches=patches,
            mel=mel,
            motion=motion_weight(patches, self.paster.mask[0, 0]),
            crops=Crops(**{name: value[:crops] for name, value in vars(self.crops).items()}),
            seconds=seconds,
            wave=wave if self.keep_wave else None,
        )


def motion_weight(patches: Tensor, mask: Tensor) -> Tensor:
    """Return each place's mean absolute deviation over time; [h, w].

    It has a floor and is scaled to a mean of 1 in the jaw region.
    """
    some = patches[:: max(1, len(patches) // 500)].float()
    deviation = (some - some.mean(0)).abs().mean((0, 1))
    inside = mask > 0.05
    weight = deviation / deviation[inside].mean().clamp_min(1e-6)
    weight = weight.clamp(0.3, 4.0) * torch.where(inside, 1.0, 0.3)
    return weight / weight[inside].mean()


def build_training_set(footage: Footage, ranges: Ranges, settings: ModelSettings) -> TrainingSet:
    """Read all frames that may be trained on and bring their mouths into canonical space (O2C).

    Raises:
        FootageError: nothing is left to train on.
    """
    surface = region_surface(footage.canonical)
    may = {take.name: trainable(take, ranges) for take in footage.takes}
    # Where the head has turned away the far cheek has folded over what lies behind it, whose colour lips
    # would learn.
    usable = {take.name: may[take.name] & surface.bears(take.camera_from_head) for take in footage.takes}
    count = sum(int(flags.sum()) for flags in usable.values())
    _require_enough(count)
    frames = chosen_frames(usable, MAX_FRAMES)
    wanted = sum(map(len, frames.values()))
    collector = _Collector(footage, settings, wanted)
    with Progress("Reading the footage", total=wanted, unit="frames") as progress:
        for take in footage.takes:
            if len(frames[take.name]):
                collector.add(take, frames[take.name], progress.set)
    rates = {take.name: float(take.fps) for take in footage.takes}
    data = collector.finish(count / float(np.mean(list(rates.values()))))
    held = sum((stop - start) / rates[name] for name, (start, stop) in ranges.items())
    _LOG.info(f"{len(data.times)} frames ({data.seconds:.0f} s) to train on, {held:.0f} s held out")
    if turned := sum(int(flags.sum()) for flags in may.values()) - count:
        _LOG.info(f"{turned} more frames are not trained on: the head has turned away")
    return data


def _require_enough(count: int) -> None:
    if count < 25:
        raise FootageError(f"only {count} frames are left to train on; hold out less or record more")


def chosen_frames(allowed: Mapping[str, NDArray[np.bool_]], most: int) -> dict[str, NDArray[np.intp]]:
    """Choose frames to train on: all, or runs of neighbours that are spread evenly over the footage.

    Training looks at frames with their neighbours: every second frame would have none.

    Args:
        allowed: per take [T], the frames that may be trained on; most: how many are kept at most.

    Returns:
        Per take the indices of its chosen frames, sorted.
    """
    kept = np.ones(sum(int(flags.sum()) for flags in allowed.values()), bool)
    if len(kept) > most:
        length = min(_RUN, most)
        runs = np.zeros(-(-len(kept) // length), bool)
        runs[np.linspace(0, len(runs) - 1, most // length).round().astype(int)] = True
        kept = runs.repeat(length)[: len(kept)]
    frames = {}
    for name, flags in allowed.items():
        used = np.flatnonzero(flags)
        frames[name], kept = used[kept[: len(used)]], kept[len(used) :]
    return frames


MOMENT_SECONDS = 0.04
"""Between neighbouring frames of a stretch or a clip, about: those of video of 25 frames a second."""
LENGTH = 4
"""Frames of a stretch; windows of neighbouring frames share most of their sound."""


def frames_apart(rates: Tensor, length: int) -> Tensor:
    """Return the frames nearest to moments 0.04 s apart, counted from the first; all where fewer are shown.

    Args:
        rates: [S] frames a second.

    Returns:
        [S, length].
    """
    step = (rates * MOMENT_SECONDS).clamp_min(1)
    return (torch.arange(length, device=rates.device) * step[:, None]).round().long()


def moments_apart(rates: Tensor, length: int) -> Tensor:
    """Return how many times 0.04 s lie between neighbours of those frames; [S, length - 1], 1 at 25 fps."""
    return (frames_apart(rates, length).diff(dim=1) / (rates * MOMENT_SECONDS)[:, None]).float()


def stretch_starts(followed: Tensor, rates: Tensor, length: int) -> Tensor:
    """Return the frames that begin a stretch of `length` frames without a gap; sorted.

    Args:
        followed: [P] sorted indices of the frames whose successor is their neighbour.
        rates: [T] frames a second around each frame.
    """
    last = torch.ones(len(rates), dtype=torch.bool, device=rates.device)
    last[followed] = False
    ends = torch.nonzero(last)[:, 0]
    index = torch.arange(len(rates), device=rates.device)
    left = ends[torch.searchsorted(ends, index).clamp_max(len(ends) - 1)] - index
    return torch.nonzero(left >= frames_apart(rates, length)[:, -1])[:, 0]


def longest_stretches(followed: Tensor, rates: Tensor) -> tuple[Tensor, int]:
    """Return starts of stretches and their length: 4 frames, or fewer where none go on for so long."""
    for length in (LENGTH, 2):
        starts = stretch_starts(followed, rates, length)
        if len(starts):
            return starts, length
    return torch.arange(len(rates), device=rates.device), 1


@dataclass(frozen=True)
class FrameSequence:
    """Where the windows of some neighbouring frames lie in the sound around all of them."""

    offsets: Tensor
    """[L] columns of that sound, in mel frames from the first frame on."""
    columns: Tensor
    """[S, N, W] in which of them the windows of N frames stand, for each of S sequences."""

    @staticmethod
    def of(times: Tensor, offsets: Tensor, pace: Tensor) -> FrameSequence:
        """Lay out sequences.

        Args:
            times: [S, N] seconds of their frames; offsets: [W] of a frame's window.
            pace: [S] tempo of each sequence's sound: above 1 it is spoken faster.
        """
        starts = (times - times[:, :1]) * MEL_RATE / pace[:, None]
        reach = len(offsets) + math.ceil(float(starts.max())) + 2
        columns = starts[..., None] + torch.arange(len(offsets), device=offsets.device)
        return FrameSequence(int(offsets[0]) + torch.arange(reach, device=offsets.device), columns)


QUIET = 2.0
"""A moment is quiet this far (30 dB) below the loud moments of the footage."""
QUIET_BEFORE, QUIET_AFTER = 0.25, 0.35
"""Seconds around a frame that must be quiet: lips open before they are heard."""
LEAST_FRAMES = 10
"""Quiet frames below which nothing is known of how the mouth rests."""
CLOSED_SHARE = 0.05
"""Share of the frames that stand for it then: those whose lips are closest to each other."""


@dataclass(frozen=True)
class Resting:
    """Frames that show the mouth at rest."""

    frames: Tensor
    """[R] indices."""
    in_silence: bool
    """Whether nobody speaks around them; otherwise they are those whose lips are closest to each other."""

    def shape(self, shapes: Tensor) -> Tensor:
        """Return the median of their lip shapes, of all frames' [N, K]; [K]."""
        return shapes[self.frames].median(dim=0).values


def resting_frames(openings: Tensor, mel: Tensor, times: Tensor) -> Resting | None:
    """Find the frames around which nobody speaks.

    Where they are few, closed lips stand for it: the frames with the least openings. None of
    footage without sound.

    Args:
        openings: [N] of the lips.
        mel: [M, F] of the footage, takes with silence between them.
        times: [N] seconds in `mel`.
    """
    level = mel.exp().mean(0).log()
    heard = level[level > SILENT_MEL + 0.05]
    if not len(heard):
        return None
    quiet = level < torch.quantile(heard, 0.95) - QUIET
    before, after = round(QUIET_BEFORE * MEL_RATE), round(QUIET_AFTER * MEL_RATE)
    padded = functional.pad((~quiet).float()[None, None], (before, after))
    loud_near = functional.max_pool1d(padded, before + after + 1, stride=1)[0, 0]
    place = (times * MEL_RATE).round().long().clamp(0, len(level) - 1)
    resting = torch.nonzero(loud_near[place] == 0)[:, 0]
    if len(resting) >= LEAST_FRAMES:
        return Resting(resting, in_silence=True)
    closed = torch.nonzero(openings <= torch.quantile(openings, CLOSED_SHARE))[:, 0]
    return Resting(closed, in_silence=False)


HEARD_VERSIONS = 4
"""The sound as it is, and so often in other voices, rooms and noise."""
_LONG_SECONDS = 900.0
"""Longer footage is varied in itself: two versions do."""
_QUIET_PIECES = 24
_LEARNED_FROM = 3000
"""Steps that the projection is learned from, at most."""
_MAKE = 2
"""Counted up whenever the same sound would be heard otherwise."""


def hear_takes(data: TrainingSet, encoder: PretrainedEncoder, *, seed: int, cache: Path) -> Projection:
    """Let the encoder hear the sound of a training set, in several versions, and what is quiet.

    Fills `heard` and `quiet` of the set and drops its wave.

    Args:
        data: with a wave.
        encoder: on the device where it shall run.
        cache: a file that keeps what was heard.

    Returns:
        How its features are reduced, on the processor.
    """
    assert data.wave is not None
    began, random = time.monotonic(), np.random.default_rng(seed)
    wave, frames = data.wave.numpy(), data.mel.shape[1]
    count = HEARD_VERSIONS if len(wave) < _LONG_SECONDS * SAMPLE_RATE else 2
    # A version begins some mel frames late, so that the encoder's steps fall elsewhere on the speech; it ends
    # with a step, and with silence, so that nothing is heard of the next one.
    late = [0, *random.integers(0, 8, count - 1).tolist()]
    versions = [wave, *(vary_wave(wave, random) for _ in range(count - 1))]
    begun = [np.pad(one, (n * MEL_HOP, STEP + AFTER)) for n, one in zip(late, versions, strict=True)]
    parts = [np.pad(one, (0, -len(one) % STEP)) for one in begun]
    quiet = quiet_wave(_QUIET_PIECES, random)
    begins = np.cumsum([0, *map(len, parts)]) // MEL_HOP
    rows, projection = _heard(torch.from_numpy(np.concatenate([*parts, quiet])), encoder, seed, cache)
    heard = [rows[:, first : first + frames] for first in begins[:-1] + late]
    data.heard = torch.cat([torch.cat([data.mel, one]) for one in heard], dim=1)
    data.quiet = torch.cat([log_mel(torch.from_numpy(quiet)), rows[:, begins[-1] :]])
    data.wave = None
    _LOG.info(f"the pretrained encoder heard the takes in {time.monotonic() - began:.0f} s")
    return projection


def _heard(wave: Tensor, encoder: PretrainedEncoder, seed: int, cache: Path) -> tuple[Tensor, Projection]:
    """Hear a wave, or read what was heard of it before; the reduced features [64, F], and how."""
    mark = hashlib.sha256(f"{_MAKE} {seed}".encode() + encoder.fingerprint + wave.numpy().tobytes())
    key, projection = mark.hexdigest(), Projection()
    if (kept := kept_tensors(cache, key)) is not None:
        rows = kept.pop("rows").float()
        projection.load_state_dict(kept)
        return rows, projection
    device, windows = next(encoder.network.parameters()).device, step_windows(wave)
    some = torch.randperm(len(windows), generator=torch.Generator().manual_seed(seed))[:_LEARNED_FROM]
    projection.learn(encoder.features(windows[some].to(device)).flatten(0, 1).cpu(), encoder)
    listener = PretrainedListener(encoder, projection.to(device))
    with Progress("Hearing the takes", total=len(wave) / SAMPLE_RATE, unit="s") as progress:
        rows = listener.rows(wave, done=progress.set).half()
    save_tensors(cache, {"rows": rows} | projection.cpu().state_dict(), metadata={"key": key})
    return rows.float(), projection
