"""How far long work is and how much time is left: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from typing_extensions import Self

_REDRAW_SECONDS = 0.2
_LINE_SECONDS = 10.0

_active: Progress | None = None


class Progress:
    """Shows one piece of work while its `with` block runs; work inside other work stays silent.

    Args:
        label: What is being done.
        total: The size of the work; `done` grows to it.
        unit: What `total` counts.
    """

    def __init__(self, label: str, *, total: float, unit: str = "") -> None:
        self.label = label
        self.total = total
        self.unit = unit
        self.done = 0.0
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        global _active
        self._began = self._shown = time.monotonic()
        if _active is None:
            _active = self
            if sys.stderr.isatty():
                self._bar = _start_bar(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        global _active
        if _active is self:
            _active = None
        if self._bar is not None:
            if kind is None:
                self._bar.update(self._bar.task_ids[0], completed=self.total)
            self._bar.stop()

    def set(self, done: float, total: float | None = None) -> None:
        """Say how much is done, and of how much where more is known than at the beginning."""
        self.done, self.total = done, self.total if total is None else total
        now = time.monotonic()
        if _active is not self or now - self._shown <= (_REDRAW_SECONDS if self._bar else _LINE_SECONDS):
            return
        self._shown = now
        if self._bar is None:
            print(self.line(now - self._began), file=sys.stderr, flush=True)
        else:
            self._bar.update(self._bar.task_ids[0], completed=done, total=self.total, refresh=True)

    def advance(self, amount: float = 1.0) -> None:
        """Say that `amount` more is done."""
        self.set(self.done + amount)

    def line(self, seconds: float) -> str:
        """The state as plain text, `seconds` after the beginning."""
        share = min(1.0, self.done / self.total) if self.total else 1.0
        left = f", {timedelta(seconds=round(seconds * (1 - share) / share))} left" if share > 0 else ""
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.label}: {self.done:.0f} of {self.total:.0f}{unit} ({100 * share:.0f} %){left}"


def _start_bar(progress: Progress) -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[unit]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
        console=Console(stderr=True),
        # Redrawn from `set`: a thread of its own would take time from the work on a small machine.
        auto_refresh=False,
        transient=True,
    )
    bar.add_task(progress.label, total=progress.total, unit=progress.unit)
    bar.start()
    return bar


@contextmanager
def quietly() -> Iterator[None]:
    """Tell nothing but warnings inside: for work whose messages are not what the user asked about."""
    logger = logging.getLogger("speech2lip")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
