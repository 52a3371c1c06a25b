"""Everything that training looks at, read from the footage once and held in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from speech2lip.composition.bearing import region_surface
from speech2lip.composition.blend_net import CROP_SIZE
from speech2lip.composition.paste import Paster, Place, pose_numbers
from speech2lip.composition.pose_mapping import (
    canonical_from_observed_points,
    look_up,
    observed_from_canonical_points,
)
from speech2lip.config import ModelSettings
from speech2lip.conventions import MEL_RATE, SAMPLE_RATE
from speech2lip.decomposition.footage import Footage, Take
from speech2lip.decomposition.landmarks import SHAPE_POINTS
from speech2lip.errors import FootageError
from speech2lip.media.video import Frame
from speech2lip.progress import Progress
from speech2lip.synthesis.hf_speech import pretrained_name
from speech2lip.synthesis.speech import SILENT_MEL, log_mel, window_offsets
from speech2lip.training.split import Ranges, trainable

MAX_FRAMES = 9000
"""Frames held in memory, at most: six minutes at 25 a second; longer footage is thinned evenly."""
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
    """[N, h, w, 2] float16, the place on the lip patch of every pixel."""


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
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        crops = Crops(**{name: value.to(device) for name, value in vars(self.crops).items()})
        return TrainingSet(**moved, crops=crops, seconds=self.seconds)


def usual_light(takes: Sequence[Take]) -> NDArray[np.float32]:
    """Return the median skin colour of the frames that are not left out; [3]."""
    light: NDArray[np.float32] = np.median(np.concatenate([t.light[t.left_out == 0] for t in takes]), axis=0)
    return light


def light_gain(light: NDArray[np.float32], usual: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the light of frames [..., 3] over the usual one, kept within a factor of 2."""
    with np.errstate(invalid="ignore"):
        gain = np.clip(np.nan_to_num(light / np.maximum(usual, 1.0), nan=1.0), 0.5, 2.0)
    return gain.astype(np.float32)


def place_of(take: Take, index: int, usual: NDArray[np.float32]) -> Place:
    """Return where and in what light the head is in a frame of a take."""
    return Place(
        camera_from_head=torch.from_numpy(take.camera_from_head[index]).float(),
        k=torch.from_numpy(take.k).float(),
        light=torch.from_numpy(light_gain(take.light[index], usual)),
        steady_from_head=torch.from_numpy(take.steady_from_head[index]).float(),
    )


