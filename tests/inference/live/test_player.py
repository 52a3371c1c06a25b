from __future__ import annotations

import time
from fractions import Fraction
from threading import Event, Thread

import numpy as np

from speech2lip.inference.live.audience import Audience
from speech2lip.inference.live.player import Player
from speech2lip.inference.stream import Streamed


class Made:
    """A stream whose frames are always ready and take a given time to draw."""

    fps = Fraction(50)
    finished = False

    def __init__(self, seconds: float, count: int) -> None:
        self.seconds, self.count, self.pulled = seconds, count, 0

    def pull(self, *, silence: bool = False, draw: bool = True) -> Streamed | None:
        if self.pulled == self.count:
            self.finished = True
            return None
        self.pulled += 1
        if draw:
            time.sleep(self.seconds)
        picture = np.zeros((3, 2), np.uint8) if draw else None
        return Streamed(self.pulled / 50, picture, np.full((4, 1), self.pulled, np.float32))


def test_overload_leaves_frames_out_evenly_and_no_sound() -> None:
    shown: list[Streamed] = []
    made = Made(0.045, 60)
    player = Player(made, shown.append)  # type: ignore[arg-type]
    player.run(Event())
    assert [one.sound[0, 0] for one in shown] == list(range(1, 61))
    gone = [i for i, one in enumerate(shown) if one.coded is None]
    assert player.played.left_out == len(gone)
    assert 20 < len(gone) < 50
    assert np.diff(gone).max() <= 4


def test_nothing_is_left_out_where_there_is_time() -> None:
    shown: list[Streamed] = []
    began = time.monotonic()
    Player(Made(0.0, 25), shown.append).run(Event())  # type: ignore[arg-type]
    assert sum(one.coded is None for one in shown) <= 2
    assert time.monotonic() - began > 0.4


def test_a_slow_viewer_is_spared_pictures_and_keeps_the_sound() -> None:
    audience = Audience(fps=10)
    packets = audience.packets()
    got = []

    def watch() -> None:
        for packet in packets:
            got.append(packet)
            time.sleep(0.02)

    thread = Thread(target=watch)
    thread.start()
    assert audience.wait_for_viewer(5)
    for i in range(40):
        audience.show(i / 10, b"picture", bytes([i]))
        time.sleep(0.002)
    audience.close()
    thread.join(10)
    assert [packet.sound for packet in got] == [bytes([i]) for i in range(40)]
    without = sum(packet.jpeg == b"" for packet in got)
    assert 0 < without == audience.spared
    assert got[-1].jpeg
    assert audience.viewers == 0


def test_a_viewer_who_sleeps_is_let_go_and_memory_is_bounded() -> None:
    audience = Audience(fps=2)
    packets = audience.packets()
    thread = Thread(target=lambda: next(packets, None))
    thread.start()
    assert audience.wait_for_viewer(5)
    for i in range(100):
        audience.show(i / 2, b"picture", b"sound")
    thread.join(5)
    assert len(audience._packets) == 20
    assert next(packets, None) is None
