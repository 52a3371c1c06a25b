"""What is known of a take's speech: phones from ground truth, words or by ear, and where nobody speaks."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.signal import butter, sosfiltfilt

from speech2lip.arrays import Array, Floats
from speech2lip.conventions import SAMPLE_RATE
from speech2lip.decomposition.footage import WHOLE_SECONDS, Take
from speech2lip.evaluation.held_out import Span
from speech2lip.evaluation.metrics.mouth import Intervals, bilabial_intervals

if TYPE_CHECKING:
    from speech2lip_presenter import Truth

GROUND_TRUTH, ALIGNED, HEARD = "ground truth", "aligned words", "phone decoding"
MISSING = (
    'phones are not known: pip install "pocketsphinx>=5,<6", and put the words of each take beside it as .txt'
)

QUIET_DB = 20.0
"""A pause is this far below the loud parts ..."""
PAUSE_SECONDS = 0.5
"""... for at least this long: shorter ones hold hisses and stops."""
VOICE_HZ = 100.0
"""Sound below this is no voice."""
_MOMENT = SAMPLE_RATE // 50
_RATE = 100
"""Phone decoder's frames a second."""
_CAN_HEAR = find_spec("pocketsphinx") is not None


@dataclass(frozen=True)
class Phones:
    """Phones of a take with start and end in seconds."""

    rows: tuple[tuple[str, float, float], ...]
    source: str
    """How they are known: ground truth, aligned words or phone decoding."""


def phones_of(
    take: Take, wave: Floats, *, begins: float = 0.0, transcripts: Path | None = None
) -> Phones | None:
    """Find out what is said when in a take; None where nothing can tell.

    In this order: the presenter's ground truth beside the source video; forced alignment of the words in
    `TAKE.txt` (in `transcripts`, or beside the source video); phone decoding, which mishears many a stop
    consonant. The last two are for English and need pocketsphinx.

    Args:
        wave: [S], the take's sound; of a long take (see `Take.wave_around`) a part of it, whose words are not
            known: it is decoded.
        begins: second of the take at which `wave` begins.
    """
    truth = _truth_of(take)
    if truth is not None:
        return Phones(_runs(truth), GROUND_TRUTH)
    words = (transcripts or take.source_path.parent) / f"{take.name}.txt"
    text = words.read_text(encoding="utf-8") if words.is_file() else None
    if text and take.seconds <= WHOLE_SECONDS and _CAN_HEAR and (aligned := _align(wave, text)):
        return Phones(aligned, ALIGNED)
    return heard_phones(wave, begins=begins)


def true_opening(take: Take) -> Array | None:
    """Return the exact lip opening of a presenter's take; [T] in eye units, None for others."""
    truth = _truth_of(take)
    return None if truth is None else np.interp(take.times, truth.times, truth.lip_opening)


def _truth_of(take: Take) -> Truth | None:
    """Return the ground truth beside the source video, where it is the presenter's."""
    from speech2lip_presenter import read_truth, truth_path

    return read_truth(take.source_path) if truth_path(take.source_path).is_file() else None


def pauses(wave: Floats, phones: Phones | None = None, *, begins: float = 0.0) -> Intervals:
    """Return the stretches of at least half a second in which nobody speaks; [N, 2] seconds of the take.

    From ground truth where there is one, else where the sound, which begins at second `begins`, stays 20 dB
    below its loud parts.
    """
    if phones is not None and phones.source == GROUND_TRUTH:
        rows = [(a, b) for name, a, b in phones.rows if name == "pau" and b - a >= PAUSE_SECONDS]
        return np.array(rows, np.float64).reshape(-1, 2)
    count = len(wave) // _MOMENT
    if count * _MOMENT < PAUSE_SECONDS * SAMPLE_RATE or not np.any(wave):
        return np.zeros((0, 2))
    # Rumble below the voice is as loud as weak speech in many a room.
    heard = sosfiltfilt(butter(2, VOICE_HZ, "highpass", fs=SAMPLE_RATE, output="sos"), wave)
    power = (heard[: count * _MOMENT].reshape(count, _MOMENT).astype(np.float64) ** 2).mean(axis=1)
    smooth = np.convolve(power, np.ones(5) / 5, mode="same")
    quiet = smooth < np.quantile(smooth, 0.95) * 10 ** (-QUIET_DB / 10)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]).astype(np.int8)))
    found = edges.reshape(-1, 2) * (_MOMENT / SAMPLE_RATE) + begins
    return np.asarray(found[found[:, 1] - found[:, 0] >= PAUSE_SECONDS], np.float64)


