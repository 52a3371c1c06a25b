"""The order in which base frames are shown under speech of any length: forward and back, never a jump."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from speech2lip.avatar import BaseTake
from speech2lip.media.video import Frame

_CHUNK = 25
"""Frames decoded at once; our base takes have a key frame every second."""
_CHUNKS_KEPT = 3


def there_and_back(count: int, start: int = 0) -> Iterator[int]:
    """Yield frame indices without end: from `start` to the last, back to the first, and again; the ends
    are shown once.
    """
    if count == 1:
        while True:
            yield 0
    index, step = min(max(start, 0), count - 1), 1
    while True:
        yield index
        if not 0 <= index + step < count:
            step = -step
        index += step


class BaseFrames:
    """Gives frames of a base take in any order near one another, decoding chunks and keeping the last few."""

    def __init__(self, take: BaseTake) -> None:
        self.take = take
        self._chunks: OrderedDict[int, list[Frame]] = OrderedDict()

    def __getitem__(self, index: int) -> Frame:
        chunk = index // _CHUNK
        if chunk not in self._chunks:
            start = chunk * _CHUNK
            self._chunks[chunk] = list(self.take.frames(start, min(start + _CHUNK, len(self.take.times))))
            if len(self._chunks) > _CHUNKS_KEPT:
                self._chunks.popitem(last=False)
        self._chunks.move_to_end(chunk)
        return self._chunks[chunk][index - chunk * _CHUNK]
