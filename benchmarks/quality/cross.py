"""An avatar under the sound of strangers: there is no picture truth, but much can still be wrong."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speech2lip.conventions import SAMPLE_RATE
from speech2lip.decomposition.av_offset import (
    RATE,
    SyncCurve,
    pooled_offset,
    speech_energy,
    sync_curve,
    trusted_offset,
)
from speech2lip.evaluation.accumulate import Series
from speech2lip.evaluation.cross_driven import LEAST_PAIRED, driven_landmarks
from speech2lip.evaluation.held_out import Span
from speech2lip.evaluation.methods import Maker, mel_features
from speech2lip.evaluation.metrics.closure import OpeningScale, closures, phone_intervals, silent_open_percent
from speech2lip.evaluation.metrics.statistics import partial_correlation
from speech2lip.evaluation.metrics.temporal import jitter
from speech2lip.evaluation.speech_labels import TRUTH, Phones, Wave, heard_phones, pauses
from speech2lip.faces.landmarks import LandmarkDetector, lip_opening


@dataclass(frozen=True)
class Foreign:
    """A sound of somebody else."""

    name: str
    wave: Wave
    phones: Phones | None = None


@dataclass(frozen=True)
class CrossClip:
    """A span's frames under a stretch of foreign sound."""

    times: Series
    """Seconds in the foreign sound."""
    made: Series
    shown: Series
    jitter: tuple[float, float]
    cuts: tuple[int, ...] = ()
    """First frames after cuts."""

    def shots(self) -> list[CrossClip]:
        """Return the stretches between cuts."""
        edges = itertools.pairwise([0, *self.cuts, len(self.times)])
        return [CrossClip(self.times[a:b], self.made[a:b], self.shown[a:b], self.jitter) for a, b in edges]


def drive_with_stranger(
    maker: Maker,
    spans: Sequence[Span],
    sound: Foreign,
    *,
    seconds: float,
    scale: OpeningScale,
    detect: Callable[[], LandmarkDetector],
) -> dict[str, float | None]:
    """Let held-out frames speak a foreign sound, span after span, and return a row of the table.

    `leak_r` here: partial correlation of the made opening with the one that was covered, given the energy of
    what is heard (its true opening is not known), the mean over spans.

    Args:
        seconds: of the sound, at most; fewer where the held-out frames end before.
        scale: the person's own openings.
    """
    stretches = list(_stretches(maker, spans, sound, seconds, detect))
    if not stretches:
        return {"frames": 0}
    made = np.concatenate([one.made for one in stretches])
    shown = np.concatenate([one.shown for one in stretches])
    times = np.concatenate([one.times for one in stretches])
    curves = [_curve(one, sound.wave) for one in stretches]
    sync = pooled_offset(curves)
    shots = [shot for one in stretches for shot in one.shots()]
    leaks = [_leak(shot, sound.wave) for shot in shots if len(shot.times) >= LEAST_PAIRED]
    trembles = np.array([one.jitter for one in stretches])
    row: dict[str, float | None] = {
        "opening_std_ratio": float(np.nanstd(made) / np.nanstd(shown)) if np.nanstd(shown) > 0 else None,
        "silent_open_percent": silent_open_percent(
            made, times, pauses(sound.wave, sound.phones), scale=scale
        ),
        "leak_r": float(np.mean(leaks)) if leaks else None,
        "sync_offset_ms": trusted_offset(curves),
        "sync_confidence": sync.confidence,
        "jitter_ratio": float(np.nanmean(trembles[:, 0]) / np.nanmean(trembles[:, 1])),
        "frames": len(made),
    }
    if sound.phones is not None:
        intervals = phone_intervals(sound.phones.rows)
        row["closure_reached"] = closures(made, times, intervals, scale=scale).reached
    return {name: None if value is None or not math.isfinite(value) else value for name, value in row.items()}


def _stretches(
    maker: Maker,
    spans: Sequence[Span],
    sound: Foreign,
    seconds: float,
    detect: Callable[[], LandmarkDetector],
) -> list[CrossClip]:
    mel = mel_features([maker], sound.wave)
    end, clock, found = min(seconds, len(sound.wave) / SAMPLE_RATE), 0.0, []
    for span in spans:
        length = math.floor((end - clock) * float(span.take.fps))
        if length < 3:
            break
        part = span.part(0, length)
        times = clock + part.times - part.times[0]
        with detect() as detector:
            points = driven_landmarks(maker, part, mel, times, detector)
        real = part.take.landmarks[part.start : part.stop]
        cuts = tuple(shot.start - part.start for shot in part.shots()[1:])
        trembling = (jitter(points, cuts=cuts), jitter(real, cuts=cuts))
        openings = (lip_opening(points).astype(float), lip_opening(real).astype(float))
        found.append(CrossClip(times, *openings, trembling, cuts))
        clock = float(times[-1]) + 1 / float(span.take.fps)
    return found


def _curve(one: CrossClip, wave: Wave) -> SyncCurve:
    start = one.times[0]
    heard = wave[round(start * SAMPLE_RATE) :]
    return sync_curve(one.made, heard, one.times - start)


def _leak(one: CrossClip, wave: Wave) -> float:
    energy = speech_energy(wave)
    heard = np.interp(one.times, np.arange(len(energy)) / RATE, energy)
    return partial_correlation(one.made, one.shown, given=heard)


def strangers(files: Sequence[Path]) -> list[Foreign]:
    """Return sounds that nobody of the benchmark speaks: files beside the footage, and a synthetic voice.

    Phones are decoded where the file's name says that it is English.
    """
    from speech2lip.media.sound import read_wave
    from speech2lip_presenter.speech import speech_clips

    sounds = []
    for path in files:
        wave = read_wave(path)
        phones = heard_phones(wave) if path.stem.lower().startswith("english") else None
        sounds.append(Foreign(path.stem, wave, phones))
    clip = speech_clips("b")[0]
    exact = Phones(tuple((phone.name, phone.start, phone.end) for phone in clip.phones), TRUTH)
    return [*sounds, Foreign("synthetic voice", clip.wave, exact)]
