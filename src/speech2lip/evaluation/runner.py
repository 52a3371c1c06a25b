"""Follow every row's lips through one take after the other and tally their figures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from speech2lip.composition.paste import Paster
from speech2lip.config import EvaluateSettings
from speech2lip.conventions import Picture
from speech2lip.decomposition.footage import Footage, Take
from speech2lip.evaluation.accumulate import Figures, Moment, Openings, Tally
from speech2lip.evaluation.held_out import CodedFrame, Span
from speech2lip.evaluation.methods import Maker, mel_features
from speech2lip.evaluation.metrics.lpips import Likeness, Lpips, load_lpips
from speech2lip.evaluation.metrics.mouth_box import mouth_box_of
from speech2lip.evaluation.result import Row
from speech2lip.evaluation.speech_labels import Heard, listen_to
from speech2lip.evaluation.sync.syncnet import SyncNet, SyncNetTrials, load_syncnet
from speech2lip.faces.landmarks import LandmarkDetector
from speech2lip.head_track import HeadTrack


class Judge:
    """Judges all rows of a table; memory does not grow with the footage's pictures."""

    def __init__(
        self,
        footage: Footage,
        paster: Paster,
        makers: Mapping[str, Maker],
        tallies: Mapping[str, Tally],
        *,
        transcripts: Path | None = None,
    ) -> None:
        self.makers, self.tallies, self.paster = makers, tallies, paster
        self.heard: Heard | None = None
        """Sound of the take that is or was followed last."""
        self._shares = np.ones(0)
        self._canonical, self._shape = footage.canonical, footage.canonical.shape
        self._tracks: dict[str, HeadTrack] = {}
        self._enlarge_below = footage.settings.small_face_pixels
        self._transcripts = transcripts

    def follow(self, span: Span, watcher: Watcher | None = None) -> Iterator[int]:
        """Judge one take; yield how many frames were done."""
        self.heard = heard = listen_to(span, transcripts=self._transcripts)
        if watcher is not None:
            watcher.begin_take(span, heard)
        self._shares = np.min([maker.shares(span.take) for maker in self.makers.values()], axis=0)
        expected, sound = span.start, mel_features(self.makers.values(), heard.wave)
        with contextlib.ExitStack() as stack:
            detectors = {
                name: stack.enter_context(LandmarkDetector(enlarge_below=self._enlarge_below))
                for name in self.makers
            }
            for batch in span.batches():
                self._skip(span.take, range(expected, batch[0].index))
                moments = span.take.times[[frame.index for frame in batch]]
                made = {
                    name: maker.make(span.take, batch, sound, moments - heard.begins)
                    for name, maker in self.makers.items()
                }
                self._add(span, batch, made, detectors, watcher)
                expected = batch[-1].index + 1
                yield len(batch)
        ended = {name: tally.end_take(heard) for name, tally in self.tallies.items()}
        if watcher is not None:
            watcher.end_take(ended)

    def _add(
        self,
        span: Span,
        batch: Sequence[CodedFrame],
        made: Mapping[str, Sequence[Picture]],
        detectors: Mapping[str, LandmarkDetector],
        watcher: Watcher | None,
    ) -> None:
        cuts = {int(cut) for cut in span.take.cuts}
        for number, frame in enumerate(batch):
            if frame.index in cuts:
                self._cut()
            moment = self.moment(span.take, frame)
            pictures = {name: row[number] for name, row in made.items()}
            if self._shares[frame.index] < 1:
                self._pass_over(span, frame.index, moment, pictures, watcher)
                continue
            figures: dict[str, Figures] = {
                name: tally.add(moment, pictures[name], detectors[name].detect(pictures[name]))
                for name, tally in self.tallies.items()
            }
            if watcher is not None:
                watcher.frame(span, frame.index, moment, pictures, figures)

    def _pass_over(
        self, span: Span, index: int, moment: Moment, made: Mapping[str, Picture], watcher: Watcher | None
    ) -> None:
        """Show a frame that is not, or not fully, spoken over: what was filmed says nothing of the avatar."""
        for tally in self.tallies.values():
            tally.pass_over(moment.time)
        if watcher is not None:
            watcher.pass_over(span, index, moment, made)

    def _cut(self) -> None:
        for tally in self.tallies.values():
            tally.cut()

    def _skip(self, take: Take, indices: range) -> None:
        for index in indices:
            for tally in self.tallies.values():
                tally.skip(float(take.times[index]))

    def _head(self, take: Take) -> HeadTrack:
        """Return where the head is in a take; light has no part in that."""
        if take.name not in self._tracks:
            self._tracks[take.name] = HeadTrack.of_take(take, self._canonical, np.ones(3, np.float32))
        return self._tracks[take.name]

    def moment(self, take: Take, frame: CodedFrame) -> Moment:
        """Gather what is known of a frame: mouth box, landmarks, what is replaced."""
        height, width = frame.rgb.shape[:2]
        head = self._head(take)[frame.index]
        regions = self.paster.regions(head, (height, width))
        mask = self.paster.carry_mask(self.paster.patch_uv(head, regions))[0, 0]
        return Moment(
            time=float(take.times[frame.index]),
            real=frame.rgb,
            box=mouth_box_of(take, frame.index, self._shape),
            points=take.landmarks[frame.index],
            region=regions[0],
            mask=mask.cpu().numpy(),
        )


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


class Expert(Watcher, Protocol):
    """A watcher that has figures to tell."""

    def figures(self) -> Mapping[str, Row]:
        """Return its columns by row."""
        ...


class GivenWeights:
    """The networks of those weights that the settings name; read at once, so that a wrong file is told early.

    Raises:
        SettingsError: a file is missing or holds something else.
    """

    def __init__(self, settings: EvaluateSettings) -> None:
        lpips, syncnet = settings.lpips_weights, settings.syncnet_weights
        self.lpips: Lpips | None = None if lpips is None else load_lpips(lpips)
        self.syncnet: SyncNet | None = None if syncnet is None else load_syncnet(syncnet)

    def experts(self, rows: Iterable[str], device: torch.device) -> list[Expert]:
        """Return the experts that there are weights for."""
        names = list(rows)
        found: list[Expert] = []
        if self.lpips is not None:
            found.append(Likeness(self.lpips.to(device), names))
        if self.syncnet is not None:
            found.append(SyncNetTrials(self.syncnet.to(device), names))
        return found
