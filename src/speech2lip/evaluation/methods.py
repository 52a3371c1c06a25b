"""The rows of the table: who makes the frames that are judged."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from speech2lip.avatar import Avatar
from speech2lip.composition.paste import Paster
from speech2lip.conventions import MEL_BANDS, Picture
from speech2lip.decomposition.footage import Footage, Take
from speech2lip.errors import SettingsError
from speech2lip.evaluation.held_out import CodedFrame
from speech2lip.head_track import HeadTrack
from speech2lip.inference.engine import Engine
from speech2lip.inference.motion.coverage import drawn_shares
from speech2lip.inference.motion.motion import mixed
from speech2lip.media.picture import rgb_from_coded
from speech2lip.media.video import VideoReader
from speech2lip.synthesis.speech import log_mel, mel_windows
from speech2lip.training.split import trainable

Moments = NDArray[np.float64]
Shares = NDArray[np.float64]
Draw = Callable[[list[int]], list[Picture]]


class Maker(Protocol):
    """Makes frames of a row."""

    def shares(self, take: Take) -> Shares:
        """Return how much of what is drawn each frame of a take shows; [T] in [0, 1]."""
        ...

    def make(self, take: Take, frames: Sequence[CodedFrame], mel: Tensor, moments: Moments) -> list[Picture]:
        """Show the frames with the lips of the moments [T] (seconds in `mel`); the sound may be another's."""
        ...


class RealVideo:
    """The frames themselves: what the measuring costs."""

    def shares(self, take: Take) -> Shares:
        """Every frame can be judged."""
        return np.ones(len(take.times))

    def make(self, take: Take, frames: Sequence[CodedFrame], mel: Tensor, moments: Moments) -> list[Picture]:
        """Return the frames as they are."""
        return [frame.rgb for frame in frames]


def mel_features(makers: Iterable[Maker], wave: NDArray[np.float32]) -> Tensor:
    """Return the spectrum of a wave [S] with all that any of the makers hears of it; [M, F].

    Raises:
        SettingsError: two of them hear with a pretrained encoder: what it hears has one place.
    """
    sound = torch.from_numpy(wave)
    hearing = [maker.engine for maker in makers if isinstance(maker, Spoken) and maker.engine.listener]
    if len(hearing) > 1:
        raise SettingsError("two avatars that hear with pretrained encoders cannot be judged at once")
    return hearing[0].mel_features(sound) if hearing else log_mel(sound)


@dataclass(frozen=True)
class _Pasting:
    engine: Engine
    usual: NDArray[np.float32]
    _shares: dict[str, Shares] = field(default_factory=dict, compare=False, kw_only=True)
    _tracks: dict[str, HeadTrack] = field(default_factory=dict, compare=False, kw_only=True)

    def shares(self, take: Take) -> Shares:
        """Return how much of the lips is drawn in each frame of a take: 0 where the head has turned away."""
        if take.name not in self._shares:
            bears, fps = self.engine.surface.bears_frames, float(take.fps)
            shots = np.split(take.camera_from_head, take.cuts)
            self._shares[take.name] = np.concatenate(
                [drawn_shares(bears(shot, fps=fps), fps=fps) for shot in shots]
            )
        return self._shares[take.name]

    def heads(self, take: Take, frames: Sequence[CodedFrame]) -> HeadTrack:
        """Return where and in what light the head is in frames of a take."""
        if take.name not in self._tracks:
            self._tracks[take.name] = HeadTrack.of_take(take, self.engine.avatar.canonical, self.usual)
        return self._tracks[take.name][[frame.index for frame in frames]]

    def show(self, take: Take, frames: Sequence[CodedFrame], draw: Draw) -> list[Picture]:
        """Return frames as `speak` shows them: drawn where they can be spoken over, coded, faded.

        Args:
            draw: returns the frames of some numbers, with lips, as they are coded.
        """
        shares = self.shares(take)[[frame.index for frame in frames]]
        shown = [frame.coded for frame in frames]
        drawn = np.flatnonzero(shares > 0).tolist()
        for number, made in zip(drawn, draw(drawn) if drawn else [], strict=True):
            share = float(shares[number])
            shown[number] = made if share == 1 else mixed(shown[number], made, share)
        return [rgb_from_coded(picture) for picture in shown]

    def paste(self, take: Take, frames: Sequence[CodedFrame], patches: Tensor) -> list[Picture]:
        def draw(which: list[int]) -> list[Picture]:
            some = [frames[number] for number in which]
            pictures = [frame.coded for frame in some]
            return self.engine.renderer.paste(pictures, self.heads(take, some), patches[which])

        return self.show(take, frames, draw)


class StaticLips(_Pasting):
    """The mean lip patch in every frame."""

    def make(self, take: Take, frames: Sequence[CodedFrame], mel: Tensor, moments: Moments) -> list[Picture]:
        """Paste the same lips everywhere."""
        return self.paste(take, frames, self.engine.renderer.mean.expand(len(frames), -1, -1, -1))


@dataclass(frozen=True)
class Nearest(_Pasting):
    """Lips of the training frame that sounds most alike."""

    lips: NearestLips

    def make(self, take: Take, frames: Sequence[CodedFrame], mel: Tensor, moments: Moments) -> list[Picture]:
        """Paste what was seen when it last sounded like this."""
        return self.paste(take, frames, self.lips.patches(mel[:MEL_BANDS], moments))


