"""Lips under sound that is not their own: silence, and the sound of other takes."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from speech2lip.conventions import LANDMARK_COUNT
from speech2lip.decomposition.footage import Take
from speech2lip.evaluation.accumulate import Tally
from speech2lip.evaluation.held_out import Span
from speech2lip.evaluation.methods import Maker, mel_features
from speech2lip.evaluation.metrics.landmarks import lip_opening
from speech2lip.evaluation.metrics.statistics import (
    bootstrap_interval,
    effective_count,
    fisher_interval,
    partial_correlation,
    pearson,
)
from speech2lip.evaluation.speech_labels import Wave, digital_silence, room_noise
from speech2lip.faces.landmarks import LandmarkDetector
from speech2lip.progress import Progress

Series = NDArray[np.float64]
Detect = Callable[[], LandmarkDetector]

SILENT_SECONDS = 4.0
SILENCES: dict[str, Callable[[float], Wave]] = {"digital": digital_silence, "room noise": room_noise}
LEAST_PAIRED = 15
"""Frames below which a pairing tells nothing."""


def driven_openings(
    maker: Maker, span: Span, mel: Tensor, moments: Series, detector: LandmarkDetector
) -> Series:
    """Return the lip openings of a span's frames under the sound of moments [T].

    NaN where none is known or the frame is not spoken over.

    Args:
        moments: seconds in `mel`, one for each frame of the span.
    """
    return lip_opening(driven_landmarks(maker, span, mel, moments, detector)).astype(np.float64)


def driven_landmarks(
    maker: Maker, span: Span, mel: Tensor, moments: Series, detector: LandmarkDetector
) -> NDArray[np.float32]:
    """Return the landmarks of a span's frames under the sound of moments [T]; [T, 478, 3], NaN unknown."""
    return _driven({"": maker}, span, mel, moments, {"": detector})[""]


def _driven(
    makers: Mapping[str, Maker],
    span: Span,
    mel: Tensor,
    moments: Series,
    detectors: Mapping[str, LandmarkDetector],
) -> dict[str, NDArray[np.float32]]:
    """Do as `driven_landmarks` for several makers; frames are decoded once."""
    found = {
        name: np.full((span.stop - span.start, LANDMARK_COUNT, 3), np.nan, np.float32) for name in makers
    }
    for batch in span.batches():
        places = np.array([frame.index - span.start for frame in batch])
        for name, maker in makers.items():
            pictures = maker.make(span.take, batch, mel, moments[places])
            spoken = maker.shares(span.take)[[frame.index for frame in batch]] == 1
            for place, picture in zip(places[spoken], itertools.compress(pictures, spoken), strict=True):
                points = detectors[name].detect(picture)
                if points is not None:
                    found[name][place] = points
    return found


def _driven_openings(
    makers: Mapping[str, Maker], span: Span, mel: Tensor, moments: Series, detect: Detect
) -> dict[str, Series]:
    with contextlib.ExitStack() as stack:
        detectors = {name: stack.enter_context(detect()) for name in makers}
        landmarks = _driven(makers, span, mel, moments, detectors)
    return {name: lip_opening(points).astype(np.float64) for name, points in landmarks.items()}


def drive_with_silence(
    makers: dict[str, Maker], tallies: dict[str, Tally], spans: Sequence[Span], *, frames: int, detect: Detect
) -> None:
    """Drive held-out frames with digital silence and with room noise, a second of each of several takes.

    The middle of a take is taken: its own mouth is speaking there, and what shows of it counts.
    """
    for part in silent_parts(spans, frames):
        for kind, make_sound in SILENCES.items():
            mel = mel_features(makers.values(), make_sound(SILENT_SECONDS))
            moments = np.minimum(1.0 + part.times - part.times[0], SILENT_SECONDS - 1)
            for name, openings in _driven_openings(makers, part, mel, moments, detect).items():
                tallies[name].add_silence(kind, openings)


