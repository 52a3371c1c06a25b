"""What an evaluation tells to whoever watches it: the report does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from speech2lip.evaluation.held_out import Span
from speech2lip.evaluation.listening import Heard
from speech2lip.evaluation.tally import Figures, Moment, Openings

Picture = NDArray[np.uint8]


class Watcher(Protocol):
    """Is told of every frame once; must not keep them all."""

    def begin_take(self, span: Span, heard: Heard) -> None:
        """A take begins."""
        ...

    def frame(
        self,
        span: Span,
        index: int,
        moment: Moment,
        made: Mapping[str, Picture],
        figures: Mapping[str, Figures],
    ) -> None:
        """A frame was judged: pictures and figures by row."""
        ...

    def pass_over(self, span: Span, index: int, moment: Moment, made: Mapping[str, Picture]) -> None:
        """A frame is shown as it was filmed, wholly or in part, and not judged: pictures by row."""
        ...

    def end_take(self, openings: Mapping[str, Openings]) -> None:
        """A take ends: lip openings by row."""
        ...


class Watchers:
    """Tells several watchers."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self.watchers = watchers

    def begin_take(self, span: Span, heard: Heard) -> None:
        """A take begins."""
        for watcher in self.watchers:
            watcher.begin_take(span, heard)

    def frame(
        self,
        span: Span,
        index: int,
        moment: Moment,
        made: Mapping[str, Picture],
        figures: Mapping[str, Figures],
    ) -> None:
        """A frame was judged."""
        for watcher in self.watchers:
            watcher.frame(span, index, moment, made, figures)

    def pass_over(self, span: Span, index: int, moment: Moment, made: Mapping[str, Picture]) -> None:
        """A frame was not judged."""
        for watcher in self.watchers:
            watcher.pass_over(span, index, moment, made)

    def end_take(self, openings: Mapping[str, Openings]) -> None:
        """A take ends."""
        for watcher in self.watchers:
            watcher.end_take(openings)
