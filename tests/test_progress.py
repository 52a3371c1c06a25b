"""Progress is told with the time left, and never twice at once."""

from __future__ import annotations

import pytest

from speech2lip import progress as module
from speech2lip.progress import Progress


def test_the_line_tells_share_and_time_left() -> None:
    work = Progress("Reading", total=200, unit="frames")
    work.done = 50
    assert work.line(30.0) == "Reading: 50 of 200 frames (25 %), 0:01:30 left"
    work.done = 1
    assert work.line(60.0).endswith("3:19:00 left")
    work.done = 0
    assert work.line(5.0) == "Reading: 0 of 200 frames (0 %)"


def test_away_from_a_terminal_a_line_comes_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with Progress("Training", total=100) as work:
        for second in range(1, 31):
            now = float(second)
            work.set(second)
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_work_inside_work_is_silent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_LINE_SECONDS", -1.0)
    with Progress("outer", total=1) as outer, Progress("inner", total=1) as inner:
        inner.set(1)
        outer.set(1, 2)
    assert capsys.readouterr().err == "outer: 1 of 2 (50 %), 0:00:00 left\n"
    with Progress("after", total=1) as after:
        after.set(1)
    assert "after" in capsys.readouterr().err


def test_a_fault_lets_the_next_one_speak(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError), Progress("bad", total=1):
        raise RuntimeError
    assert module._active is None


def test_the_bar_of_a_terminal_is_drawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr(module, "_REDRAW_SECONDS", -1.0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with Progress("Filming", total=1, unit="frames") as work:
        work.set(3, 4)
    told = capsys.readouterr().err
    assert "Filming" in told
    assert "3/4" in told
