"""Items worked out ahead, in another thread."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import closing

import pytest

from speech2lip.parallel import prefetch


def _counting(log: list[str], *, upto: int, fails_at: int = -1) -> Generator[int]:
    try:
        for i in range(upto):
            if i == fails_at:
                raise ValueError("no such item")
            log.append(threading.current_thread().name)
            yield i
    finally:
        log.append("closed")


def test_all_items_come_in_order_from_another_thread() -> None:
    log: list[str] = []
    assert list(prefetch(_counting(log, upto=20))) == list(range(20))
    assert log[-1] == "closed"
    assert threading.current_thread().name not in log
    assert len(log) == 21


def test_none_and_fewer_than_are_looked_ahead() -> None:
    assert list(prefetch(_counting([], upto=0))) == []
    assert list(prefetch(_counting([], upto=2), most=9)) == [0, 1]


def test_an_error_comes_out_after_the_items_before_it() -> None:
    log: list[str] = []
    got: list[int] = []
    with pytest.raises(ValueError, match="no such item"):
        got.extend(prefetch(_counting(log, upto=9, fails_at=3)))
    assert got == [0, 1, 2]
    assert log[-1] == "closed"


def test_closing_stops_the_work() -> None:
    log: list[str] = []
    with closing(prefetch(_counting(log, upto=10_000), most=3)) as items:
        next(items)
    assert log[-1] == "closed"
    assert len(log) < 10
