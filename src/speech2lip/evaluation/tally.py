"""The figures of one row of a table, gathered frame by frame so that memory does not grow with pictures."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from speech2lip.evaluation.agreement import concordance, pearson, std_ratio
from speech2lip.evaluation.mouth_box import Box
from speech2lip.evaluation.picture import psnr, sharpness_ratio, ssim
from speech2lip.evaluation.shape import lip_opening, lip_width, lmd, lmd_percent
from speech2lip.evaluation.temporal import jitter

Picture = NDArray[np.uint8]
Points = NDArray[np.float32]


class Tally:
    """Gathers pictures and landmarks of made frames against real ones."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}
        self._made: list[Points] = []
        self._real: list[Points] = []
        self._series: dict[str, list[NDArray[np.float64]]] = {}
        self._jitter: list[tuple[float, float]] = []
        self.frames = 0

    def add(
        self, made: Picture, real: Picture, box: Box, made_points: Points | None, real_points: Points
    ) -> None:
        """Take in one frame: pictures [H, W, 3], mouth box, landmarks [478, 3] (None or NaN without a face)."""
        x0, y0, x1, y1 = box
        mouth, real_mouth = made[y0:y1, x0:x1], real[y0:y1, x0:x1]
        self.frames += 1
        self._note("mouth_psnr", psnr(mouth, real_mouth))
        self._note("mouth_ssim", ssim(mouth, real_mouth))
        self._note("frame_psnr", psnr(made, real))
        self._note("frame_ssim", ssim(made, real))
        self._note("sharpness_ratio", sharpness_ratio(mouth, real_mouth))
        self._made.append(np.full_like(real_points, np.nan) if made_points is None else made_points)
        self._real.append(real_points)

    def _note(self, name: str, value: float) -> None:
        self._sums.setdefault(name, []).append(value)

    def end_take(self) -> None:
        """Close a take: what is measured over time never crosses from one take into the next."""
        if not self._made:
            return
        made, real = np.stack(self._made), np.stack(self._real)
        self._made, self._real = [], []
        for name, measure in (("opening", lip_opening), ("width", lip_width)):
            self._series.setdefault(name, []).append(np.stack([measure(made), measure(real)]))
        self._series.setdefault("lmd_px", []).append(np.atleast_1d(lmd(made, real)))
        self._series.setdefault("lmd_percent", []).append(np.atleast_1d(lmd_percent(made, real)))
        self._jitter.append((jitter(made), jitter(real)))

    def row(self) -> dict[str, float | None]:
        """Return the row of the table."""
        if not self.frames:
            return {"frames": 0}
        opening, width = (np.concatenate(self._series[name], axis=1) for name in ("opening", "width"))
        made, real = np.nanmean(np.array(self._jitter), axis=0)
        row: dict[str, float | None] = {name: _mean(values) for name, values in self._sums.items()}
        return row | {
            "lmd_px": float(np.nanmean(np.concatenate(self._series["lmd_px"]))),
            "lmd_percent": float(np.nanmean(np.concatenate(self._series["lmd_percent"]))),
            "opening_r": pearson(*opening), "opening_ccc": concordance(*opening), "opening_std_ratio": std_ratio(*opening),
            "width_r": pearson(*width), "jitter_ratio": made / real if real else None, "frames": self.frames,
        }  # fmt: skip


def _mean(values: list[float]) -> float | None:
    """Return the mean; None where all frames are equal to the real ones (PSNR without limit)."""
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else None
