"""Follow every method's lips through one take after the other and gather their figures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from speech2lip.arrays import Array, Picture, Points
from speech2lip.composition.paste import Paster
from speech2lip.decomposition.footage import Footage, Take
from speech2lip.evaluation.accumulate import Accumulator, Figures, Moment, Openings
from speech2lip.evaluation.held_out import CodedFrame, Span
from speech2lip.evaluation.methods import Method, mel_features
from speech2lip.evaluation.metrics.mouth import mouth_box
from speech2lip.evaluation.result import Row
from speech2lip.evaluation.speech_labels import Heard, listen_to
from speech2lip.faces.landmarks import LandmarkDetector
from speech2lip.head_track import HeadTrack


class Observer:
    """Is told of every frame once; must not keep them all."""

    span: Span
    """What is followed now."""
    heard: Heard
    """Its sound."""

    def begin_take(self, span: Span, heard: Heard) -> None:
        """A take begins."""
        self.span, self.heard = span, heard

    def frame(self, moment: Moment, made: Mapping[str, Picture], figures: Mapping[str, Figures]) -> None:
        """A frame was judged: pictures and figures by method."""

    def pass_over(self, moment: Moment, made: Mapping[str, Picture]) -> None:
        """A frame is shown as it was filmed, wholly or in part, and not judged: pictures by method."""

    def end_take(self, openings: Mapping[str, Openings]) -> None:
        """A take ends: lip openings by method."""

    def figures(self) -> Mapping[str, Row]:
        """Return more columns of the table, by method."""
        return {}


def shown_frames(
    methods: Mapping[str, Method], span: Span, mel: Tensor, moments: Array, footage: Footage
) -> Iterator[tuple[CodedFrame, dict[str, Picture], dict[str, Points | None] | None]]:
    """Let all methods show a span's frames under the sound of moments [T] (seconds in `mel`); find the faces.

    Yields:
        Every frame that can be judged; pictures by method; landmarks [478, 3] by method (None: no face), or
        nothing where it is not, or not fully, spoken over: what was filmed says nothing of the avatar.
    """
    shares = np.min([method.shares(span.take) for method in methods.values()], axis=0)
    with contextlib.ExitStack() as stack:
        detectors = {
            name: stack.enter_context(LandmarkDetector(enlarge_below=footage.settings.small_face_pixels))
            for name in methods
        }
        for batch in span.batches():
            some = moments[[frame.index - span.start for frame in batch]]
            rows = [method.make(span.take, batch, mel, some) for method in methods.values()]
            for frame, pictures in zip(batch, zip(*rows, strict=True), strict=True):
                made = dict(zip(methods, pictures, strict=True))
                spoken = shares[frame.index] == 1
                found = {name: detectors[name].detect(picture) for name, picture in made.items() if spoken}
                yield frame, made, found or None


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
        self.footage, self.paster, self.methods = footage, paster, methods
        self.accumulators, self.observers, self._transcripts = accumulators, observers, transcripts
        self.phone_sources: set[str] = set()
        """How the phones of the takes so far are known."""

    def follow(self, span: Span) -> Iterator[CodedFrame]:
        """Judge one take; yield each frame when it is done."""
        heard = listen_to(span, transcripts=self._transcripts)
        if heard.source is not None:
            self.phone_sources.add(heard.source)
        for observer in self.observers:
            observer.begin_take(span, heard)
        # Light has no part in where things lie.
        head = HeadTrack.of_take(span.take, self.footage.canonical, np.ones(3, np.float32))
        mel, moments = mel_features(self.methods.values(), heard.wave), span.times - heard.begins
        expected, cuts = span.start, set(span.take.cuts.tolist())
        for frame, made, points in shown_frames(self.methods, span, mel, moments, self.footage):
            for one in self.accumulators.values():
                for index in range(expected, frame.index):
                    one.skip(float(span.take.times[index]))
                if frame.index in cuts:
                    one.cut()
            expected = frame.index + 1
            self._judge(self.moment(span.take, frame, head[frame.index]), made, points)
            yield frame
        openings = {name: one.end_take(heard) for name, one in self.accumulators.items()}
        for observer in self.observers:
            observer.end_take(openings)

    def _judge(
        self, moment: Moment, made: Mapping[str, Picture], points: Mapping[str, Points | None] | None
    ) -> None:
        if points is None:
            for one in self.accumulators.values():
                one.pass_over(moment.time)
            for observer in self.observers:
                observer.pass_over(moment, made)
            return
        figures = {name: one.add(moment, made[name], points[name]) for name, one in self.accumulators.items()}
        for observer in self.observers:
            observer.frame(moment, made, figures)

    def moment(self, take: Take, frame: CodedFrame, head: HeadTrack) -> Moment:
        """Gather what is known of a frame: mouth box, landmarks, what is replaced."""
        height, width = frame.rgb.shape[:2]
        regions = self.paster.regions(head, (height, width))
        mask = self.paster.warp_mask(self.paster.patch_uv(head, regions))[0, 0]
        return Moment(
            index=frame.index,
            time=frame.time,
            real=frame.rgb,
            box=mouth_box(take, frame.index, self.footage.canonical.shape),
            points=take.landmarks[frame.index],
            region=regions[0],
            mask=mask.cpu().numpy(),
        )
