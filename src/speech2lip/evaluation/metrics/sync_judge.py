"""Our own judge of sync: a small network that learns from training takes which mouths go with which sound.

It is not the expert of the sync loss: it sees finished frames instead of canonical lips, through another
network, from another seed, so that lips trained to please the one have not been trained to please the other.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from speech2lip.arrays import Array, Picture
from speech2lip.atomic import kept_tensors, save_tensors
from speech2lip.avatar import Avatar
from speech2lip.conventions import MEL_BANDS, Box
from speech2lip.decomposition.footage import Footage, Take
from speech2lip.evaluation.accumulate import Figures, Moment, Openings
from speech2lip.evaluation.held_out import Span
from speech2lip.evaluation.metrics.mouth import mouth_box
from speech2lip.evaluation.metrics.published import MAX_OFFSET, score_distances
from speech2lip.evaluation.result import Row
from speech2lip.evaluation.runner import Observer
from speech2lip.evaluation.speech_labels import Heard
from speech2lip.progress import Progress
from speech2lip.synthesis.speech import SILENT_MEL, log_mel, mel_windows
from speech2lip.training.split import Ranges, trainable
from speech2lip.training.stretches import MOMENT_SECONDS, frames_apart

FORMAT = 2
"""Version of what the judge is and how it learns: a kept one of another is not used."""

CLIP = 5
"""Frames 0.04 s apart that are seen together, at any frame rate."""
SIDE = 40
"""Pixels across what the judge sees."""
_SEEN = 0.7
"""Share of the mouth box that the judge sees, about its middle: lips and teeth, little else."""
LEAST_SECONDS = 30.0
"""Footage below which nothing worth asking is learned."""
MAX_FRAMES = 9000
"""Frames that are learned from, at most."""
_HEARD = torch.arange(-16, 16)
"""Mel frames of sound around the middle of a clip."""
_BATCH = 60
_TOGETHER = 15
"""Clips of one take in a batch."""
_SEED = 7


class SyncJudge(nn.Module):
    """Embeds clips of mouths and stretches of sound, alike where they belong together."""

    usual: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.seeing = nn.Sequential(
            *_seen(CLIP, 40), *_seen(40, 60), *_seen(60, 80),
            nn.Flatten(), nn.Dropout(0.2), nn.Linear(80 * (SIDE // 8) ** 2, 48),
        )  # fmt: skip
        self.hearing = nn.Sequential(
            nn.Conv1d(MEL_BANDS, 112, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv1d(112, 112, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(112 * len(_HEARD) // 4, 48),
        )
        self.register_buffer("usual", torch.full((SIDE, SIDE), 110.0))
        self.sharpness = nn.Parameter(torch.tensor(2.0))

    def embed_lips(self, clips: Tensor) -> Tensor:
        """Embed clips [B, 5, side, side] of 0 to 255; [B, D] of length 1."""
        return functional.normalize(self.seeing((clips.float() - self.usual) / 20), dim=1)

    def embed_sound(self, windows: Tensor) -> Tensor:
        """Embed mel windows [B, M, W]; [B, D] of length 1."""
        return functional.normalize(self.hearing(windows), dim=1)


def _seen(channels_in: int, channels_out: int) -> list[nn.Module]:
    return [nn.Conv2d(channels_in, channels_out, 5, stride=2, padding=2), nn.SiLU()]


def mouth(picture: Picture, box: Box) -> NDArray[np.uint8] | None:
    """Return the grey mouth box of a frame as the judge sees it; None where it lies outside the frame."""
    x0, y0, x1, y1 = box
    if x1 - x0 < 8 or y1 - y0 < 8:
        return None
    across, down = round((x1 - x0) * (1 - _SEEN) / 2), round((y1 - y0) * (1 - _SEEN) / 2)
    inner = np.ascontiguousarray(picture[y0 + down : y1 - down, x0 + across : x1 - across])
    grey = cv2.cvtColor(inner, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


@dataclass(frozen=True)
class Clips:
    """The mouths of one take, or of a part of it, and its sound."""

    mouths: NDArray[np.uint8]
    """[T, side, side]."""
    times: Array
    """[T] seconds in `mel`."""
    frames: NDArray[np.intp]
    """[N, 5] mouths of each clip; no clip reaches across a missing frame."""
    mel: Tensor
    fps: float

    @staticmethod
    def of(seen: Mapping[int, NDArray[np.uint8]], times: Array, mel: Tensor, fps: float) -> Clips:
        """Make clips of what was seen of a take's mouth in some frames, in order, at times [T]."""
        indices, clip = np.array(list(seen), np.intp), clip_frames(fps)
        starts = np.arange(max(0, len(indices) - int(clip[-1])))
        unbroken = indices[starts + clip[-1]] - indices[starts] == clip[-1]
        return Clips(
            mouths=np.array(list(seen.values()), np.uint8).reshape(-1, SIDE, SIDE),
            times=times,
            frames=starts[unbroken, None] + clip,
            mel=mel,
            fps=fps,
        )

    def windows(self, clips: NDArray[np.intp], *, late: float | Array = 0.0) -> Tensor:
        """Return the sound around the middle of clips [B], heard some seconds late; [B, M, W]."""
        moments = self.times[self.frames[clips, CLIP // 2]] + late
        return mel_windows(self.mel, torch.from_numpy(moments), _HEARD)


def clip_frames(fps: float) -> NDArray[np.intp]:
    """Return the frames of a clip, counted from its first; [5]."""
    return frames_apart(torch.tensor([fps], dtype=torch.float64), CLIP)[0].numpy()


def train_judge(footage: Footage, ranges: Ranges, *, steps: int) -> SyncJudge | None:
    """Train the judge on frames that an avatar may be trained on; None where there are too few.

    Args:
        ranges: what is held out, take by take.
    """
    lessons = _lessons(footage, ranges)
    if sum(len(lesson.times) / lesson.fps for lesson in lessons) < LEAST_SECONDS:
        return None
    random = np.random.default_rng(_SEED)
    # What draws at random elsewhere draws as it would without a judge.
    with (
        torch.random.fork_rng(devices=[]),
        Progress("Training the judge of sync", total=steps, unit="steps") as progress,
    ):
        torch.manual_seed(_SEED)
        judge = SyncJudge()
        judge.usual.copy_(torch.from_numpy(np.stack([lesson.mouths.mean(0) for lesson in lessons]).mean(0)))
        optimiser = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=0.01)
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = 2e-3 * 0.5 * (1 + math.cos(math.pi * step / steps))
            optimiser.zero_grad()
            _lesson_loss(judge, lessons, random).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            progress.set(step + 1)
    return judge.eval()


def _lessons(footage: Footage, ranges: Ranges) -> list[Clips]:
    """Return the takes that hold clips to learn from."""
    lessons, room = [], MAX_FRAMES
    for take in footage.takes:
        used = np.flatnonzero(trainable(take, ranges))[:room]
        room -= len(used)
        if len(used):
            lessons.append(_lesson(take, footage, used))
    return [lesson for lesson in lessons if len(lesson.frames)]


def _lesson(take: Take, footage: Footage, used: NDArray[np.intp]) -> Clips:
    chosen, seen = set(used.tolist()), dict[int, NDArray[np.uint8]]()
    for frame in take.frames(int(used[0]), int(used[-1]) + 1):
        if frame.index in chosen:
            found = mouth(frame.rgb, mouth_box(take, frame.index, footage.canonical.shape))
            seen |= {} if found is None else {frame.index: found}
    wave, begins = take.wave_around(*take.times[used[[0, -1]]].tolist())
    return Clips.of(seen, take.times[list(seen)] - begins, log_mel(torch.from_numpy(wave)), float(take.fps))


def _lesson_loss(judge: SyncJudge, lessons: Sequence[Clips], random: np.random.Generator) -> Tensor:
    """Return how badly clips find their own sound among others: of the batch, and their own, shifted.

    Many clips are taken from one take, so that most of the others are other times of the same take: they
    cannot be told by the look or the hum of the take.
    """
    sizes = np.array([len(lesson.frames) for lesson in lessons], float)
    shown, windows, shifted, owners = [], [], [], []
    for number in random.choice(len(lessons), _BATCH // _TOGETHER, p=sizes / sizes.sum()):
        lesson = lessons[number]
        clips = random.choice(len(lesson.frames), _TOGETHER)
        late = random.integers(2, 13, _TOGETHER) * random.choice([-1, 1], _TOGETHER) * MOMENT_SECONDS
        shown.append(lesson.mouths[lesson.frames[clips]])
        windows.append(lesson.windows(clips))
        shifted.append(lesson.windows(clips, late=late))
        owners += [(int(number), float(time)) for time in lesson.times[lesson.frames[clips, CLIP // 2]]]
    # All are moved by up to a pixel, so that places of pixels are not learned by heart.
    moved = np.roll(np.concatenate(shown), tuple(random.integers(-1, 2, 2).tolist()), axis=(2, 3))
    seen = judge.embed_lips(torch.from_numpy(moved))
    heard, wrong = judge.embed_sound(_hushed(torch.cat(windows + shifted), random)).chunk(2)
    near = torch.tensor([[a[0] == b[0] and 0 < abs(a[1] - b[1]) < 0.35 for b in owners] for a in owners])
    scores = (seen @ heard.T).masked_fill(near, -1.0)
    scores = torch.cat([scores, (seen * wrong).sum(1, keepdim=True)], dim=1) * judge.sharpness.exp()
    target = torch.arange(len(scores))
    return functional.cross_entropy(scores, target) + functional.cross_entropy(scores[:, :-1].T, target)


def _hushed(windows: Tensor, random: np.random.Generator) -> Tensor:
    """Change the level of sounds and drop some of their bands."""
    level = torch.from_numpy(random.uniform(-0.3, 0.3, (len(windows), 1, 1))).float()
    kept = torch.from_numpy(random.random((len(windows), MEL_BANDS, 1)) > 0.1)
    return torch.where(kept, windows + level, SILENT_MEL)


def judge_of(avatar: Avatar, footage: Footage, *, steps: int) -> SyncJudge | None:
    """Return the judge that knows no more frames than the avatar; the footage keeps it for the next time.

    None where `steps` is 0 or the footage is too short.
    """
    if not steps:
        return None
    ranges = dict(avatar.info.held_out)
    unknown = [take for take in footage.takes if take.name not in avatar.info.takes]
    ranges |= {take.name: (0, len(take.times)) for take in unknown}
    kept = footage.folder / "sync_judge.safetensors"
    takes = [(take.name, len(take.times)) for take in footage.takes]
    key = json.dumps([FORMAT, steps, sorted(ranges.items()), takes])
    if (weights := kept_tensors(kept, key)) is not None:
        known = SyncJudge()
        known.load_state_dict(weights)
        return known.eval()
    judge = train_judge(footage, ranges, steps=steps)
    if judge is not None and os.access(footage.folder, os.W_OK):
        save_tensors(kept, judge.state_dict(), metadata={"key": key})
    return judge


_AT_ONCE = 48
"""Clips that are embedded together."""


@torch.inference_mode()
def lag_distances(judge: SyncJudge, clips: Clips) -> Tensor:
    """Return each clip's distance to the sound of its moment and up to 15 steps of 0.04 s off; [N, 31]."""
    found = [torch.zeros(0, 2 * MAX_OFFSET + 1)]
    for first in range(0, len(clips.frames), _AT_ONCE):
        some = np.arange(first, min(first + _AT_ONCE, len(clips.frames)))
        seen = judge.embed_lips(torch.from_numpy(clips.mouths[clips.frames[some]]))
        lags = range(-MAX_OFFSET, MAX_OFFSET + 1)
        heard = (judge.embed_sound(clips.windows(some, late=lag * MOMENT_SECONDS)) for lag in lags)
        found.append(torch.stack([1 - (seen * one).sum(1) for one in heard], dim=1))
    return torch.cat(found)


def judged(distances: Sequence[Tensor]) -> Row:
    """Return the figures of the distances [N, 31] of all takes.

    `expert_confidence`: median less least mean distance over lags; `expert_distance`: the least;
    `expert_offset_ms`: its lag, positive where the sound is late, as in `sync_offset_ms`.
    """
    found = torch.cat(list(distances))
    return score_distances(found.mean(0).numpy()).row("expert") if len(found) else {}


class SyncJudgeObserver(Observer):
    """Shows the frames of all methods to the judge; memory holds small mouths of one take, no pictures."""

    def __init__(self, judge: SyncJudge, methods: Iterable[str]) -> None:
        self.judge = judge
        self.distances: dict[str, list[Tensor]] = {name: [] for name in methods}
        self._seen: dict[str, dict[int, NDArray[np.uint8]]] = {}
        """Mouths of this take by method and frame."""

    def begin_take(self, span: Span, heard: Heard) -> None:
        """Get ready for a take."""
        super().begin_take(span, heard)
        self._seen = {name: {} for name in self.distances}

    def frame(self, moment: Moment, made: Mapping[str, Picture], figures: Mapping[str, Figures]) -> None:
        """See a frame of every method."""
        for name, mouths in self._seen.items():
            if (seen := mouth(made[name], moment.box)) is not None:
                mouths[moment.index] = seen

    def end_take(self, openings: Mapping[str, Openings]) -> None:
        """Compare what was seen of a take with its sound."""
        take, heard = self.span.take, self.heard
        mel = log_mel(torch.from_numpy(heard.wave))
        for name, mouths in self._seen.items():
            clips = Clips.of(mouths, take.times[list(mouths)] - heard.begins, mel, float(take.fps))
            self.distances[name].append(lag_distances(self.judge, clips))

    def figures(self) -> dict[str, Row]:
        """Return confidence, distance and offset by method."""
        return {name: judged(distances) for name, distances in self.distances.items()}
