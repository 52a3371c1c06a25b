"""Follow every method's lips through one take after the other and gather their figures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from speech2lip.composition.paste import Paster
from speech2lip.conventions import Picture
from speech2lip.decomposition.footage import Footage, Take
from speech2lip.evaluation.accumulate import Accumulator, Figures, Moment, Openings, Row
from speech2lip.evaluation.held_out import CodedFrame, Span
from speech2lip.evaluation.methods import Method, mel_features
from speech2lip.evaluation.metrics.mouth import mouth_box
from speech2lip.evaluation.speech_labels import Heard, listen_to
from speech2lip.faces.landmarks import LandmarkDetector
from speech2lip.head_track import HeadTrack


class Observer:
    """Is told of every frame once; must not keep them all."""

    def begin_take(self, span: Span, heard: Heard) -> None:
        """A take begins."""

    def frame(self, moment: Moment, made: Mapping[str, Picture], figures: Mapping[str, Figures]) -> None:
        """A frame was judged: pictures and figures by method."""

    def pass_over(self, moment: Moment, made: Mapping[str, Picture]) -> None:
        """A frame is shown as it was filmed, wholly or in part, and not judged: pictures by method."""

    def end_take(self, openings: Mapping[str, Openings]) -> None:
        """A take ends: lip openings by method."""

    def figures(self) -> Mapping[str, Row]:
        """Return more columns of the table, by method."""
        return {}


@contextlib.contextmanager
def open_detectors(methods: Iterable[str], footage: Footage) -> Iterator[dict[str, LandmarkDetector]]:
    """Open a landmark detector for each method: it follows one face from frame to frame."""
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(LandmarkDetector(enlarge_below=footage.settings.small_face_pixels))
            for name in methods
        }


class Runner:
    """Judges all rows of a table; memory does not grow with the footage's pictures."""

    def __init__(
        self,
        footage: Footage,
        paster: Paster,
        methods: Mapping[str, Method],
        accumulators: Mapping[str, Accumulator],
        *,
        observers: Sequence[Observer] = (),
        transcripts: Path | None = None,
    ) -> None:
        self.methods, self.accumulators, self.paster = methods, accumulators, paster
        self.observers, self.footage = observers, footage
        self.phone_sources: set[str] = set()
        """How the phones of the takes so far are known."""
        self._transcripts = transcripts

    def follow(self, span: Span) -> Iterator[int]:
        """Judge one take; yield how many frames were done."""
        heard = listen_to(span, transcripts=self._transcripts)
        if heard.source is not None:
            self.phone_sources.add(heard.source)
        for observer in self.observers:
            observer.begin_take(span, heard)
        shares = np.min([method.shares(span.take) for method in self.methods.values()], axis=0)
        cuts = set(span.take.cuts.tolist())
        # Light has no part in where things lie.
        head = HeadTrack.of_take(span.take, self.footage.canonical, np.ones(3, np.float32))
        expected, mel = span.start, mel_features(self.methods.values(), heard.wave)
        with open_detectors(self.methods, self.footage) as detectors:
            for batch in span.batches():
                for index in range(expected, batch[0].index):
                    self._skip(float(span.take.times[index]))
                expected = batch[-1].index + 1
                moments = span.take.times[[frame.index for frame in batch]] - heard.begins
                rows = [method.make(span.take, batch, mel, moments) for method in self.methods.values()]
                for frame, pictures in zip(batch, zip(*rows, strict=True), strict=True):
                    if frame.index in cuts:
                        self._cut()
                    made = dict(zip(self.methods, pictures, strict=True))
                    moment = self.moment(span.take, frame, head[frame.index])
                    if shares[frame.index] < 1:
                        self._pass_over(moment, made)
                    else:
                        self._judge(moment, made, detectors)
                yield len(batch)
        openings = {name: one.end_take(heard) for name, one in self.accumulators.items()}
        for observer in self.observers:
            observer.end_take(openings)

    def _judge(
        self, moment: Moment, made: Mapping[str, Picture], detectors: Mapping[str, LandmarkDetector]
    ) -> None:
        figures = {
            name: one.add(moment, made[name], detectors[name].detect(made[name]))
            for name, one in self.accumulators.items()
        }
        for observer in self.observers:
            observer.frame(moment, made, figures)

    def _pass_over(self, moment: Moment, made: Mapping[str, Picture]) -> None:
        """Show a frame that is not, or not fully, spoken over: what was filmed says nothing of the avatar."""
        for one in self.accumulators.values():
            one.pass_over(moment.time)
        for observer in self.observers:
            observer.pass_over(moment, made)

    def _cut(self) -> None:
        for one in self.accumulators.values():
            one.cut()

    def _skip(self, time: float) -> None:
        for one in self.accumulators.values():
            one.skip(time)

    def moment(self, take: Take, frame: CodedFrame, head: HeadTrack) -> Moment:
        """Gather what is known of a frame: mouth box, landmarks, what is replaced."""
        height, width = frame.rgb.shape[:2]
        regions = self.paster.regions(head, (height, width))
        mask = self.paster.warp_mask(self.paster.patch_uv(head, regions))[0, 0]
        return Moment(
            index=frame.index,
            time=float(take.times[frame.index]),
            real=frame.rgb,
            box=mouth_box(take, frame.index, self.footage.canonical.shape),
            points=take.landmarks[frame.index],
            region=regions[0],
            mask=mask.cpu().numpy(),
        )
