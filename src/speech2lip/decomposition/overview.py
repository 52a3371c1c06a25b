"""What a footage is like in figures, and what would make it better in plain words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2lip.arrays import Array, Floats
from speech2lip.decomposition.av_offset import RATE, speech_energy
from speech2lip.decomposition.footage import Footage, Rejection, Take
from speech2lip.faces.landmarks import FACE_OVAL
from speech2lip.formats import FootageInfo
from speech2lip.geometry.rigid import head_angles, unbroken_runs

Span = tuple[float, float, float]
"""Values that 2 %, half and 98 % of the frames stay below."""

GOOD_MINUTES = 3.0
"""Speech that the method asks for, in minutes."""
GOOD_FACE = 256
"""Width of a face, in pixels, from which teeth are drawn well."""
GOOD_SILENCE = 10.0
"""Seconds of closed lips without speech from which rest is learned."""
_QUIET_DB = -32.0
_SHORTEST_REST = 0.3


@dataclass(frozen=True)
class Overview:
    """A footage in figures, over the frames that can be trained on."""

    frames: int
    used: int
    seconds: float
    rejected: dict[str, int]
    """How many frames, by reason."""
    face_pixels: Span
    light: Span
    light_between_takes: float
    """Largest difference of two takes' median brightness, in levels."""
    yaw: Span
    pitch: Span
    roll: Span
    rest_seconds: float
    """Closed lips without speech."""
    advice: tuple[str, ...] = ()
    """Sentences, the most useful first."""

    def lines(self) -> tuple[str, str, str]:
        """Return the three lines that matter."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.rejected.items()) or "none"
        return (
            f"{_length(self.seconds)} to learn from, the face {self.face_pixels[1]:.0f} px wide, turned "
            f"{self.yaw[0]:+.0f} to {self.yaw[2]:+.0f} degrees",
            f"left out: {self.frames - self.used} of {self.frames} frames ({reasons})",
            f"advice: {self.advice[0] if self.advice else 'none, this footage is good'}",
        )


def look_over(footage: Footage) -> Overview:
    """Measure a footage."""
    takes = footage.takes
    kept = [take.kept for take in takes]

    def of_kept(values: Callable[[Take], Array | Floats]) -> NDArray[np.floating[Any]]:
        return np.concatenate([values(take)[frames] for take, frames in zip(takes, kept, strict=True)])

    angles = of_kept(lambda take: head_angles(take.camera_from_head))
    levels = [float(np.median(t.light[k].mean(1))) for t, k in zip(takes, kept, strict=True) if k.any()]
    overview = Overview(
        frames=sum(len(take.times) for take in takes),
        used=int(sum(k.sum() for k in kept)),
        seconds=float(sum(k.sum() / float(t.fps) for t, k in zip(takes, kept, strict=True))),
        rejected=dict(sum((Counter(take.rejection_counts()) for take in takes), Counter()).most_common()),
        face_pixels=_span(np.ptp(of_kept(lambda take: take.landmarks[:, FACE_OVAL, 0]), axis=1)),
        light=_span(of_kept(lambda take: take.light.mean(1))),
        light_between_takes=max(levels) - min(levels),
        yaw=_span(angles[:, 0]),
        pitch=_span(angles[:, 1]),
        roll=_span(angles[:, 2]),
        rest_seconds=rest_seconds(takes),
    )
    return replace(overview, advice=tuple(_advice(overview, footage.info)))


def _length(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def rest_seconds(takes: tuple[Take, ...]) -> float:
    """Return how long, in all takes together, nobody speaks and the lips are closed."""
    openings = np.concatenate([t.lip_opening[t.kept] for t in takes])
    closed_below = float(np.percentile(openings, 5)) + 0.02
    total = 0.0
    for take in takes:
        energy = speech_energy(take.wave())
        heard = np.interp(take.times, np.arange(len(energy)) / RATE, energy) if len(energy) else 0.0
        with np.errstate(invalid="ignore"):
            still = (take.kept) & (heard < _QUIET_DB) & (take.lip_opening < closed_below)
        runs = [(b - a) / float(take.fps) for a, b in unbroken_runs(still)]
        total += sum(run for run in runs if run >= _SHORTEST_REST)
    return total


def _span(values: NDArray[np.floating[Any]]) -> Span:
    low, middle, high = np.percentile(values, [2, 50, 98])
    return float(low), float(middle), float(high)


def _advice(overview: Overview, info: FootageInfo) -> list[str]:
    """Return what to do, the most useful first."""
    advice, face = [], overview.face_pixels[1]
    if overview.seconds < 60 * GOOD_MINUTES:
        advice.append(
            f"record more: this is {_length(overview.seconds)}, {GOOD_MINUTES:g} to 5 min are better"
        )
    if face < GOOD_FACE:
        advice.append(f"the face is {face:.0f} px wide, {GOOD_FACE} is better: record closer or larger")
    if overview.rest_seconds < GOOD_SILENCE:
        advice.append(
            f"record ten seconds of silence with closed lips: there are {overview.rest_seconds:.1f} s of it"
        )
    for reason, remedy in _REMEDIES.items():
        share = overview.rejected.get(reason.words, 0) / overview.frames
        if share > 0.02:
            advice.append(f"{share:.0%} of the frames are left out ({reason.words}): {remedy}")
    if overview.light[2] - overview.light[0] > 60:
        advice.append("the light changes much: record in even light, with exposure and white balance fixed")
    late = [1000 * offset.shift_seconds for offset in info.sound_offsets.values() if offset.corrected]
    if late:
        advice.append(
            f"the sound was {np.median(late):+.0f} ms late and was put right: see whether sound and picture "
            "are recorded by one device"
        )
    return advice


_REMEDIES = {
    Rejection.NO_FACE: "look into the camera, in good light",
    Rejection.FACE_CUT_BY_THE_BORDER: "sit so that the whole head stays in the picture",
    Rejection.FACE_TOO_SMALL: "record closer",
    Rejection.BROKEN_COLOURS: "record or export without errors, in constant light",
    Rejection.HEAVY_BLUR: "check the focus, use more light",
    Rejection.MOUTH_COVERED: "keep hands and microphone away from the mouth",
    Rejection.TURNED_AWAY: "look towards the camera",
    Rejection.SOMEBODY_ELSE: "one person per footage; with several faces choose with --face",
}
