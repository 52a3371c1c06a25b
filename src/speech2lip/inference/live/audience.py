"""Who watches: packets of picture and sound for any number of viewers, none of whom can hold up the rest."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from threading import Condition

KEPT_SECONDS = 10.0
_LATE = 5
"""Packets behind which a viewer gets the sound alone, until it has caught up."""


@dataclass(frozen=True)
class Packet:
    """One frame's picture and sound."""

    number: int
    time: float
    """Seconds from the beginning."""
    jpeg: bytes
    """Empty where the frame was left out."""
    sound: bytes
    """16-bit samples, low byte first."""

    def coded(self) -> bytes:
        """Return the packet as the page reads it: time, bytes of picture, bytes of sound, picture, sound."""
        return struct.pack("<dII", self.time, len(self.jpeg), len(self.sound)) + self.jpeg + self.sound


class Audience:
    """Holds the packets of the last ten seconds for its viewers."""

    def __init__(self, *, fps: float) -> None:
        self._packets: deque[Packet] = deque(maxlen=max(1, round(KEPT_SECONDS * fps)))
        self._change = Condition()
        self._next = 0
        self._closed = False
        self.viewers = 0
        self.spared = 0
        """Pictures that were not sent to viewers who were late."""

    def show(self, time: float, jpeg: bytes, sound: bytes) -> None:
        """Hand the next packet to all viewers."""
        with self._change:
            self._packets.append(Packet(self._next, time, jpeg, sound))
            self._next += 1
            self._change.notify_all()

    def close(self) -> None:
        """End every viewer's packets after those that are there."""
        with self._change:
            self._closed = True
            self._change.notify_all()

    def wait_for_viewer(self, timeout: float) -> bool:
        """Wait until somebody watches; False when nobody came in time."""
        with self._change:
            return self._change.wait_for(lambda: self.viewers > 0 or self._closed, timeout)

    def packets(self) -> Iterator[Packet]:
        """Yield packets from now on, each once, all sound in order; ends for a viewer ten seconds late."""
        with self._change:
            wanted = self._next
            self.viewers += 1
            self._change.notify_all()
        try:
            while True:
                with self._change:
                    self._change.wait_for(lambda wanted=wanted: self._next > wanted or self._closed)  # type: ignore[misc]
                    if self._next <= wanted or wanted < self._packets[0].number:
                        return
                    packet = self._packets[wanted - self._packets[0].number]
                    late = self._next - wanted > _LATE
                if late and packet.jpeg:
                    packet = replace(packet, jpeg=b"")
                    self.spared += 1
                wanted += 1
                yield packet
        finally:
            with self._change:
                self.viewers -= 1
