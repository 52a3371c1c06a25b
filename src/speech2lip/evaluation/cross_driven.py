"""Lips under sound that is not their own: silence, and the sound of other takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from speech2lip.arrays import Array, Floats
from speech2lip.config import EvaluateSettings
from speech2lip.conventions import LANDMARK_COUNT, SAMPLE_RATE
from speech2lip.decomposition.footage import Footage, Take
from speech2lip.evaluation.accumulate import Accumulator
from speech2lip.evaluation.held_out import Span
from speech2lip.evaluation.methods import Method, mel_features
from speech2lip.evaluation.metrics.statistics import (
    bootstrap_interval,
    effective_count,
    fisher_interval,
    partial_correlation,
    pearson,
)
from speech2lip.evaluation.result import Row
from speech2lip.evaluation.runner import shown_frames
from speech2lip.faces.landmarks import lip_opening
from speech2lip.progress import Progress

SILENT_SECONDS = 4.0
ROOM_NOISE_DB = -60.0
"""Root mean square of the made room noise, below full scale."""
LEAST_PAIRED = 15
"""Frames below which a pairing tells nothing."""


def driven_landmarks(
    methods: Mapping[str, Method], span: Span, mel: Tensor, moments: Array, footage: Footage
) -> dict[str, NDArray[np.float32]]:
    """Return the landmarks of a span's frames under the sound of moments [T], by method; [T, 478, 3].

    NaN where none are known or the frame is not spoken over.

    Args:
        moments: seconds in `mel`, one for each frame of the span.
    """
    frames = span.stop - span.start
    found = {name: np.full((frames, LANDMARK_COUNT, 3), np.nan, np.float32) for name in methods}
    for frame, _, points in shown_frames(methods, span, mel, moments, footage):
        for name, known in (points or {}).items():
            if known is not None:
                found[name][frame.index - span.start] = known
    return found


def driven_openings(
    methods: Mapping[str, Method], span: Span, mel: Tensor, moments: Array, footage: Footage
) -> dict[str, Array]:
    """Do as `driven_landmarks` for lip openings; [T] in eye distances."""
    landmarks = driven_landmarks(methods, span, mel, moments, footage)
    return {name: lip_opening(points).astype(np.float64) for name, points in landmarks.items()}


def drive_with_silence(
    methods: Mapping[str, Method],
    accumulators: Mapping[str, Accumulator],
    spans: Sequence[Span],
    footage: Footage,
    *,
    frames: int,
) -> None:
    """Drive held-out frames with digital silence and with room noise, a second of each of several takes.

    The middle of a take is taken: its own mouth is speaking there, and what shows of it counts.
    """
    for part in silent_parts(spans, frames):
        for kind, wave in silences().items():
            mel = mel_features(methods.values(), wave)
            moments = np.minimum(1.0 + part.times - part.times[0], SILENT_SECONDS - 1)
            for name, openings in driven_openings(methods, part, mel, moments, footage).items():
                accumulators[name].add_silence(kind, openings)


def silences() -> dict[str, Floats]:
    """Return four seconds of nothing at all, and of white noise 60 dB below full scale."""
    samples = round(SILENT_SECONDS * SAMPLE_RATE)
    noise = np.random.default_rng(0).normal(size=samples) * 10 ** (ROOM_NOISE_DB / 20)
    return {"digital": np.zeros(samples, np.float32), "room noise": noise.astype(np.float32)}


def silent_parts(spans: Sequence[Span], frames: int) -> list[Span]:
    """Choose about a second from the middle of as many takes as give the frames wanted."""
    length = max(1, round(float(spans[0].take.fps)))
    wanted = min(len(spans), max(1, -(-frames // length)))
    chosen = [spans[round(i * (len(spans) - 1) / max(1, wanted - 1))] for i in range(wanted)]
    # Fewer takes than seconds wanted: longer parts of each.
    return [span.middle(max(length, -(-frames // wanted))) for span in chosen]


@dataclass(frozen=True)
class Pairing:
    """The frames of one take under the sound of another; openings [T] in eye distances."""

    made: Array
    shown: Array
    """Own true opening of the frames that are shown."""
    heard: Array
    """True opening of the person who is heard, at the same moments."""
    usual: Array | None = None
    """Mean opening of all other takes at the same frames: what rhythm alone tells; None without others."""

    def leak(self) -> float:
        """Partial correlation with what is shown, given what is heard and the usual rhythm; 0 without a leak.

        Sound says more about the lips than one true opening does; where all takes begin and end alike, the
        rest of it would pass for a leak.
        """
        given = self.heard if self.usual is None else np.stack([self.heard, self.usual], axis=1)
        return partial_correlation(self.made, self.shown, given=given)


def leak_figures(pairings: Sequence[Pairing]) -> tuple[Row, dict[str, object]]:
    """Return `leak_r` and `cross_r`, means over pairings, and beside them 95 % intervals and the plain leak.

    The plain correlation with what is shown is not 0 even without a leak, as takes share their rhythm.
    """
    if not pairings:
        return {"leak_r": None, "cross_r": None}, {"pairings": 0}
    leak = np.array([one.leak() for one in pairings])
    plain = np.array([pearson(one.made, one.shown) for one in pairings])
    cross = np.array([pearson(one.made, one.heard) for one in pairings])
    return {"leak_r": float(leak.mean()), "cross_r": float(cross.mean())}, {
        "pairings": len(pairings),
        "leak_r_interval": _interval(leak, [effective_count(one.made, one.shown) for one in pairings]),
        "leak_r_plain": round(float(plain.mean()), 4),
        "cross_r_interval": _interval(cross, [effective_count(one.made, one.heard) for one in pairings]),
    }


def drive_with_others(
    methods: Mapping[str, Method], pairs: Sequence[tuple[Span, Span]], footage: Footage
) -> dict[str, list[Pairing]]:
    """Drive each pair's frames with the other's sound, method by method."""
    found: dict[str, list[Pairing]] = {name: [] for name in methods}
    with Progress("Trying other takes' sound", total=max(1, len(pairs)), unit="pairs") as progress:
        for number, (span, sound) in enumerate(pairs):
            wave, begins = sound.sound()
            mel = mel_features(methods.values(), wave)
            others = [take for take in footage.takes if take.name not in (span.take.name, sound.take.name)]
            usual = usual_opening(others, span.start, span.stop)
            for name, made in driven_openings(methods, span, mel, sound.times - begins, footage).items():
                found[name].append(Pairing(made, span.lip_opening, sound.lip_opening, usual))
            progress.set(number + 1)
    return found


def usual_opening(takes: Sequence[Take], start: int, stop: int) -> Array | None:
    """Return the mean opening over takes of frames start to stop; [T]; None if no take reaches that far."""
    total, count = np.zeros(stop - start), np.zeros(stop - start)
    for take in takes:
        opening = take.lip_opening[start:stop].astype(np.float64)
        known = np.flatnonzero(np.isfinite(opening))
        total[known] += opening[known]
        count[known] += 1
    return total / count if count.size and count.min() > 0 else None


def choose_pairs(
    spans: Sequence[Span], footage: Footage, settings: EvaluateSettings
) -> tuple[list[tuple[Span, Span]], bool]:
    """Choose which held-out frames are shown under which sound.

    Returns:
        Pairs of what is shown and what is heard, and whether the avatar has been trained on the sounds.
    """
    frames = settings.pairing_frames
    shown = pieces(spans, max(frames, LEAST_PAIRED))
    whole = [Span(take, 0, len(take.times)) for take in footage.takes]
    sounds, trained_on = other_sounds(shown, whole) if shown else ([], False)
    if not settings.pairings or not sounds:
        return [], trained_on
    return pair_up(shown, sounds, pairings=settings.pairings, frames=frames), trained_on


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


def other_sounds(spans: Sequence[Span], every: Sequence[Span]) -> tuple[Sequence[Span], bool]:
    """Choose the sounds for pairings: held-out ones, or with only one take of those, all others there are.

    Returns:
        The spans to hear, and whether the avatar has been trained on them.
    """
    if len(spans) > 1:
        return spans, False
    parts = pieces(every, max([LEAST_PAIRED, *(len(span.times) for span in spans)]))
    return [part for part in parts if not any(part.overlaps(span) for span in spans)], True


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
            if count >= LEAST_PAIRED and not span.overlaps(sound):
                here.append((span.part(0, count), sound.part(0, count)))
        wanted = min(len(here), pairings - len(pairs))
        pairs += [here[i * len(here) // wanted] for i in range(wanted)]
        if len(pairs) == pairings:
            break
    return pairs


def _interval(values: Array, counts: Sequence[float]) -> list[float]:
    """Return the 95 % interval of a mean correlation: the wider of Fisher's and the bootstrap's.

    A few pairings may agree by chance, and neighbouring frames are alike: neither is enough alone.
    """
    edges = np.array([fisher_interval(float(values.mean()), count=sum(counts)), bootstrap_interval(values)])
    return [round(float(np.nanmin(edges[:, 0])), 4), round(float(np.nanmax(edges[:, 1])), 4)]
