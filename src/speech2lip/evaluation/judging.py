"""Follow every row's lips through one take after the other and tally their figures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speech2lip.composition.paste import Paster
from speech2lip.decomposition.footage import Footage, Take
from speech2lip.decomposition.landmarks import LandmarkDetector
from speech2lip.evaluation.held_out import CodedFrame, Span
from speech2lip.evaluation.listening import Heard, listen_to
from speech2lip.evaluation.mouth_box import mouth_box_of
from speech2lip.evaluation.nearest import moved
from speech2lip.evaluation.rows import Maker, hear
from speech2lip.evaluation.tally import Figures, Moment, Tally
from speech2lip.evaluation.watching import Watcher
from speech2lip.training.dataset import place_of

Picture = NDArray[np.uint8]


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
        self._shape = footage.canonical.shape
        self._enlarge_below = footage.settings.small_face_pixels
        self._transcripts = transcripts

    def follow(self, span: Span, watcher: Watcher | None = None) -> Iterator[int]:
        """Judge one take; yield how many frames were done."""
        self.heard = heard = listen_to(span, transcripts=self._transcripts)
        if watcher is not None:
            watcher.begin_take(span, heard)
        self._shares = np.min([maker.shares(span.take) for maker in self.makers.values()], axis=0)
        expected, sound = span.start, hear(self.makers.values(), heard.wave)
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

    def moment(self, take: Take, frame: CodedFrame) -> Moment:
        """Gather what is known of a frame: mouth box, landmarks, what is replaced."""
        height, width = frame.rgb.shape[:2]
        # Light has no part in where things lie.
        place = moved(place_of(take, frame.index, take.light[frame.index]), self.paster)
        region = self.paster.region(place, (height, width))
        mask = self.paster.carry_mask(self.paster.patch_uv(place, region)[None])[0, 0]
        return Moment(
            time=float(take.times[frame.index]),
            real=frame.rgb,
            box=mouth_box_of(take, frame.index, self._shape),
            points=take.landmarks[frame.index],
            region=region,
            mask=mask.cpu().numpy(),
        )