def _runs(truth: Truth) -> tuple[tuple[str, float, float], ...]:
    """Return the runs of equal phones; their ends are known to half a frame."""
    step = float(np.median(np.diff(truth.times))) if len(truth.times) > 1 else 0.04
    starts = [0, *(np.flatnonzero(truth.phone[1:] != truth.phone[:-1]) + 1).tolist(), len(truth.phone)]
    return tuple(
        (str(truth.phone[a]), float(truth.times[a]), float(truth.times[b - 1]) + step)
        for a, b in itertools.pairwise(starts)
    )


def heard_phones(wave: Floats, *, begins: float = 0.0) -> Phones | None:
    """Decode the phones of any English sound that begins at some second; None without pocketsphinx."""
    if not _CAN_HEAR:
        return None
    import pocketsphinx

    model = Path(pocketsphinx.get_model_path()) / "en-us" / "en-us-phone.lm.bin"
    decoder = pocketsphinx.Decoder(
        lm=None, allphone=str(model), lw=2.0, beam=1e-20, pbeam=1e-20, loglevel="FATAL"
    )
    _listen(decoder, wave)
    rows = ((s.word, s.start_frame / _RATE, (s.end_frame + 1) / _RATE) for s in decoder.seg() or ())
    return Phones(tuple((name, begins + start, begins + stop) for name, start, stop in rows), HEARD)


def _align(wave: Floats, text: str) -> tuple[tuple[str, float, float], ...] | None:
    """Align words that are known; None where a word is not in the dictionary or the sound does not fit."""
    import pocketsphinx

    decoder = pocketsphinx.Decoder(lm=None, cmn="batch", loglevel="FATAL")
    try:
        decoder.set_align_text(" ".join(text.lower().split()))
        _listen(decoder, wave)
    except RuntimeError:
        return None
    words = [(s.word, s.start_frame, s.end_frame + 1) for s in decoder.seg() or ()]
    try:
        decoder.set_alignment()
        _listen(decoder, wave)
        rows = [(p.name, p.start, p.start + p.duration) for word in decoder.get_alignment() for p in word]
    except RuntimeError:
        # The second pass loses its way in some words with two pronunciations: spread their phones evenly.
        rows = [row for word in words for row in _spread(decoder, *word)]
    return tuple((name, start / _RATE, stop / _RATE) for name, start, stop in rows) or None


def _spread(decoder: Any, word: str, start: int, stop: int) -> list[tuple[str, float, float]]:
    phones = (decoder.lookup_word(word) or "SIL").split()
    step = (stop - start) / len(phones)
    return [(name, start + i * step, start + (i + 1) * step) for i, name in enumerate(phones)]


def _listen(decoder: Any, wave: Floats) -> None:
    """Hand over the sound by the half minute; the decoder wants 16-bit samples."""
    decoder.start_utt()
    for start in range(0, len(wave), 30 * SAMPLE_RATE):
        block = np.clip(wave[start : start + 30 * SAMPLE_RATE] * 32767, -32768, 32767).astype(np.int16)
        decoder.process_raw(block.tobytes(), full_utt=len(wave) <= 30 * SAMPLE_RATE)
    decoder.end_utt()


@dataclass(frozen=True)
class Heard:
    """The sound of a take, or of a part of a long one, and what is known of it (in the take's seconds)."""

    wave: Floats
    """[S] at 16 kHz."""
    closures: Intervals | None = None
    """[N, 2] seconds of /p b m/; None where phones are not known."""
    pauses: Intervals | None = None
    """[N, 2] seconds in which nobody speaks; None: not looked for."""
    source: str | None = None
    """How the phones are known."""
    begins: float = 0.0
    """Second of the take at which `wave` begins."""


def listen_to(span: Span, *, transcripts: Path | None = None) -> Heard:
    """Hear a span's take out; of a long take, only what belongs to the span."""
    wave, begins = span.sound()
    phones = phones_of(span.take, wave, begins=begins, transcripts=transcripts)
    return Heard(
        wave=wave,
        closures=None if phones is None else bilabial_intervals(phones.rows),
        pauses=pauses(wave, phones, begins=begins),
        source=None if phones is None else phones.source,
        begins=begins,
    )
