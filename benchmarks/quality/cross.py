"""An avatar under the sound of unseen speakers: there is no picture truth, but much can still be wrong."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speech2lip.arrays import Array, Floats
from speech2lip.conventions import SAMPLE_RATE
from speech2lip.decomposition.av_offset import (
    RATE,
    SyncCurve,
    pooled_offset,
    speech_energy,
    sync_curve,
    trusted_offset,
)
from speech2lip.decomposition.footage import Footage
from speech2lip.evaluation.cross_driven import LEAST_PAIRED, driven_landmarks
from speech2lip.evaluation.held_out import Span
from speech2lip.evaluation.methods import Method, mel_features
from speech2lip.evaluation.metrics.mouth import (
    SETTLE,
    OpeningScale,
    bilabial_intervals,
    closures_reached,
    frames_inside,
    jitter,
)
from speech2lip.evaluation.metrics.statistics import partial_correlation
from speech2lip.evaluation.result import Row
from speech2lip.evaluation.speech_labels import GROUND_TRUTH, Phones, heard_phones, pauses
from speech2lip.faces.landmarks import lip_opening
from speech2lip.media.sound import read_wave
from speech2lip_presenter.speech import speech_clips


@dataclass(frozen=True)
class UnseenSpeaker:
    """A sound of somebody whom the avatar has never heard."""

    name: str
    wave: Floats
    phones: Phones | None = None


@dataclass(frozen=True)
class CrossClip:
    """A span's frames under a stretch of another's sound."""

    times: Array
    """Seconds in that sound."""
    made: Array
    shown: Array
    jitter: tuple[float, float]
    cuts: tuple[int, ...] = ()
    """First frames after cuts."""

    def shots(self) -> list[CrossClip]:
        """Return the stretches between cuts."""
        edges = itertools.pairwise([0, *self.cuts, len(self.times)])
        return [CrossClip(self.times[a:b], self.made[a:b], self.shown[a:b], self.jitter) for a, b in edges]


def drive_with_unseen_speaker(
    method: Method, spans: Sequence[Span], sound: UnseenSpeaker, footage: Footage, *, seconds: float
) -> Row:
    """Let held-out frames speak another's sound, span after span, and return a row of the table.

    `leak_r` here: partial correlation of the made opening with the one that was covered, given the energy of
    what is heard (its true opening is not known), the mean over spans.

    Args:
        seconds: of the sound, at most; fewer where the held-out frames end before.
    """
    clips = _clips(method, spans, sound, footage, seconds)
    if not clips:
        return {"frames": 0}
    scale = OpeningScale.of(footage)
    made, shown, times = (
        np.concatenate([getattr(one, name) for one in clips]) for name in ("made", "shown", "times")
    )
    curves = [_curve(one, sound.wave) for one in clips]
    shots = [shot for one in clips for shot in one.shots()]
    leaks = [_leak(shot, sound.wave) for shot in shots if len(shot.times) >= LEAST_PAIRED]
    trembling = np.array([one.jitter for one in clips])
    silent = frames_inside(times, pauses(sound.wave, sound.phones), margin=SETTLE)
    row: dict[str, float | None] = {
        "opening_std_ratio": float(np.nanstd(made) / np.nanstd(shown)) if np.nanstd(shown) > 0 else None,
        "silent_open_percent": scale.open_percent(made[silent]),
        "leak_r": float(np.mean(leaks)) if leaks else None,
        "sync_offset_ms": trusted_offset(curves),
        "sync_confidence": pooled_offset(curves).confidence,
        "jitter_ratio": float(np.nanmean(trembling[:, 0]) / np.nanmean(trembling[:, 1])),
        "frames": len(made),
    }
    if sound.phones is not None:
        reached = closures_reached(made, times, bilabial_intervals(sound.phones.rows), scale=scale)
        row["closure_reached"] = float(np.mean(reached)) if reached else None
    return {name: None if value is None or not math.isfinite(value) else value for name, value in row.items()}


def _clips(
    method: Method, spans: Sequence[Span], sound: UnseenSpeaker, footage: Footage, seconds: float
) -> list[CrossClip]:
    mel = mel_features([method], sound.wave)
    end, clock, found = min(seconds, len(sound.wave) / SAMPLE_RATE), 0.0, []
    for span in spans:
        length = math.floor((end - clock) * float(span.take.fps))
        if length < 3:
            break
        part = span.part(0, length)
        times = clock + part.times - part.times[0]
        points = driven_landmarks({"": method}, part, mel, times, footage)[""]
        real = part.take.landmarks[part.start : part.stop]
        cuts = tuple(shot.start - part.start for shot in part.shots()[1:])
        trembling = (jitter(points, cuts=cuts), jitter(real, cuts=cuts))
        openings = (lip_opening(points).astype(float), lip_opening(real).astype(float))
        found.append(CrossClip(times, *openings, trembling, cuts))
        clock = float(times[-1]) + 1 / float(span.take.fps)
    return found


def _curve(one: CrossClip, wave: Floats) -> SyncCurve:
    start = one.times[0]
    heard = wave[round(start * SAMPLE_RATE) :]
    return sync_curve(one.made, heard, one.times - start)


def _leak(one: CrossClip, wave: Floats) -> float:
    energy = speech_energy(wave)
    heard = np.interp(one.times, np.arange(len(energy)) / RATE, energy)
    return partial_correlation(one.made, one.shown, given=heard)


def unseen_speakers(files: Sequence[Path]) -> list[UnseenSpeaker]:
    """Return sounds that nobody of the benchmark speaks: files beside the footage, and a synthetic voice.

    Phones are decoded where the file's name says that it is English.
    """
    sounds = []
    for path in files:
        wave = read_wave(path)
        phones = heard_phones(wave) if path.stem.lower().startswith("english") else None
        sounds.append(UnseenSpeaker(path.stem, wave, phones))
    clip = speech_clips("b")[0]
    exact = Phones(tuple((phone.name, phone.start, phone.end) for phone in clip.phones), GROUND_TRUTH)
    return [*sounds, UnseenSpeaker("synthetic voice", clip.wave, exact)]
