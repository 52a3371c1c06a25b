"""The clock of live speech, a frame every tick, and who watches: late ones lose pictures, never sound."""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from threading import Condition, Event

from speech2lip.inference.stream import SpeechStream, Streamed

_PATIENCE = 0.06
"""Seconds that the clock waits for sound that is late before silence stands for it."""
_POLL = 0.004
KEPT_SECONDS = 10.0
_LATE = 5
"""Packets behind which a viewer gets the sound alone, until it has caught up."""


@dataclass
class Played:
    """What was played so far."""

    frames: int = 0
    frames_dropped: int = 0
    """Frames that could not be drawn in time; their sound was played."""
    silent: int = 0
    """Frames that were shown in silence, as no sound had come."""
    slowest: float = 0.0
    """Seconds that the slowest frame took."""


class Player:
    """Pulls frames from a stream at its frame rate and shows them."""

    def __init__(self, speech: SpeechStream, show: Callable[[Streamed], None]) -> None:
        self.speech, self.show = speech, show
        self.played = Played()
        self._step = 1 / float(speech.fps)
        self._starved = True

    def run(self, stop: Event) -> None:
        """Play until the stream has ended or `stop` is set."""
        due = time.monotonic()
        while not stop.is_set():
            time.sleep(max(0.0, due - time.monotonic()))
            late = time.monotonic() - due > self._step
            began = time.monotonic()
            one = self._next(stop, draw=not late)
            if one is None:
                return
            waited = self._waited
            self.show(one)
            self.played.frames += 1
            self.played.frames_dropped += one.coded is None
            self.played.slowest = max(self.played.slowest, time.monotonic() - began - waited)
            # Sound that comes a little late moves the clock on; it never runs ahead of the sound again.
            due += self._step + waited

    def _next(self, stop: Event, *, draw: bool) -> Streamed | None:
        self._waited = 0.0
        began = time.monotonic()
        patience = 0.0 if self._starved else _PATIENCE
        while (one := self.speech.pull(draw=draw)) is None and not self.speech.finished:
            if stop.is_set():
                return None
            if time.monotonic() - began >= patience:
                self._starved = True
                self.played.silent += 1
                self._waited = time.monotonic() - began if patience else 0.0
                return self.speech.pull(silence=True, draw=draw)
            time.sleep(_POLL)
            self._waited = time.monotonic() - began
        self._starved = False
        return one


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
