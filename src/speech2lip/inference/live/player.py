"""The clock of live speech: a frame every tick, late ones left out, sound never."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event

from speech2lip.inference.stream import SpeechStream, Streamed

_PATIENCE = 0.06
"""Seconds that the clock waits for sound that is late before silence stands for it."""
_POLL = 0.004


@dataclass
class Played:
    """What was played so far."""

    frames: int = 0
    left_out: int = 0
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
            self.played.left_out += one.coded is None
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