class _Collector:
    """Gathers the parts of a training set frame by frame."""

    def __init__(self, footage: Footage, wanted: int) -> None:
        self.paster = Paster(footage.canonical)
        self.usual = usual_light(footage.takes)
        self.crop_every = max(1, -(-wanted // MAX_CROPS))
        self.rows: dict[str, list[Tensor]] = {
            name: [] for name in ("patches", "outlines", "times", "poses", "light")
        }
        self.crops: list[tuple[int, Tensor, Tensor]] = []
        self.mel: list[Tensor] = []
        self.waves: list[Tensor] = []
        self.clock = 0
        self.ends: list[bool] = []

    def add(self, take: Take, frame: Frame, next_is_used: bool) -> None:
        paster, index = self.paster, frame.index
        place = place_of(take, index, self.usual)
        picture = torch.from_numpy(frame.rgb).permute(2, 0, 1).float() / 255
        transform = paster.observed_from_canonical(place.camera_from_head)[None]
        points = paster.patch_points.reshape(1, -1, 2)
        where = observed_from_canonical_points(points, paster.depth, transform, paster.k, place.k)
        patch = (
            look_up(picture[None], where, mode="bicubic").reshape(3, *paster.patch_points.shape[:2])
            / place.light[:, None, None]
        )
        landmarks = torch.from_numpy(take.landmarks[index, list(SHAPE_POINTS), :2])[None]
        lips = canonical_from_observed_points(landmarks, paster.depth, transform, paster.k, place.k)[0]
        self.rows["patches"].append((patch.clamp(0, 1) * 255).round().byte())
        self.rows["outlines"].append(((lips - paster.box_start) / paster.box_size).reshape(-1))
        self.rows["times"].append(
            torch.tensor(take.times[index] + self.clock / MEL_RATE, dtype=torch.float64)
        )
        steady = paster.observed_from_canonical(place.steady_from_head)[None]
        self.rows["poses"].append(torch.from_numpy(pose_numbers(steady.double().numpy())[0]))
        self.rows["light"].append(place.light)
        if (len(self.ends)) % self.crop_every == 0:
            self.crops.append((len(self.ends), *self._crop(picture, place)))
        self.ends.append(not next_is_used)

    def _crop(self, picture: Tensor, place: Place) -> tuple[Tensor, Tensor]:
        box = self.paster.region(place, (picture.shape[1], picture.shape[2]))
        x0, y0, x1, y1 = box
        crop = shrink(picture[None, :, y0:y1, x0:x1])[0]
        uv = shrink(self.paster.patch_uv(place, box).movedim(-1, 0)[None])[0].movedim(0, -1)
        return (crop.clamp(0, 1) * 255).round().byte(), uv.half()

    def end_take(self, wave: Tensor, silence: int, *, keep_wave: bool) -> None:
        mel = log_mel(wave)
        self.mel += [mel, torch.full((mel.shape[0], silence), SILENT_MEL)]
        self.clock += mel.shape[1] + silence
        if keep_wave:
            samples = (mel.shape[1] + silence) * SAMPLE_RATE // MEL_RATE
            self.waves.append(functional.pad(wave, (0, samples - len(wave))))

    def finish(self, seconds: float) -> TrainingSet:
        rows = {name: torch.stack(values) for name, values in self.rows.items()}
        ends = torch.tensor(self.ends)
        index, picture, uv = zip(*self.crops, strict=True)
        return TrainingSet(
            **rows,
            mel=torch.cat(self.mel, dim=1),
            followed=torch.nonzero(~ends)[:, 0],
            motion=motion_weight(rows["patches"], self.paster.mask[0, 0]),
            crops=Crops(torch.tensor(index), torch.stack(picture), torch.stack(uv)),
            seconds=seconds,
            wave=torch.cat(self.waves) if self.waves else None,
        )


def shrink(crop: Tensor) -> Tensor:
    """Resample crops [B, C, h, w] to the size that the Blend-Net works at, without aliasing."""
    return functional.interpolate(crop, size=CROP_SIZE, mode="bilinear", align_corners=False, antialias=True)


def motion_weight(patches: Tensor, mask: Tensor) -> Tensor:
    """Return each place's mean absolute deviation over time, floored and scaled to a mean of 1 in the jaw
    region; [h, w].
    """
    some = patches[:: max(1, len(patches) // 500)].float()
    deviation = (some - some.mean(0)).abs().mean((0, 1))
    inside = mask > 0.05
    weight = deviation / deviation[inside].mean().clamp_min(1e-6)
    weight = weight.clamp(0.3, 4.0) * torch.where(inside, 1.0, 0.3)
    return weight / weight[inside].mean()


def usable(footage: Footage, ranges: Ranges) -> dict[str, NDArray[np.bool_]]:
    """Tell which frames of each take are trained on: those that may be and whose head pose the mapping bears.

    In the others the far cheek has folded over what lies behind it, whose colour lips would learn.
    """
    surface = region_surface(footage.canonical)
    return {
        take.name: trainable(take, ranges) & surface.bears(take.camera_from_head) for take in footage.takes
    }


def build_training_set(footage: Footage, ranges: Ranges, settings: ModelSettings) -> TrainingSet:
    """Read all frames that may be trained on and bring their mouths into canonical space (O2C).

    Raises:
        FootageError: nothing is left to train on.
    """
    allowed = usable(footage, ranges)
    count = sum(int(flags.sum()) for flags in allowed.values())
    if count < 25:
        raise FootageError(f"only {count} frames are left to train on; hold out less or record more")
    thin = -(-count // MAX_FRAMES)
    silence = len(window_offsets(settings)) + MEL_RATE
    keep_wave = pretrained_name(settings.speech) is not None
    collector = _Collector(footage, count // thin)
    done = 0
    with Progress("Reading the footage", total=count, unit="frames") as progress:
        for take in footage.takes:
            used = np.flatnonzero(allowed[take.name])
            if not len(used):
                continue
            chosen = set(used[::thin].tolist())
            for frame in take.frames(int(used[0]), int(used[-1]) + 1):
                if frame.index in chosen:
                    follows = frame.index + 1 in chosen and frame.index + 1 not in take.cuts
                    collector.add(take, frame, follows)
                    done += thin
                    progress.set(done)
            collector.end_take(torch.from_numpy(take.wave()), silence, keep_wave=keep_wave)
    rates = [float(take.fps) for take in footage.takes]
    return collector.finish(count / float(np.mean(rates)))
