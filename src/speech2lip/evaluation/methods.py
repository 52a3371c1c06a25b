"""The rows of the table: methods that make the frames that are judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from speech2lip.arrays import Array, Floats, Picture
from speech2lip.composition.coverage import drawn_shares
from speech2lip.conventions import MEL_BANDS
from speech2lip.decomposition.footage import Footage, Take
from speech2lip.errors import SettingsError
from speech2lip.evaluation.held_out import CodedFrame
from speech2lip.head_track import HeadTrack
from speech2lip.inference.engine import Engine
from speech2lip.inference.motion import mixed
from speech2lip.media.picture import rgb_from_coded
from speech2lip.media.video import VideoReader
from speech2lip.synthesis.speech import log_mel, mel_windows
from speech2lip.training.split import trainable

MAX_FRAMES = 9000
"""Training frames that are searched, at most; longer footage is thinned evenly."""
_COMPARED = torch.arange(-20, 15)
"""Mel frames (10 ms) around the moment that are compared."""
POOLED = (16, 7)
"""Bands and steps that the window is averaged to."""
_KEYS_AT_ONCE = 1000
"""Moments of a take that are described together."""


class Method:
    """Makes the frames of a row; as it stands, the real video's: what the measuring costs."""

    def shares(self, take: Take) -> Array:
        """Return how much of what is drawn each frame of a take shows; [T] in [0, 1]."""
        return np.ones(len(take.times))

    def make(self, take: Take, frames: Sequence[CodedFrame], mel: Tensor, moments: Array) -> list[Picture]:
        """Show the frames with the lips of the moments [T] (seconds in `mel`); the sound may be another's."""
        return [frame.rgb for frame in frames]


