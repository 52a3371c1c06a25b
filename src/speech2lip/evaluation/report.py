"""The report: one page that needs no network, with table, players, plots, worst frames and contact sheets."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from speech2lip.avatar import Avatar
from speech2lip.config import EvaluateSettings
from speech2lip.conventions import SAMPLE_RATE
from speech2lip.evaluation.foreign import foreign_video
from speech2lip.evaluation.held_out import Span
from speech2lip.evaluation.listening import Heard
from speech2lip.evaluation.plots import opening_plot
from speech2lip.evaluation.report_page import write_page
from speech2lip.evaluation.report_pictures import (
    ContactSheet,
    Player,
    WorstFrames,
    data_uri,
    head_box,
    jpeg,
)
from speech2lip.evaluation.table import Result
from speech2lip.evaluation.tally import Figures, Moment, Openings
from speech2lip.storage import write_atomically

Picture = NDArray[np.uint8]

TAKES_SHOWN = 12
SECONDS_SHOWN = 20.0
"""Of a take's player and plot."""
MOUTHS = 12
"""On a contact sheet."""
JUDGED = "ours"
"""The row that is shown."""


@dataclass(frozen=True)
class TakeView:
    """What the page shows of a take; ready-made HTML attributes and elements."""

    name: str
    frames: int
    video: str
    """Data URI."""
    poster: str
    """Data URI."""
    plot: str
    """SVG."""
    sheet: str | None
    """Data URI."""
    seconds: tuple[float, ...]
    """Of the columns of the sheet."""


@dataclass(frozen=True)
class ForeignView:
    """The person speaking what strangers said."""

    names: tuple[str, ...]
    """Of the sounds."""
    video: str
    """Data URI."""
    poster: str
    """Data URI."""


def show_foreign(avatar: Path, sounds: Sequence[Path], settings: EvaluateSettings) -> ForeignView:
    """Let an avatar speak strangers' sounds for the page."""
    spoken = foreign_video(avatar, sounds, settings)
    poster = data_uri(jpeg(spoken.first), "image/jpeg")
    return ForeignView(spoken.names, data_uri(spoken.video, "video/mp4"), poster)


class Report:
    """Watches an evaluation and writes the page at its end; holds small pictures only."""

    def __init__(self, path: Path, avatar: Avatar) -> None:
        self.path, self.avatar = path, avatar
        self.takes: list[TakeView] = []
        self.left_out = 0
        """Takes that the page has no room for."""
        self.worst = WorstFrames()
        self.foreign: ForeignView | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="speech2lip-report-")
        self._player: Player | None = None
        self._sheet: ContactSheet | None = None
        self._heard: Heard | None = None
        self._span: Span | None = None

    def __enter__(self) -> Report:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._player is not None and error is not None:
            self._player.abandon(error)
        self._folder.cleanup()

    def begin_take(self, span: Span, heard: Heard) -> None:
        """Get ready for a take, if there is room for one more."""
        self._span, self._heard = span, heard
        if len(self.takes) == TAKES_SHOWN:
            self.left_out += 1
            self._sheet = None
            return
        kept = span.kept
        self._sheet = ContactSheet(
            kept[np.linspace(0, len(kept) - 1, min(MOUTHS, len(kept))).astype(int)].tolist()
        )

    def frame(
        self,
        span: Span,
        index: int,
        moment: Moment,
        made: Mapping[str, Picture],
        figures: Mapping[str, Figures],
    ) -> None:
        """Show a frame."""
        self.worst.add(span.take.name, index, figures[JUDGED], moment.real, made[JUDGED], moment.box)
        self.pass_over(span, index, moment, made)

    def pass_over(self, span: Span, index: int, moment: Moment, made: Mapping[str, Picture]) -> None:
        """Show a frame in the player and on the contact sheet, but not among the worst."""
        picture, begun = made[JUDGED], float(span.times[0])
        if self._sheet is None or self._heard is None:
            return
        self._sheet.add(index, moment.time, moment.real, picture, moment.box)
        if moment.time - begun > SECONDS_SHOWN:
            return
        if self._player is None:
            path = Path(self._folder.name) / f"{len(self.takes)}.mp4"
            box = head_box(moment.box, moment.real)
            heard = self._heard.wave[round((begun - self._heard.begins) * SAMPLE_RATE) :]
            self._player = Player(path, box, fps=span.take.fps, wave=heard, start=begun)
        self._player.write(moment.real, picture, moment.time)

    def end_take(self, openings: Mapping[str, Openings]) -> None:
        """Put the take's parts together."""
        span, heard, player, sheet = self._span, self._heard, self._player, self._sheet
        self._player = None
        if span is None or heard is None or player is None or sheet is None:
            return
        ours = openings[JUDGED]
        shown = ours.times - ours.times[0] <= SECONDS_SHOWN
        plot = opening_plot(
            ours.times[shown],
            {"truth": ours.real[shown], "ours": ours.made[shown]},
            heard.wave,
            wave_begins=heard.begins,
            pauses=heard.pauses,
            closures=heard.closures,
        )
        mouths = sheet.picture()
        self.takes.append(
            TakeView(
                name=_name(span),
                frames=len(span.kept),
                video=data_uri(player.close(), "video/mp4"),
                poster=data_uri(player.poster or b"", "image/jpeg"),
                plot=plot,
                sheet=None if mouths is None else data_uri(jpeg(mouths), "image/jpeg"),
                seconds=tuple(sheet.seconds),
            )
        )
        player.path.unlink()

    def finish(self, result: Result, heading: str) -> None:
        """Write the page; an older one stays until the new one is whole."""
        page = write_page(self, result, heading)
        with write_atomically(self.path) as partial:
            partial.write_text(page, encoding="utf-8")


def _name(span: Span) -> str:
    """Name a span by its take and, where it is not all of it, its seconds."""
    if len(span.times) == len(span.take.times):
        return span.take.name
    return f"{span.take.name}, {span.times[0]:.1f} to {span.times[-1]:.1f} s"
