"""Everything that training looks at, read from the footage once and held in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from speech2lip.composition.blend_net import CROP_SIZE, shrink
from speech2lip.composition.coverage import region_surface
from speech2lip.composition.paste import Paster
from speech2lip.config import ModelSettings
from speech2lip.conventions import MEL_HOP, MEL_RATE
from speech2lip.decomposition.footage import Footage, Take
from speech2lip.errors import FootageError
from speech2lip.faces.landmarks import SHAPE_POINTS
from speech2lip.head_track import HeadTrack, median_skin_colour
from speech2lip.progress import Progress
from speech2lip.synthesis.pretrained import (
    pretrained_name,
)
from speech2lip.synthesis.speech import SILENT_MEL, log_mel, window_offsets
from speech2lip.training.split import Ranges, trainable

_LOG = logging.getLogger(__name__)

MAX_FRAMES = 9000
"""Frames held in memory, at most: six minutes at 25 a second; of longer footage runs are chosen."""
_RUN = 100
"""Neighbouring frames of such a run."""
MAX_CROPS = 2000
"""Frames that the Blend-Net is trained on, at most."""


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
