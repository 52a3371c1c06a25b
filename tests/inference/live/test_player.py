from __future__ import annotations

from fractions import Fraction
from threading import Event, Thread

import numpy as np
import pytest

from speech2lip.inference.live import player
from speech2lip.inference.live.player import Audience, Packet, Player
from speech2lip.inference.stream import Streamed

PATIENCE = 60.0
"""Seconds to wait for another thread: on a busy machine it may be long in coming."""


class Clock:
    """A clock that moves only when somebody sleeps: no other load disturbs it."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(player, "time", clock)
    return clock


class Made:
    """A stream whose frames are always ready and take a given time to draw."""

    fps = Fraction(50)
    finished = False

    def __init__(self, clock: Clock, seconds: float, count: int) -> None:
        self.clock, self.seconds, self.count, self.pulled = clock, seconds, count, 0

    def pull(self, *, silence: bool = False, draw: bool = True) -> Streamed | None:
        if self.pulled == self.count:
            self.finished = True
            return None
        self.pulled += 1
        if draw:
            self.clock.sleep(self.seconds)
        picture = np.zeros((3, 2), np.uint8) if draw else None
        return Streamed(self.pulled / 50, picture, np.full((4, 1), self.pulled, np.float32))


def test_overload_leaves_frames_out_evenly_and_no_sound(clock: Clock) -> None:
    shown: list[Streamed] = []
    made = Made(clock, 0.045, 60)
    player = Player(made, shown.append)  # type: ignore[arg-type]
    player.run(Event())
    assert [one.sound[0, 0] for one in shown] == list(range(1, 61))
    drawn = [i for i, one in enumerate(shown) if one.coded is not None]
    assert player.played.frames_dropped == 60 - len(drawn)
    # A picture takes 45 ms and one is due every 20 ms: every second or third can be drawn.
    assert 60 / 3 <= len(drawn) <= 60 / 2
    assert set(np.diff(drawn)) <= {2, 3}
    # The sound keeps its pace: 60 frames of 20 ms.
    assert clock.now - 100 == pytest.approx(1.2, abs=0.06)


def test_nothing_is_left_out_where_there_is_time(clock: Clock) -> None:
    shown: list[Streamed] = []
    Player(Made(clock, 0.015, 25), shown.append).run(Event())  # type: ignore[arg-type]
    assert all(one.coded is not None for one in shown)
    assert clock.now - 100 == pytest.approx(25 / 50, abs=0.03)


def test_a_slow_viewer_is_spared_pictures_and_keeps_the_sound() -> None:
    audience = Audience(fps=10)
    packets = audience.packets()
    got: list[Packet] = []
    busy = Event()

    def watch() -> None:
        for packet in packets:
            got.append(packet)
            busy.wait(PATIENCE)  # all are shown while the first one is looked at

    thread = Thread(target=watch)
    thread.start()
    assert audience.wait_for_viewer(PATIENCE)
    for i in range(40):
        audience.show(i / 10, b"picture", bytes([i]))
    audience.close()
    busy.set()
    thread.join(PATIENCE)
    assert [packet.sound for packet in got] == [bytes([i]) for i in range(40)]
    # The thread may have looked at the first one early or late; all others but the last few are late.
    without = sum(packet.jpeg == b"" for packet in got)
    assert 30 < without == audience.spared
    assert got[-1].jpeg
    assert audience.viewers == 0


def test_a_viewer_who_sleeps_is_let_go_and_memory_is_bounded() -> None:
    audience = Audience(fps=2)
    packets = audience.packets()
    thread = Thread(target=lambda: next(packets, None))
    thread.start()
    assert audience.wait_for_viewer(PATIENCE)
    for i in range(100):
        audience.show(i / 2, b"picture", b"sound")
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert len(audience._packets) == 20
    assert next(packets, None) is None
