"""A moving part of a sound, addressed by its place in the whole, and what of it is heard at a frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from speech2lip.arrays import Floats
from speech2lip.config import ModelSettings
from speech2lip.conventions import MEL_RATE, SAMPLE_RATE
from speech2lip.synthesis.pretrained import STEP
from speech2lip.synthesis.speech import heard_seconds


class AudioBuffer:
    """Samples [S, C] of which the beginning is forgotten; zeros beyond the end."""

    def __init__(self, channels: int) -> None:
        self._parts: list[Floats] = []
        self._channels = channels
        self._begin = 0
        self.end = 0
        """Number of samples that were pushed, forgotten ones too."""

    def push(self, block: Floats) -> None:
        """Append samples [S, C] or [S]."""
        self._parts.append(block.reshape(-1, self._channels))
        self.end += len(block)

    def cut(self, start: int, stop: int) -> Floats:
        """Return [stop - start, C] and forget what lies before `start`."""
        every = self._joined()[max(0, start - self._begin) :]
        self._parts, self._begin = [every], max(self._begin, min(start, self.end))
        found = every[: max(0, stop - self._begin)]
        return np.pad(found, ((0, stop - start - len(found)), (0, 0)))

    def end_at(self, stop: int, *, fade: int) -> None:
        """Forget what lies after `stop`, filling up with silence, and fade out the last samples before it."""
        kept = self._joined()[: max(0, stop - self._begin)].copy()
        kept = np.pad(kept, ((0, max(0, stop - self._begin - len(kept))), (0, 0)))
        fade = min(fade, len(kept))
        if fade:
            kept[len(kept) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None]
        self._parts, self.end = [kept], stop

    def _joined(self) -> Floats:
        if not self._parts:
            return np.zeros((0, self._channels), np.float32)
        return np.concatenate(self._parts) if len(self._parts) > 1 else self._parts[0]


_MEL_MARGIN = 4
"""Mel frames beyond a window that its edges depend on."""


@dataclass(frozen=True)
class HeardWindows:
    """What an encoder hears of a sound at the frames of a video.

    The sound stands in a buffer at 16 kHz that begins with `past` samples of silence.
    """

    fps: Fraction
    past: int
    """Samples before a frame that are heard."""
    ahead: int
    """Samples after it."""

    @staticmethod
    def of(settings: ModelSettings, fps: Fraction) -> HeardWindows:
        """Return what a model hears."""
        past, ahead = heard_seconds(settings)
        return HeardWindows(
            fps,
            past=math.ceil((past + _MEL_MARGIN / MEL_RATE) * SAMPLE_RATE / STEP) * STEP,
            ahead=math.ceil(ahead * MEL_RATE + _MEL_MARGIN) * SAMPLE_RATE // MEL_RATE,
        )

    def new_buffer(self) -> AudioBuffer:
        """Return a buffer for the sound, with the silence before it."""
        buffer = AudioBuffer(1)
        buffer.push(np.zeros(self.past, np.float32))
        return buffer

    def place(self, frame: int) -> int:
        """Return the sample in the buffer at which a frame is shown."""
        return self.past + math.ceil(frame * SAMPLE_RATE / self.fps)

    def begin(self, frame: int) -> int:
        """Return the first sample that is heard at a frame.

        It lies on the raster of mel frames and of a pretrained encoder's steps, so that every part of a sound
        hears what the whole would.
        """
        return math.floor(frame * SAMPLE_RATE / self.fps) // STEP * STEP

    def end(self, frame: int) -> int:
        """Return the sample after the last one that is heard at a frame."""
        return self.place(frame) + 1 + self.ahead

    def cut(self, heard: AudioBuffer, first: int, stop: int) -> tuple[Floats, list[float]]:
        """Return what is heard at frames, [S], and their times in it; what lies before is forgotten."""
        begin = self.begin(first)
        wave = heard.cut(begin, self.end(stop - 1))[:, 0]
        start = Fraction(self.past - begin, SAMPLE_RATE)
        return wave, [float(frame / self.fps + start) for frame in range(first, stop)]
