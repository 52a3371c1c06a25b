"""The figures of one row of a table, gathered frame by frame; memory holds some numbers, no pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from speech2lip.arrays import Array, Floats, Picture, Points
from speech2lip.conventions import Box
from speech2lip.decomposition.av_offset import SyncCurve, pooled_offset, sync_curve, trusted_offset
from speech2lip.evaluation.metrics.mouth import (
    SETTLE,
    OpeningScale,
    closures_reached,
    eye_distance,
    frames_inside,
    jitter,
    lip_width,
    lmd_frames,
)
from speech2lip.evaluation.metrics.picture import (
    PSNR_EQUAL,
    cpbd,
    flicker,
    luma,
    psnr,
    seam_ratio,
    sharpness_ratio,
    ssim,
)
from speech2lip.evaluation.metrics.statistics import (
    concordance,
    effective_count,
    fisher_interval,
    pearson,
    std_ratio,
)
from speech2lip.evaluation.result import Row
from speech2lip.evaluation.speech_labels import Heard
from speech2lip.faces.landmarks import lip_opening

Figures = dict[str, float]

_BLOCK = 500
"""Frames whose landmarks are held at a time."""
_NO_FACE = np.full((478, 3), np.nan, np.float32)


@dataclass(frozen=True)
class Moment:
    """What is known of a frame, whatever a method makes of it."""

    index: int
    """In its take."""
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
    mask: Floats
    """[h, w] over `region`: what is replaced."""


@dataclass(frozen=True)
class Openings:
    """Lip openings of one take, in eye distances; NaN where a frame is missing or no face was found."""

    times: Array
    made: Array
    real: Array


class Accumulator:
    """Gathers pictures and landmarks of made frames against real ones."""

    def __init__(self, scale: OpeningScale) -> None:
        self.scale = scale
        self.not_spoken_over = 0
        """Frames that are shown as they were filmed, as the head has turned away."""
        self.takes: list[Openings] = []
        self.silences: dict[str, list[Array]] = {}
        """Openings while nobody speaks, by kind of silence."""
        self._figures: list[Figures] = []
        self._shape: list[tuple[float, ...]] = []
        """Time, opening, made and real, and width, made and real, of each frame of this take."""
        self._light: list[tuple[float, float]] = []
        self._points: list[tuple[Points, Points]] = []
        self._widths: list[Array] = []
        self._jitter: list[tuple[float, float]] = []
        self._flicker: list[tuple[float, float]] = []
        self._curves: list[SyncCurve] = []
        self._reached: list[bool] = []

    def add(self, moment: Moment, made: Picture, made_points: Points | None) -> Figures:
        """Take in one frame with the landmarks [478, 3] found in it (None: no face); return its figures."""
        points = _NO_FACE if made_points is None else made_points
        figures = _picture_figures(made, moment) | _shape_figures(points, moment.points)
        self._figures.append(figures)
        x0, y0, x1, y1 = moment.box
        light, real_light = (float(luma(shown[y0:y1, x0:x1]).mean()) for shown in (made, moment.real))
        self._follow(moment.time, (points, moment.points), (light, real_light))
        return figures

    def skip(self, time: float) -> None:
        """Note that a frame is missing, so that nothing is measured across the gap."""
        self._follow(time, (_NO_FACE, _NO_FACE), (math.nan, math.nan))

    def pass_over(self, time: float) -> None:
        """Note that a frame is shown as it was filmed, wholly or in part: it is counted, not judged."""
        self.not_spoken_over += 1
        self.skip(time)

    def cut(self) -> None:
        """Note that the next frame does not follow the last one: nothing is measured across."""
        self._points.append((_NO_FACE, _NO_FACE))
        self._light.append((math.nan, math.nan))

    def end_take(self, heard: Heard) -> Openings:
        """Close a take: what is measured over time never crosses from one take into the next."""
        self._flush()
        (times, made, real, *widths), (light, real_light) = np.array(self._shape).T, np.array(self._light).T
        self._shape, self._light = [], []
        openings = Openings(times, made, real)
        self.takes.append(openings)
        self._widths.append(np.array(widths))
        self._flicker.append((flicker(light), flicker(real_light)))
        self._curves.append(sync_curve(openings.made, heard.wave, times - heard.begins))
        if heard.closures is not None:
            self._reached += closures_reached(openings.made, times, heard.closures, scale=self.scale)
        if heard.pauses is not None:
            self.add_silence("pauses", openings.made[frames_inside(times, heard.pauses, margin=SETTLE)])
        return openings

    def add_silence(self, kind: str, openings: Array) -> None:
        """Take in openings [T] of frames in which nothing is said."""
        self.silences.setdefault(kind, []).append(openings)

    def silent_open(self, *kinds: str) -> float:
        """Return the per cent of frames in these kinds of silence whose mouth is open; NaN without."""
        found = [part for kind in kinds for part in self.silences.get(kind, [])]
        return self.scale.open_percent(np.concatenate(found)) if found else math.nan

    def row(self) -> Row:
        """Return the row of the table."""
        counts: dict[str, float | None] = {
            "frames": len(self._figures),
            "frames_not_spoken_over": self.not_spoken_over,
        }
        if not self._figures:
            return counts
        opening, width = self._opening(), np.concatenate(self._widths, axis=1)
        means = {name: self._mean(name) for name in self._figures[0] if name != "opening_error"}
        return means | {
            "opening_r": pearson(*opening),
            "opening_ccc": concordance(*opening),
            "opening_std_ratio": std_ratio(*opening),
            "width_r": pearson(*width),
            "closure_reached": float(np.mean(self._reached)) if self._reached else None,
            "silent_open_percent": self.silent_open(*self.silences),
            "sync_offset_ms": trusted_offset(self._curves),
            "sync_confidence": pooled_offset(self._curves).confidence,
            "jitter_ratio": _ratio(self._jitter),
            "flicker_ratio": _ratio(self._flicker),
        } | counts  # fmt: skip

    def details(self) -> dict[str, object]:
        """Return what the table has no room for; None where unknown."""
        opening = self._opening()
        interval = fisher_interval(pearson(*opening), count=effective_count(*opening))
        silent = {kind: self.silent_open(kind) for kind in self.silences}
        return {
            "opening_r_interval": [round(edge, 4) for edge in interval],
            "closures": len(self._reached),
            "silent_open_percent": {
                kind: round(value, 4) if math.isfinite(value) else None for kind, value in silent.items()
            },
        }

    def _mean(self, name: str) -> float | None:
        """Return the mean of what is known of a figure; None if nothing is, or all pictures are equal."""
        found = np.array([figures[name] for figures in self._figures])
        if name.endswith("psnr") and np.isfinite(found).any():
            found = np.minimum(found, PSNR_EQUAL)
        known = found[np.isfinite(found)]
        return float(known.mean()) if known.size else None

    def _opening(self) -> tuple[Array, Array]:
        """Return the openings of all takes, made and real; [T] each."""
        made, real = ([getattr(take, side) for take in self.takes] for side in ("made", "real"))
        return np.concatenate(made), np.concatenate(real)

    def _follow(self, time: float, points: tuple[Points, Points], light: tuple[float, float]) -> None:
        both = np.stack(points)
        self._shape.append((time, *lip_opening(both), *lip_width(both)))
        self._light.append(light)
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
    made_opening, real_opening = lip_opening(np.stack([points, real])).tolist()
    return {
        "lmd_px": distance,
        "lmd_percent": 100 * distance / float(eye_distance(real[None])[0]),
        "opening_error": abs(made_opening - real_opening),
    }


def _ratio(pairs: list[tuple[float, float]]) -> float | None:
    """Return the mean of what was made over the mean of what is real, over the takes that have both."""
    known = np.array([pair for pair in pairs if all(map(math.isfinite, pair))])
    return float(known[:, 0].mean() / known[:, 1].mean()) if known.size and known[:, 1].mean() > 0 else None
