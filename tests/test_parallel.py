"""How much this process may do at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest

import speech2lip
from speech2lip.parallel import prefetch, usable_cores


def test_cores_that_belong_to_others_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5, 3}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert usable_cores() == [3, 5]


def test_where_affinity_is_unknown_all_cores_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert usable_cores() == [0, 1, 2]


def test_nobody_counts_cores_by_himself() -> None:
    counting = [
        path.name
        for path in Path(speech2lip.__file__).parent.rglob("*.py")
        if "cpu_count" in path.read_text()
    ]
    assert counting == ["parallel.py"]


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
