"""Shows the frames of all rows to SyncNet; memory holds at most a minute's embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from speech2lip.conventions import SAMPLE_RATE
from speech2lip.evaluation.face_crop import face_crop, face_squares
from speech2lip.evaluation.held_out import Span
from speech2lip.evaluation.listening import Heard
from speech2lip.evaluation.phones import Wave
from speech2lip.evaluation.syncnet import (
    FPS,
    SIDE,
    WINDOW_FRAMES,
    SyncNet,
    encode_faces,
    encode_sounds,
    offset_distances,
    score_distances,
    windows_in,
)
from speech2lip.evaluation.tally import Figures, Moment, Openings

Picture = NDArray[np.uint8]
Array = NDArray[np.float64]

PIECE_FRAMES = 60 * FPS
"""A take is scored in pieces of a minute at most, as clips of their own."""
LEAST_FRAMES = FPS
"""Pieces below a second tell nothing."""
BATCH = 8
"""Windows encoded at a time."""


class _Row:
    """What was seen of one row in the piece that is under way."""

    def __init__(self, expert: SyncNet) -> None:
        self.expert = expert
        self.scored: list[tuple[int, Array]] = []
        """Windows and mean distances at all offsets, piece by piece."""
        self._recent: list[Picture] = []
        self._windows: list[Picture] = []
        self._codes: list[NDArray[np.float32]] = []

    def add(self, crop: Picture) -> None:
        self._recent = [*self._recent, crop][-WINDOW_FRAMES:]
        if len(self._recent) == WINDOW_FRAMES:
            self._windows.append(np.stack(self._recent))
        if len(self._windows) == BATCH:
            self._flush()

    def end(self, sounds: NDArray[np.float32] | None) -> None:
        """Compare what was seen with the sound's embeddings; None: the piece is too short to tell."""
        self._flush()
        if sounds is not None:
            faces = np.concatenate(self._codes)[: len(sounds)]
            self.scored.append((len(sounds), offset_distances(faces, sounds)))
        self._recent, self._codes = [], []

    def _flush(self) -> None:
        if self._windows:
            self._codes.append(encode_faces(self.expert, self._windows))
        self._windows = []

    def figures(self) -> dict[str, float | None]:
        """Return means over pieces by length; the offset is that of the pooled distances."""
        names = ("syncnet_confidence", "syncnet_distance", "syncnet_offset_ms")
        if not self.scored:
            return dict.fromkeys(names)
        weights = [count for count, _ in self.scored]
        scores = [score_distances(distances) for _, distances in self.scored]
        pooled = score_distances(np.average([distances for _, distances in self.scored], 0, weights))
        values = (
            float(np.average([score.confidence for score in scores], weights=weights)),
            float(np.average([score.distance for score in scores], weights=weights)),
            1000 * pooled.offset_frames / FPS,
        )
        return dict(zip(names, values, strict=True))


class SyncNetTrials:
    """A watcher of an evaluation: every row is cropped alike, by the real frames' faces.

    Pictures are brought to 25 a second by taking the nearest frame; a missing frame ends a piece.
    """

    def __init__(self, expert: SyncNet, rows: Iterable[str]) -> None:
        self.expert = expert
        self.rows = {name: _Row(expert) for name in rows}
        self._wave: Wave = np.zeros(0, np.float32)
        self._squares: Array = np.zeros((0, 3))
        self._begins, self._half = 0.0, 0.5 / FPS
        self._expected, self._shown, self._begun = -1, 0, 0.0

    def begin_take(self, span: Span, heard: Heard) -> None:
        """Get ready for a take."""
        self._wave, self._begins, self._half = heard.wave, heard.begins, 0.5 / float(span.take.fps)
        self._squares = face_squares(span.take.landmarks[span.start : span.stop])
        self._expected, self._shown = -1, 0

    def frame(
        self,
        span: Span,
        index: int,
        moment: Moment,
        made: Mapping[str, Picture],
        figures: Mapping[str, Figures],
    ) -> None:
        """See a frame of every row."""
        if index != self._expected or self._shown >= PIECE_FRAMES:
            self._end_piece()
            self._begun = moment.time
        self._expected = index + 1
        # The nearest frame of each moment of 25 a second: none, one or several times this one.
        times = 0
        while self._begun + (self._shown + times) / FPS < moment.time + self._half:
            times += 1
        if not times:
            return
        square = self._squares[index - span.start]
        for name, row in self.rows.items():
            crop = face_crop(made[name], square, side=SIDE)
            for _ in range(times):
                row.add(crop)
        self._shown += times

    def pass_over(self, span: Span, index: int, moment: Moment, made: Mapping[str, Picture]) -> None:
        """Nothing is judged across a frame that is not spoken over: it is a gap."""

    def end_take(self, openings: Mapping[str, Openings]) -> None:
        """Compare what was seen of a take with its sound."""
        self._end_piece()

    def _end_piece(self) -> None:
        wave = self._wave[round((self._begun - self._begins) * SAMPLE_RATE) :]
        wave = wave[: self._shown * SAMPLE_RATE // FPS]
        count = windows_in(self._shown, wave)
        enough = self._shown >= LEAST_FRAMES and count > 0
        sounds = encode_sounds(self.expert, wave, count) if enough else None
        for row in self.rows.values():
            row.end(sounds)
        self._shown = 0

    def figures(self) -> dict[str, dict[str, float | None]]:
        """Return confidence, distance and offset (positive: sound late) by row."""
        return {name: row.figures() for name, row in self.rows.items()}
