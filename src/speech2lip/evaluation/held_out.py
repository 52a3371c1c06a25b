"""The frames that an avatar has never seen, in order and with bounded memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from speech2lip.arrays import Array, Floats, Picture
from speech2lip.avatar import Avatar
from speech2lip.decomposition.footage import WHOLE_SECONDS, Footage, Take
from speech2lip.errors import FootageError
from speech2lip.media.picture import rgb_from_coded
from speech2lip.media.video import CodedReader

BATCH = 8
"""Frames drawn at once."""
PART_SECONDS = 60.0
"""Long takes are judged in parts of about this length."""


@dataclass(frozen=True)
class CodedFrame:
    """One picture of a take as it is coded: what `speak` begins with."""

    index: int
    time: float
    """Seconds from the first frame of the take."""
    coded: Picture
    """uint8 [3 H / 2, W], yuv420p in BT.709 video range."""

    @cached_property
    def rgb(self) -> Picture:
        """The picture as people see it; uint8 [H, W, 3]."""
        return rgb_from_coded(self.coded)


@dataclass(frozen=True)
class Span:
    """Frames of a take that an avatar has never seen."""

    take: Take
    start: int
    stop: int
    """Not included."""

    @property
    def times(self) -> Array:
        """Seconds of the take, of every frame; [T]."""
        return self.take.times[self.start : self.stop]

    @property
    def kept(self) -> NDArray[np.intp]:
        """Indices of the frames that can be judged (face found, colours whole)."""
        return self.start + np.flatnonzero(self.take.rejection[self.start : self.stop] == 0)

    @property
    def lip_opening(self) -> Array:
        """True lip opening of every frame, in eye distances; [T], NaN where none can be judged."""
        opening = self.take.lip_opening[self.start : self.stop].astype(np.float64)
        opening[self.take.rejection[self.start : self.stop] != 0] = math.nan
        return opening

    def sound(self) -> tuple[Floats, float]:
        """Return the sound of the span and around it, [S], and the second of the take at which it begins."""
        return self.take.wave_around(float(self.times[0]), float(self.times[-1]))

    def overlaps(self, other: Span) -> bool:
        """Tell whether the two share frames."""
        return self.take.name == other.take.name and self.start < other.stop and other.start < self.stop

    def shots(self) -> list[Span]:
        """Return the stretches between the cuts of the take."""
        cuts = [int(cut) for cut in self.take.cuts if self.start < cut < self.stop]
        return self._split([self.start, *cuts, self.stop])

    def _split(self, edges: list[int]) -> list[Span]:
        return [Span(self.take, a, b) for a, b in itertools.pairwise(edges)]

    def parts(self) -> list[Span]:
        """Return the span in parts of about a minute if the take is a long one, so that memory is bounded."""
        if self.take.seconds <= WHOLE_SECONDS:
            return [self]
        length = max(1, round(PART_SECONDS * float(self.take.fps)))
        count = max(1, round((self.stop - self.start) / length))
        return self._split(np.linspace(self.start, self.stop, count + 1).astype(int).tolist())

    def middle(self, count: int) -> Span:
        """Return at most `count` frames from the middle."""
        return self.part(max(0, (self.stop - self.start - count) // 2), count)

    def batches(self, size: int = BATCH) -> Iterator[list[CodedFrame]]:
        """Decode the frames that can be judged, a few at a time; a batch never spans a gap."""
        batch: list[CodedFrame] = []
        with closing(CodedReader(self.take.picture_path)) as reader:
            for first in range(self.start, self.stop, size):
                pictures = reader.read(first, min(first + size, self.stop))
                for index, picture in enumerate(pictures, first):
                    kept = self.take.rejection[index] == 0
                    if kept:
                        batch.append(CodedFrame(index, float(self.take.times[index]), picture))
                    if batch and (len(batch) == size or not kept):
                        yield batch
                        batch = []
        if batch:
            yield batch

    def part(self, start: int, count: int) -> Span:
        """Return at most `count` frames from the `start`-th on."""
        first = min(self.start + start, self.stop)
        return Span(self.take, first, min(first + count, self.stop))


def unseen_parts(avatar: Avatar, footage: Footage) -> list[Span]:
    """Do as `unseen_spans`; long takes in parts, and only those in which something can be judged."""
    return [part for span in unseen_spans(avatar, footage) for part in span.parts() if len(part.kept)]


def unseen_spans(avatar: Avatar, footage: Footage) -> list[Span]:
    """List the frames of the footage that the avatar has never seen.

    Raises:
        FootageError: there are none, or the footage is not the avatar's.
    """
    takes = {take.name: take for take in footage.takes}
    held = avatar.info.held_out
    spans = [Span(takes[name], start, stop) for name, (start, stop) in held.items() if name in takes]
    spans += [Span(take, 0, len(take.times)) for take in footage.takes if take.name not in avatar.info.takes]
    spans = [span for span in spans if len(span.kept)]
    if not spans:
        raise FootageError(
            f"{avatar.folder} has seen every frame of {footage.folder}; train without --hold-out 0, or "
            "prepare other takes"
        )
    return spans
