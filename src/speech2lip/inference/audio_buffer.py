"""A moving part of a sound, addressed by its place in the whole: what live and offline speech keep of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]


class AudioBuffer:
    """Samples [S, C] of which the beginning is forgotten; zeros beyond the end."""

    def __init__(self, channels: int) -> None:
        self._parts: list[Samples] = []
        self._channels = channels
        self._begin = 0
        self.end = 0
        """Number of samples that were pushed, forgotten ones too."""

    def push(self, block: Samples) -> None:
        """Append samples [S, C] or [S]."""
        self._parts.append(block.reshape(-1, self._channels))
        self.end += len(block)

    def cut(self, start: int, stop: int) -> Samples:
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

    def _joined(self) -> Samples:
        if not self._parts:
            return np.zeros((0, self._channels), np.float32)
        return np.concatenate(self._parts) if len(self._parts) > 1 else self._parts[0]