class _Drawn(Method, ABC):
    """Frames with other lips, as `speak` shows them."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._tracks: dict[str, HeadTrack] = {}
        self._shares: dict[str, Array] = {}

    @abstractmethod
    def draw(self, coded: list[Picture], head: HeadTrack, mel: Tensor, moments: Array) -> list[Picture]:
        """Return coded pictures with the lips of the moments."""

    def shares(self, take: Take) -> Array:
        """Return how much of the lips is drawn in each frame of a take: 0 where the head has turned away."""
        if take.name not in self._shares:
            bears, fps = self.engine.surface.bears_frames, float(take.fps)
            shots = np.split(take.camera_from_head, take.cuts)
            shares = [drawn_shares(bears(shot, fps=fps), fps=fps) for shot in shots]
            self._shares[take.name] = np.concatenate(shares)
        return self._shares[take.name]

    def head(self, take: Take) -> HeadTrack:
        """Return where and in what light the head is in a take."""
        if take.name not in self._tracks:
            skin_colour = np.array(self.engine.avatar.info.median_skin_colour, np.float32)
            self._tracks[take.name] = HeadTrack.of_take(take, self.engine.avatar.canonical, skin_colour)
        return self._tracks[take.name]

    def make(self, take: Take, frames: Sequence[CodedFrame], mel: Tensor, moments: Array) -> list[Picture]:
        """Draw where the head can be spoken over, code, fade."""
        indices = np.array([frame.index for frame in frames])
        shares = self.shares(take)[indices]
        shown = [frame.coded for frame in frames]
        drawn = np.flatnonzero(shares > 0)
        if len(drawn):
            head = self.head(take)[indices[drawn]]
            made = self.draw([shown[number] for number in drawn], head, mel, moments[drawn])
            for number, picture in zip(drawn.tolist(), made, strict=True):
                share = float(shares[number])
                shown[number] = picture if share == 1 else mixed(shown[number], picture, share)
        return [rgb_from_coded(picture) for picture in shown]


class StaticLips(_Drawn):
    """The mean lip patch in every frame."""

    def draw(self, coded: list[Picture], head: HeadTrack, mel: Tensor, moments: Array) -> list[Picture]:
        """Paste the same lips everywhere."""
        mean = self.engine.renderer.mean.expand(len(coded), -1, -1, -1)
        return self.engine.renderer.paste(coded, head, mean)


class AvatarLips(_Drawn):
    """The avatar, drawn as it ships."""

    def draw(self, coded: list[Picture], head: HeadTrack, mel: Tensor, moments: Array) -> list[Picture]:
        """Let the avatar speak."""
        speech = self.engine.encode_speech(mel, moments)
        return self.engine.renderer.speak(coded, head, speech)


class NearestSound(_Drawn):
    """Lips of the training frame that sounds most alike; holds keys, not pictures."""

    def __init__(self, engine: Engine, footage: Footage) -> None:
        super().__init__(engine)
        self._reader = lru_cache(maxsize=16)(VideoReader)
        known = engine.avatar.info
        seen = [take for take in footage.takes if take.name in known.takes]
        used = [(take, np.flatnonzero(trainable(take, known.held_out))) for take in seen]
        thin = max(1, -(-sum(len(frames) for _, frames in used) // MAX_FRAMES))
        self.frames: list[tuple[Take, int]] = []
        """Take and frame index of each key."""
        keys = [torch.zeros(0, POOLED[0] * POOLED[1])]
        for take, frames in used:
            chosen = frames[::thin]
            for some in np.array_split(chosen, max(1, round(len(chosen) / _KEYS_AT_ONCE))):
                if len(some):
                    times = take.times[some]
                    wave, begins = take.wave_around(float(times[0]), float(times[-1]))
                    keys.append(speech_keys(log_mel(torch.from_numpy(wave)), times - begins))
                    self.frames += [(take, int(index)) for index in some]
        self._keys = torch.cat(keys)

    def draw(self, coded: list[Picture], head: HeadTrack, mel: Tensor, moments: Array) -> list[Picture]:
        """Paste what was seen when it last sounded like this."""
        lips = [self.lips(take, index) for take, index in self.find(mel[:MEL_BANDS], moments)]
        return self.engine.renderer.paste(coded, head, torch.stack(lips))

    def find(self, mel: Tensor, times: Array) -> list[tuple[Take, int]]:
        """Return take and frame index of the nearest training frame at moments [T] of a spectrum."""
        best = torch.cdist(speech_keys(mel, times), self._keys).argmin(dim=1)
        return [self.frames[int(index)] for index in best]

    def lips(self, take: Take, index: int) -> Tensor:
        """Return the lips of a frame, in canonical light; [3, h, w]."""
        frame = next(iter(self._reader(take.picture_path).frames(start_frame=index, stop_frame=index + 1)))
        picture = self.engine.paster.tensor(frame.rgb).permute(2, 0, 1) / 255
        return self.engine.paster.patch_of(picture, self.head(take)[index])


def speech_keys(mel: Tensor, times: Array) -> Tensor:
    """Describe moments [T] of a spectrum [M, F] so that what sounds alike lies close together; [T, 112]."""
    windows = mel_windows(mel, torch.from_numpy(times), _COMPARED)
    return functional.adaptive_avg_pool2d(windows[:, None], POOLED).flatten(1)


def mel_features(methods: Iterable[Method], wave: Floats) -> Tensor:
    """Return the spectrum of a wave [S] with all that any of the methods hears of it; [M, F].

    Raises:
        SettingsError: two of them hear with a pretrained encoder: what it hears has one place.
    """
    sound = torch.from_numpy(wave)
    hearing = [one.engine for one in methods if isinstance(one, AvatarLips) and one.engine.listener]
    if len(hearing) > 1:
        raise SettingsError("two avatars that hear with pretrained encoders cannot be judged at once")
    return hearing[0].mel_features(sound) if hearing else log_mel(sound)


def all_methods(engine: Engine, footage: Footage) -> dict[str, Method]:
    """Return the methods of all rows, in the table's order."""
    nearest = NearestSound(engine, footage)
    methods: dict[str, Method] = {"real_video": Method(), "static_lips": StaticLips(engine)}
    if nearest.frames:
        methods["nearest"] = nearest
    return methods | {"ours": AvatarLips(engine)}
