"""The figures of one row of a table, gathered frame by frame; memory holds some numbers, no pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech2lip.conventions import Picture, Points
from speech2lip.decomposition.av_offset import SyncCurve, pooled_offset, sync_curve, trusted_offset
from speech2lip.evaluation.metrics.closure import Closures, OpeningScale, closures, frames_inside
from speech2lip.evaluation.metrics.landmarks import lip_opening, lip_width, lmd_frames
from speech2lip.evaluation.metrics.mouth_box import Box
from speech2lip.evaluation.metrics.picture import PSNR_EQUAL, cpbd, psnr, sharpness_ratio, ssim
from speech2lip.evaluation.metrics.statistics import (
    concordance,
    effective_count,
    fisher_interval,
    pearson,
    std_ratio,
)
from speech2lip.evaluation.metrics.temporal import box_brightness, flicker, jitter, seam_ratio
from speech2lip.evaluation.speech_labels import Heard
from speech2lip.faces.landmarks import OUTER_EYE_CORNERS

Series = NDArray[np.float64]
Figures = dict[str, float]

SETTLE = 0.2
"""Seconds left out at both ends of a pause: real lips part before the first sound."""
_BLOCK = 500
"""Frames whose landmarks are held at a time."""
_FRAME_FIGURES = (
    "mouth_ssim",
    "mouth_cpbd",
    "sharpness_ratio",
    "frame_ssim",
    "lmd_px",
    "lmd_percent",
    "seam_ratio",
)


@dataclass(frozen=True)
class Moment:
    """What is known of a frame, whatever a row makes of it."""

    time: float
    """Seconds of the take."""
    real: Picture
    """[H, W, 3]."""
    box: Box
    """Where the mouth is judged."""
    points: Points
    """[478, 3] landmarks of the real frame."""
    region: Box
    """Box around what is replaced."""
    mask: NDArray[np.float32]
    """[h, w] over `region`: what is replaced."""


@dataclass(frozen=True)
class Openings:
    """Lip openings of one take, in eye distances; NaN where a frame is missing or no face was found."""

    times: Series
    made: Series
    real: Series


class Tally:
    """Gathers pictures and landmarks of made frames against real ones."""

    def __init__(self, scale: OpeningScale) -> None:
        self.scale = scale
        self.frames = 0
        self.not_spoken_over = 0
        """Frames that are shown as they were filmed, as the head has turned away."""
        self.takes: list[Openings] = []
        self.silences: dict[str, list[Series]] = {}
        """Openings while nobody speaks, by kind of silence."""
        self._sums: dict[str, list[float]] = {}
        self._unequal = {"mouth_psnr": False, "frame_psnr": False}
        self._points: list[tuple[Points, Points]] = []
        self._now: dict[str, list[tuple[float, float]]] = {}
        self._times: list[float] = []
        self._widths: list[Series] = []
        self._jitter: list[tuple[float, float]] = []
        self._flicker: list[tuple[float, float]] = []
        self._curves: list[SyncCurve] = []
        self._closures: list[Closures] = []

    def add(self, moment: Moment, made: Picture, made_points: Points | None) -> Figures:
        """Take in one frame with the landmarks [478, 3] found in it (None: no face); return its figures."""
        points = np.full_like(moment.points, np.nan) if made_points is None else made_points
        figures = _picture_figures(made, moment) | _shape_figures(points, moment.points)
        self.frames += 1
        for name in ("mouth_psnr", "frame_psnr"):
            self._unequal[name] |= math.isfinite(figures[name])
            self._note(name, min(figures[name], PSNR_EQUAL))
        for name in _FRAME_FIGURES:
            self._note(name, figures[name])
        pair = (points, moment.points)
        self._follow(
            moment.time, pair, (box_brightness(made, moment.box), box_brightness(moment.real, moment.box))
        )
        return figures

    def skip(self, time: float) -> None:
        """Note that a frame is missing, so that nothing is measured across the gap."""
        nothing = np.full((478, 3), np.nan, np.float32)
        self._follow(time, (nothing, nothing), (math.nan, math.nan))

    def pass_over(self, time: float) -> None:
        """Note that a frame is shown as it was filmed, wholly or in part: it is counted, not judged."""
        self.not_spoken_over += 1
        self.skip(time)

    def cut(self) -> None:
        """Note that the next frame does not follow the last one: nothing is measured across."""
        nothing = np.full((478, 3), np.nan, np.float32)
        self._points.append((nothing, nothing))
        self._now.setdefault("light", []).append((math.nan, math.nan))

    def end_take(self, heard: Heard) -> Openings:
        """Close a take: what is measured over time never crosses from one take into the next."""
        self._flush()
        times = np.array(self._times)
        opening, width, light = (np.array(self._now[name]).T for name in ("opening", "width", "light"))
        self._times, self._now = [], {}
        openings = Openings(times, opening[0], opening[1])
        self.takes.append(openings)
        self._widths.append(width)
        self._flicker.append((flicker(light[0]), flicker(light[1])))
        self._curves.append(sync_curve(opening[0], heard.wave, times - heard.begins))
        if heard.closures is not None:
            self._closures.append(closures(opening[0], times, heard.closures, scale=self.scale))
        if heard.pauses is not None:
            self.add_silence("pauses", opening[0][frames_inside(times, heard.pauses, margin=SETTLE)])
        return openings

    def add_silence(self, kind: str, openings: Series) -> None:
        """Take in openings [T] of frames in which nothing is said."""
        self.silences.setdefault(kind, []).append(openings[np.isfinite(openings)])

    def silent_open(self, kind: str | None = None) -> float:
        """Return the per cent of silent frames whose mouth is open, of one kind or of all; NaN without."""
        chosen = [kind] if kind else list(self.silences)
        known = np.concatenate(
            [part for name in chosen for part in self.silences.get(name, [])] or [np.zeros(0)]
        )
        return 100 * float((known > self.scale.threshold).mean()) if known.size else math.nan

    def row(self) -> dict[str, float | None]:
        """Return the row of the table."""
        if not self.frames:
            return {"frames": 0, "frames_not_spoken_over": self.not_spoken_over}
        opening, width = self._opening(), np.concatenate(self._widths, axis=1)
        sync, closed = pooled_offset(self._curves), _pool(self._closures)
        row: dict[str, float | None] = {
            name: total / count if count else None for name, (total, count) in self._sums.items()
        }
        row |= {name: None for name, unequal in self._unequal.items() if not unequal}
        return row | {
            "opening_r": pearson(*opening),
            "opening_ccc": concordance(*opening),
            "opening_std_ratio": std_ratio(*opening),
            "width_r": pearson(*width),
            "closure_reached": closed.reached,
            "silent_open_percent": self.silent_open(),
            "sync_offset_ms": trusted_offset(self._curves),
            "sync_confidence": sync.confidence,
            "jitter_ratio": _ratio(self._jitter),
            "flicker_ratio": _ratio(self._flicker),
            "frames": self.frames,
            "frames_not_spoken_over": self.not_spoken_over,
        }

    def details(self) -> dict[str, object]:
        """Return what the table has no room for; None where unknown."""
        opening, closed = self._opening(), _pool(self._closures)
        sure = fisher_interval(pearson(*opening), count=effective_count(*opening))
        parts = {kind: np.concatenate(found) for kind, found in self.silences.items() if found}
        return {
            "opening_r_interval": [round(edge, 4) for edge in sure],
            "closures": closed.count,
            "closure_depth": _plain(closed.depth),
            "silent_open_percent": {kind: _plain(self.silent_open(kind)) for kind in parts},
            "silent_motion": {
                kind: _plain(float(found.std())) for kind, found in parts.items() if found.size
            },
            "sync_correlation": _plain(pooled_offset(self._curves).correlation),
        }

    def _opening(self) -> Series:
        """Return the openings of all takes; [2, T], made and real."""
        return np.stack(
            [np.concatenate([getattr(take, side) for take in self.takes]) for side in ("made", "real")]
        )

    def _note(self, name: str, value: float) -> None:
        sums = self._sums.setdefault(name, [0.0, 0])
        if math.isfinite(value):
            sums[0] += value
            sums[1] += 1

    def _follow(self, time: float, points: tuple[Points, Points], light: tuple[float, float]) -> None:
        made, real = (side[None] for side in points)
        self._times.append(time)
        for name, pair in (
            ("opening", (float(lip_opening(made)[0]), float(lip_opening(real)[0]))),
            ("width", (float(lip_width(made)[0]), float(lip_width(real)[0]))),
            ("light", light),
        ):
            self._now.setdefault(name, []).append(pair)
        self._points.append(points)
        if len(self._points) >= _BLOCK:
            self._flush()

    def _flush(self) -> None:
        if self._points:
            made, real = (np.stack(side) for side in zip(*self._points, strict=True))
            self._jitter.append((jitter(made), jitter(real)))
        self._points = []


def _picture_figures(made: Picture, moment: Moment) -> Figures:
    x0, y0, x1, y1 = moment.box
    mouth, real_mouth = made[y0:y1, x0:x1], moment.real[y0:y1, x0:x1]
    left, top, right, bottom = moment.region
    pasted, beneath = made[top:bottom, left:right], moment.real[top:bottom, left:right]
    return {
        "mouth_psnr": psnr(mouth, real_mouth), "mouth_ssim": ssim(mouth, real_mouth),
        "mouth_cpbd": cpbd(mouth), "sharpness_ratio": sharpness_ratio(mouth, real_mouth),
        "frame_psnr": psnr(made, moment.real), "frame_ssim": ssim(made, moment.real),
        "seam_ratio": seam_ratio(pasted, beneath, moment.mask),
    }  # fmt: skip


def _shape_figures(points: Points, real: Points) -> Figures:
    distance = float(lmd_frames(points[None], real[None])[0])
    left, right = OUTER_EYE_CORNERS
    eyes = float(np.linalg.norm(real[right, :2] - real[left, :2]))
    error = float(np.abs(lip_opening(points[None]) - lip_opening(real[None]))[0])
    return {"lmd_px": distance, "lmd_percent": 100 * distance / eyes, "opening_error": error}


def _pool(found: list[Closures]) -> Closures:
    """Return the closures of all takes as one."""
    known = [one for one in found if one.count]
    if not known:
        return Closures(0, math.nan, math.nan)
    weights = [one.count for one in known]
    means = (
        float(np.average([getattr(one, name) for one in known], weights=weights))
        for name in ("reached", "depth")
    )
    return Closures(sum(weights), *means)


def _ratio(pairs: list[tuple[float, float]]) -> float | None:
    """Return the mean of what was made over the mean of what is real, over the takes that have both."""
    known = np.array([pair for pair in pairs if all(map(math.isfinite, pair))])
    return float(known[:, 0].mean() / known[:, 1].mean()) if known.size and known[:, 1].mean() > 0 else None


def _plain(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


Details = Mapping[str, object]
