"""Rows of a table before our own judge of sync: lips and sound of held-out takes, at all lags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speech2lip.evaluation.held_out import Span
from speech2lip.evaluation.listening import Heard
from speech2lip.evaluation.mouth_box import Box
from speech2lip.evaluation.sync_judge import CLIP, SyncJudge, clip_frames, mouth, windows_of
from speech2lip.evaluation.tally import Figures, Moment, Openings
from speech2lip.training.stretches import MOMENT_SECONDS

Picture = NDArray[np.uint8]

MAX_LAG = 15
"""Steps of 0.04 s to either side at which sound is tried, as SyncNet's public tool does."""
SHIFTS = (2, 3, 5)
"""Steps by which the judge is tested to tell late sound from true sound."""
_BATCH = 48


class SyncTrial:
    """Shows one row's frames to the judge, frame by frame; memory holds embeddings, no pictures."""

    def __init__(self, judge: SyncJudge) -> None:
        self.judge = judge
        self._clip = clip_frames(1 / MOMENT_SECONDS)
        self._recent: list[NDArray[np.uint8]] = []
        self._clips: list[NDArray[np.uint8]] = []
        self._times: list[float] = []
        self._moments: list[float] = []
        self._seen: list[Tensor] = []
        self._curves: list[Tensor] = []

    def begin_take(self, fps: float) -> None:
        """Choose the frames of a clip, so that it lasts as long at any frame rate."""
        self._clip = clip_frames(fps)

    def add(self, time: float, picture: Picture, box: Box) -> None:
        """Take in a frame."""
        seen = mouth(picture, box)
        if seen is None:
            self.skip()
            return
        needed = int(self._clip[-1]) + 1
        self._recent = [*self._recent, seen][-needed:]
        self._times = [*self._times, time][-needed:]
        if len(self._recent) == needed:
            self._clips.append(np.stack([self._recent[frame] for frame in self._clip]))
            self._moments.append(self._times[self._clip[CLIP // 2]])
            if len(self._clips) == _BATCH:
                self._flush()

    def skip(self) -> None:
        """Note that a frame is missing: no clip reaches across."""
        self._recent, self._times = [], []

    @torch.inference_mode()
    def _flush(self) -> None:
        if self._clips:
            self._seen.append(self.judge.see(torch.from_numpy(np.stack(self._clips))))
        self._clips = []

    @torch.inference_mode()
    def end_take(self, mel: Tensor, frame_seconds: float) -> None:
        """Compare what was seen with the sound of its moments and up to 15 steps of `frame_seconds` off."""
        self._flush()
        self.skip()
        if self._seen:
            seen, times = torch.cat(self._seen), np.array(self._moments)
            lags = range(-MAX_LAG, MAX_LAG + 1)
            heard = [self.judge.hear(windows_of(mel, times + lag * frame_seconds)) for lag in lags]
            self._curves.append(torch.stack([1 - (seen * one).sum(1) for one in heard], dim=1))
        self._seen, self._moments = [], []
        self._frame_seconds = frame_seconds

    def verdict(self) -> dict[str, float | None]:
        """Return what is found over all takes.

        `expert_confidence`: median less least mean distance over lags; `expert_distance`: the least;
        `expert_offset_ms`: its lag, positive where the sound is late, as in `sync_offset_ms`.
        """
        if not self._curves:
            return {"expert_confidence": None, "expert_distance": None, "expert_offset_ms": None}
        mean = torch.cat(self._curves).mean(0)
        best = int(mean.argmin())
        return {
            "expert_confidence": float(mean.median() - mean[best]),
            "expert_distance": float(mean[best]),
            "expert_offset_ms": 1000 * self._frame_seconds * (best - MAX_LAG),
        }

    def told_shifts(self) -> dict[str, float]:
        """Return the share of clips whose own sound is nearer than one shifted by some frames."""
        curves = torch.cat(self._curves)
        own = curves[:, MAX_LAG]
        return {
            str(shift): round(
                float(
                    torch.stack([own < curves[:, MAX_LAG + sign * shift] for sign in (-1, 1)]).float().mean()
                ),
                4,
            )
            for shift in SHIFTS
        }


class SyncTrials:
    """Shows the frames of all rows to the judge: a watcher of an evaluation."""

    def __init__(self, judge: SyncJudge, rows: Iterable[str]) -> None:
        self.rows = {name: SyncTrial(judge) for name in rows}
        self._mel = torch.zeros(0)
        self._begins = 0.0
        self._expected = -1

    def begin_take(self, span: Span, heard: Heard) -> None:
        """Hear the sound of a take."""
        self._mel, self._begins = heard.mel, heard.begins
        for trial in self.rows.values():
            trial.begin_take(float(span.take.fps))
        self._expected = span.start

    def frame(
        self,
        span: Span,
        index: int,
        moment: Moment,
        made: Mapping[str, Picture],
        figures: Mapping[str, Figures],
    ) -> None:
        """See a frame of every row."""
        for name, trial in self.rows.items():
            if index != self._expected:
                trial.skip()
            trial.add(moment.time - self._begins, made[name], moment.box)
        self._expected = index + 1

    def pass_over(self, span: Span, index: int, moment: Moment, made: Mapping[str, Picture]) -> None:
        """Nothing is judged across a frame that is not spoken over: it is a gap."""

    def end_take(self, openings: Mapping[str, Openings]) -> None:
        """Compare what was seen of a take with its sound."""
        for trial in self.rows.values():
            trial.end_take(self._mel, MOMENT_SECONDS)
