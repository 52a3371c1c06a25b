"""A row that any system must beat to deserve its training: lips of the frame that sounds most alike."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from speech2lip.avatar import Avatar
from speech2lip.composition.paste import Paster, Place
from speech2lip.composition.pose_mapping import look_up, observed_from_canonical_points
from speech2lip.decomposition.footage import Footage, Take
from speech2lip.media.video import VideoReader
from speech2lip.synthesis.speech import log_mel, mel_windows
from speech2lip.training.dataset import place_of
from speech2lip.training.split import trainable

MAX_FRAMES = 9000
"""Training frames that are searched, at most; longer footage is thinned evenly."""
PAST, AHEAD = 20, 15
"""Mel frames (10 ms) before and after the moment that are compared."""
POOLED = (16, 7)
"""Bands and steps that the window is averaged to."""
_READERS_KEPT = 16
_KEYS_AT_ONCE = 1000
"""Moments of a take that are described together."""

Picture = NDArray[np.uint8]


def canonical_patch(paster: Paster, picture: Picture, place: Place) -> Tensor:
    """Bring the mouth of a frame [H, W, 3] into canonical space and light; [3, h, w] in [0, 1]."""
    whole = torch.from_numpy(picture).to(paster.device).permute(2, 0, 1)[None].float() / 255
    transform = paster.observed_from_canonical(place.camera_from_head)[None]
    points = paster.patch_points.reshape(1, -1, 2)
    where = observed_from_canonical_points(points, paster.depth, transform, paster.k, place.k)
    patch = look_up(whole, where).reshape(3, *paster.patch_points.shape[:2]) / place.light[:, None, None]
    return patch.clamp(0, 1)


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
        self._usual = np.array(avatar.info.usual_light, np.float32)
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
        return canonical_patch(self.paster, frame.rgb, moved(place_of(take, index, self._usual), self.paster))

    def _reader(self, take: Take) -> VideoReader:
        """Return the take's reader, which remembers where its frames lie."""
        reader = self._readers.pop(take.name, None) or VideoReader(take.picture_path)
        self._readers[take.name] = reader
        if len(self._readers) > _READERS_KEPT:
            self._readers.popitem(last=False)
        return reader


def moved(place: Place, paster: Paster) -> Place:
    """Return a place with its tensors on the paster's device."""
    device = paster.device
    return Place(**{name: value.to(device) for name, value in vars(place).items()})


def places_of(paster: Paster, take: Take, indices: Sequence[int], usual: NDArray[np.float32]) -> list[Place]:
    """Return where and in what light the head is in frames of a take, on the paster's device."""
    return [moved(place_of(take, index, usual), paster) for index in indices]
