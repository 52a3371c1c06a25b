"""How much this process may do at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import speech2lip
from speech2lip.parallel import usable_cores


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