def silent_parts(spans: Sequence[Span], frames: int) -> list[Span]:
    """Choose about a second from the middle of as many takes as give the frames wanted."""
    length = max(1, round(float(spans[0].take.fps)))
    wanted = min(len(spans), max(1, -(-frames // length)))
    chosen = [spans[round(i * (len(spans) - 1) / max(1, wanted - 1))] for i in range(wanted)]
    # Fewer takes than seconds wanted: longer parts of each.
    length = max(length, -(-frames // wanted))
    return [span.part(max(0, (span.stop - span.start - length) // 2), length) for span in chosen]


@dataclass(frozen=True)
class Pairing:
    """The frames of one take under the sound of another; openings [T] in eye distances."""

    made: Series
    shown: Series
    """Own true opening of the frames that are shown."""
    heard: Series
    """True opening of the person who is heard, at the same moments."""
    usual: Series | None = None
    """Mean opening of all other takes at the same frames: what rhythm alone tells; None without others."""

    def leak(self) -> float:
        """Partial correlation with what is shown, given what is heard and the usual rhythm; 0 without a leak.

        Sound says more about the lips than one true opening does; where all takes begin and end alike, the
        rest of it would pass for a leak.
        """
        given = self.heard if self.usual is None else np.stack([self.heard, self.usual], axis=1)
        return partial_correlation(self.made, self.shown, given=given)

    def leak_given_heard(self) -> float:
        """Do as `leak`, the rhythm that takes share not taken out."""
        return partial_correlation(self.made, self.shown, given=self.heard)

    def plain_leak(self) -> float:
        """Plain correlation with what is shown; takes share their rhythm, so not 0 even without a leak."""
        return pearson(self.made, self.shown)

    def cross(self) -> float:
        """Correlation with what is heard."""
        return pearson(self.made, self.heard)


def pair_up(
    spans: Sequence[Span], sounds: Sequence[Span], *, pairings: int, frames: int
) -> list[tuple[Span, Span]]:
    """Choose which frames are shown under which sound, evenly over all pairs, never a take under itself.

    Args:
        spans: what is shown.
        sounds: what is heard; may be the same.
        frames: most frames of one pairing.
    """
    pairs: list[tuple[Span, Span]] = []
    for shift in sorted(range(len(sounds)), key=lambda step: abs(step - len(sounds) // 2)):
        here = []
        for number, span in enumerate(spans):
            sound = sounds[(number + shift) % len(sounds)]
            count = min(len(span.times), len(sound.times), frames)
            if count >= LEAST_PAIRED and not _overlap(span, sound):
                here.append((span.part(0, count), sound.part(0, count)))
        wanted = min(len(here), pairings - len(pairs))
        pairs += [here[i * len(here) // wanted] for i in range(wanted)]
        if len(pairs) == pairings:
            break
    return pairs


def pieces(spans: Sequence[Span], frames: int) -> list[Span]:
    """Cut spans into parts of a few frames, so that long takes make as many pairs as many takes do.

    A part never crosses a cut: sittings differ in more than the lips, and both sides of a pairing would jump.
    """
    return [
        Span(shot.take, start, min(start + frames, shot.stop))
        for span in spans
        for shot in span.shots()
        for start in range(shot.start, shot.stop, frames)
        if min(start + frames, shot.stop) - start >= LEAST_PAIRED
    ]


def drive_with_others(
    makers: Mapping[str, Maker],
    pairs: Sequence[tuple[Span, Span]],
    takes: Sequence[Take],
    *,
    detect: Detect,
) -> dict[str, list[Pairing]]:
    """Drive each pair's frames with the other's sound, row by row.

    `takes` are all there are, for the usual rhythm.
    """
    found: dict[str, list[Pairing]] = {name: [] for name in makers}
    with Progress("Trying other takes' sound", total=max(1, len(pairs)), unit="pairs") as progress:
        for number, (span, sound) in enumerate(pairs):
            wave, begins = sound.take.wave_around(float(sound.times[0]), float(sound.times[-1]))
            mel = mel_features(makers.values(), wave)
            made = _driven_openings(makers, span, mel, sound.times - begins, detect)
            shown, heard = (_true_opening(one) for one in (span, sound))
            others = [take for take in takes if take.name not in (span.take.name, sound.take.name)]
            usual = usual_opening(others, span.start, span.stop)
            for name, openings in made.items():
                found[name].append(Pairing(openings, shown, heard, usual))
            progress.set(number + 1)
    return found


def usual_opening(takes: Sequence[Take], start: int, stop: int) -> Series | None:
    """Return the mean opening over takes of frames start to stop; [T]; None if no take reaches that far."""
    total, count = np.zeros(stop - start), np.zeros(stop - start)
    for take in takes:
        opening = take.opening[start:stop].astype(np.float64)
        known = np.flatnonzero(np.isfinite(opening))
        total[known] += opening[known]
        count[known] += 1
    return total / count if count.size and count.min() > 0 else None


def leak_figures(pairings: Sequence[Pairing]) -> tuple[dict[str, float | None], dict[str, object]]:
    """Return `leak_r` and `cross_r` (means over pairings) and, beside them, plain ones and 95 % intervals."""
    if not pairings:
        return {"leak_r": None, "cross_r": None}, {"pairings": 0}
    names = ("leak", "leak_given_heard", "plain_leak", "cross")
    leak, given, plain, cross = (np.array([getattr(one, name)() for one in pairings]) for name in names)
    return {"leak_r": float(leak.mean()), "cross_r": float(cross.mean())}, {
        "pairings": len(pairings),
        "leak_r_interval": _interval(leak, [effective_count(one.made, one.shown) for one in pairings]),
        "leak_r_given_heard": round(float(given.mean()), 4),
        "leak_r_plain": round(float(plain.mean()), 4),
        "cross_r_interval": _interval(cross, [effective_count(one.made, one.heard) for one in pairings]),
    }


def other_sounds(spans: Sequence[Span], every: Sequence[Span]) -> tuple[Sequence[Span], bool]:
    """Choose the sounds for pairings: held-out ones, or with only one take of those, all others there are.

    Returns:
        The spans to hear, and whether the avatar has been trained on them.
    """
    if len(spans) > 1:
        return spans, False
    parts = pieces(every, max([LEAST_PAIRED, *(len(span.times) for span in spans)]))
    return [part for part in parts if not any(_overlap(part, span) for span in spans)], True


def _true_opening(span: Span) -> Series:
    opening = span.take.opening[span.start : span.stop].astype(np.float64)
    opening[span.take.left_out[span.start : span.stop] != 0] = math.nan
    return opening


def _overlap(a: Span, b: Span) -> bool:
    return a.take.name == b.take.name and a.start < b.stop and b.start < a.stop


def _interval(values: Series, counts: Sequence[float]) -> list[float]:
    """Return the 95 % interval of a mean correlation: the wider of Fisher's and the bootstrap's.

    A few pairings may agree by chance, and neighbouring frames are alike: neither is enough alone.
    """
    low, high = fisher_interval(float(values.mean()), count=sum(counts))
    bootstrap = bootstrap_interval(values)
    if math.isfinite(bootstrap[0]):
        low, high = min(low, bootstrap[0]), max(high, bootstrap[1])
    return [round(low, 4), round(high, 4)]