class Spoken(_Pasting):
    """The avatar."""

    def make(self, take: Take, frames: Sequence[CodedFrame], mel: Tensor, moments: Moments) -> list[Picture]:
        """Let the avatar speak."""
        spoken = self.engine.encode_speech(mel, moments)

        def draw(which: list[int]) -> list[Picture]:
            some = [frames[number] for number in which]
            pictures = [frame.coded for frame in some]
            return self.engine.renderer.speak(pictures, self.heads(take, some), spoken.of(which))

        return self.show(take, frames, draw)


def usual_light_of(avatar: Avatar) -> NDArray[np.float32]:
    """Return the skin colour that the avatar was trained in; [3]."""
    return np.array(avatar.info.median_skin_colour, np.float32)


def makers(avatar: Avatar, footage: Footage, engine: Engine, others: Mapping[str, Maker]) -> dict[str, Maker]:
    """Return the makers of all rows, in the table's order."""
    usual = usual_light_of(avatar)
    nearest = NearestLips(avatar, footage, engine.paster)
    rows: dict[str, Maker] = {"real_video": RealVideo(), "static_lips": StaticLips(engine, usual)}
    if len(nearest):
        rows["nearest"] = Nearest(engine, usual, nearest)
    return rows | {"ours": Spoken(engine, usual)} | dict(others)


MAX_FRAMES = 9000
"""Training frames that are searched, at most; longer footage is thinned evenly."""
PAST, AHEAD = 20, 15
"""Mel frames (10 ms) before and after the moment that are compared."""
POOLED = (16, 7)
"""Bands and steps that the window is averaged to."""
_READERS_KEPT = 16
_KEYS_AT_ONCE = 1000
"""Moments of a take that are described together."""


def speech_keys(mel: Tensor, times: NDArray[np.float64]) -> Tensor:
    """Describe moments [T] of a spectrum [M, F] so that what sounds alike lies close together; [T, 112]."""
    windows = mel_windows(mel, torch.from_numpy(times), torch.arange(-PAST, AHEAD))
    return functional.adaptive_avg_pool2d(windows[:, None], POOLED).flatten(1)


def _keys_of(take: Take, times: NDArray[np.float64]) -> Tensor:
    """Describe moments [T] of a take's sound."""
    wave, begins = take.wave_around(float(times[0]), float(times[-1]))
    return speech_keys(log_mel(torch.from_numpy(wave)), times - begins)


class NearestLips:
    """Finds lips by sound among the frames that the avatar was trained on; holds keys, not pictures."""

    def __init__(self, avatar: Avatar, footage: Footage, paster: Paster) -> None:
        self.paster = paster
        self._usual = np.array(avatar.info.median_skin_colour, np.float32)
        ranges = avatar.info.held_out
        seen = [take for take in footage.takes if take.name in avatar.info.takes]
        used = [(take, np.flatnonzero(trainable(take, ranges))) for take in seen]
        thin = max(1, -(-sum(len(frames) for _, frames in used) // MAX_FRAMES))
        self._frames: list[tuple[Take, int]] = []
        keys = []
        for take, frames in used:
            chosen = frames[::thin]
            for some in np.array_split(chosen, max(1, round(len(chosen) / _KEYS_AT_ONCE))):
                if len(some):
                    keys.append(_keys_of(take, take.times[some]))
                    self._frames += [(take, int(index)) for index in some]
        self._keys = torch.cat(keys) if keys else torch.zeros(0, POOLED[0] * POOLED[1])
        self._readers: OrderedDict[str, VideoReader] = OrderedDict()
        self._canonical = avatar.canonical
        self._tracks: dict[str, HeadTrack] = {}

    def __len__(self) -> int:
        return len(self._frames)

    def find(self, mel: Tensor, times: NDArray[np.float64]) -> list[tuple[Take, int]]:
        """Return take and frame index of the nearest training frame at moments [T] of a spectrum."""
        best = torch.cdist(speech_keys(mel, times), self._keys).argmin(dim=1)
        return [self._frames[int(index)] for index in best]

    def patches(self, mel: Tensor, times: NDArray[np.float64]) -> Tensor:
        """Return the lips of the nearest training frames, in canonical light; [T, 3, h, w]."""
        return torch.stack([self._patch(take, index) for take, index in self.find(mel, times)])

    def _patch(self, take: Take, index: int) -> Tensor:
        reader = self._reader(take)
        frame = next(iter(reader.frames(start_frame=index, stop_frame=index + 1)))
        picture = self.paster.tensor(frame.rgb).permute(2, 0, 1) / 255
        if take.name not in self._tracks:
            self._tracks[take.name] = HeadTrack.of_take(take, self._canonical, self._usual)
        return self.paster.patch_of(picture, self._tracks[take.name][index])

    def _reader(self, take: Take) -> VideoReader:
        """Return the take's reader, which remembers where its frames lie."""
        reader = self._readers.pop(take.name, None) or VideoReader(take.picture_path)
        self._readers[take.name] = reader
        if len(self._readers) > _READERS_KEPT:
            self._readers.popitem(last=False)
        return reader
