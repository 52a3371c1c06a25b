"""Sound of any file in, as a stream of bounded memory or as one wave."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import soxr

from speech2lip.arrays import Floats
from speech2lip.atomic import output_errors
from speech2lip.conventions import SAMPLE_RATE
from speech2lip.errors import SoundError, Speech2LipError
from speech2lip.media.container import BROKEN, SOUND, decode_packets, moving_pictures, open_stream
from speech2lip.media.video import probe_video

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame

QUIETEST_SPEECH = -55.0
"""Decibels below full scale (root mean square of the loud moments) under which nobody is heard speaking."""

STEADIEST_SPEECH = 3.0
"""Decibels between loud and quiet moments: speech has far more, a steady noise or tone less."""

_MOMENT = 0.02
_STEADY_SECONDS = 2.0
_LONGEST_GAPS = 600.0
"""Seconds, all gaps of a file together: a small file must not become hours of silence."""
_LOUDEST = 1000.0
"""Of a sample whose full scale is 1; beyond are samples that were never scaled, or no sound at all."""
_RATES = range(1_000, 768_001)
_KEPT_BYTES = 32_000_000
"""Sound that needs no more is decoded once, however often it is read: 83 s in stereo at 48 kHz."""


class SoundReader:
    """Reads the sound of any sound or video file in blocks of about a second, however long the file is.

    In a file with moving pictures sample 0 is at the first picture's time: sound that starts later is
    preceded by silence, sound from before is cut. Gaps in the recording become silence: sound and picture
    stay in step.

    Args:
        keep: Decode a short sound once, whatever the number of passes.

    Raises:
        SoundError: no such file, no sound in it, an empty one, or none that can be decoded.
    """

    def __init__(self, path: Path, *, keep: bool = False) -> None:
        self.path = path
        self.broken_packets = 0
        """Packets of the latest pass that could not be decoded."""
        self._kept_bytes = _KEPT_BYTES if keep else 0
        self._kept: list[Floats] | None = None
        with open_stream(path, SOUND) as (container, stream):
            self.sample_rate: int = stream.codec_context.sample_rate
            """Samples per second."""
            self.channels: int = min(2, stream.codec_context.layout.nb_channels or 1)
            """1 or 2; more are mixed down to 2."""
            length = container.duration / av.time_base if container.duration else 0.0
            self.seconds: float | None = length if length > 0 else None
            """Length as the file tells it."""
            pictures = moving_pictures(container)
        if self.sample_rate not in _RATES:
            raise SoundError(f"{path} has sound of {self.sample_rate} samples a second. Convert it to WAV.")
        self._origin: float | None = None
        if pictures:
            with suppress(Speech2LipError):  # no moving picture to keep in step with
                self._origin = probe_video(path).first_time

    def __iter__(self) -> Iterator[Floats]:
        """Yield blocks float32 [S, channels] in [-1, 1] at `sample_rate`."""
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[Floats] = []
        room = self._kept_bytes
        for block in self._blocks():
            room -= block.nbytes
            if room >= 0:
                kept.append(block)
            else:
                kept.clear()
            yield block
        if room >= 0 and self._kept_bytes:
            self._kept = kept

    def _blocks(self) -> Iterator[Floats]:
        """About a second of sound at a time."""
        pending: list[Floats] = []
        total = 0
        for piece in self._pieces():
            pending.append(piece)
            if sum(map(len, pending)) >= self.sample_rate:
                total += 1
                yield self._joined(pending)
                pending.clear()
        if pending:
            yield self._joined(pending)
        elif not total:
            reason = "cannot be decoded" if self.broken_packets else "is empty"
            raise SoundError(f"The sound of {self.path} {reason}. Give a file with somebody speaking.")

    def _joined(self, pieces: list[Floats]) -> Floats:
        block = np.concatenate(pieces)
        largest = float(np.abs(block).max())
        if not np.isfinite(largest):
            raise SoundError(f"{self.path} has samples that are no numbers. Convert it to 16-bit WAV.")
        if largest > _LOUDEST:
            raise SoundError(
                f"{self.path} has samples of {largest:.3g}, full scale is 1. Scale it, or convert it to "
                "16-bit WAV."
            )
        return block

    def _pieces(self) -> Iterator[Floats]:
        """Decoded sound in its place on the timeline: silence in gaps, nothing before the origin."""
        position = silent = 0
        origin = self._origin
        for frame in self._frames():
            samples: Floats = np.ascontiguousarray(frame.to_ndarray().T, dtype=np.float32)
            if frame.pts is not None and frame.time_base is not None:
                start = float(frame.pts * frame.time_base)
                origin = start if origin is None else origin
                late = round((start - origin) * self.sample_rate) - position
                # Stamps of most files are rounded: only a real gap, or a start away from the origin, counts.
                if late > (0 if position == 0 else self.sample_rate // 20):
                    silent += late
                    yield from self._silence(late, silent)
                    position += late
                elif late < 0 and position == 0:
                    samples = samples[-late:]
            position += len(samples)
            if len(samples):
                yield samples

    def _silence(self, length: int, so_far: int) -> Iterator[Floats]:
        if so_far > _LONGEST_GAPS * self.sample_rate:
            minutes = so_far / self.sample_rate / 60
            raise SoundError(
                f"{self.path} has gaps of {minutes:.0f} minutes in its sound. "
                "Is the file damaged? Convert it to WAV."
            )
        for start in range(0, length, self.sample_rate):
            yield np.zeros((min(self.sample_rate, length - start), self.channels), np.float32)

    def _frames(self) -> Iterator[AudioFrame]:
        """Decoded frames as float32 planes of `channels` at `sample_rate`."""
        self.broken_packets = 0
        with open_stream(self.path, SOUND) as (container, stream):
            resampler, shape = self._resampler(), None
            try:
                for frame in decode_packets(container, stream, self._count_broken):
                    if shape not in (None, _shape(frame)):  # a recording may change to other channels
                        yield from resampler.resample(None)
                        resampler = self._resampler()
                    shape = _shape(frame)
                    yield from resampler.resample(frame)
                yield from resampler.resample(None)
            except BROKEN as error:
                raise SoundError(
                    f"The sound of {self.path} ({stream.codec_context.layout.name}) cannot be made one of "
                    f"{self.channels}. Convert it to WAV in mono or stereo."
                ) from error

    def _resampler(self) -> av.AudioResampler:
        layout = "stereo" if self.channels == 2 else "mono"
        return av.AudioResampler(format="fltp", layout=layout, rate=self.sample_rate)

    def _count_broken(self) -> None:
        self.broken_packets += 1


def resample_blocks(blocks: Iterable[Floats], from_rate: int, to_rate: int = SAMPLE_RATE) -> Iterator[Floats]:
    """Turn blocks [S, C] or [S] at one rate into mono float32 [S] at another; the same as in one piece."""
    if from_rate == to_rate:
        yield from map(_mono, blocks)
        return
    resampler = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32")
    for block in blocks:
        out = resampler.resample_chunk(_mono(block), last=False)
        if len(out):
            yield out
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def read_wave(path: Path) -> Floats:
    """Read the whole sound of a sound or video file as a mono wave, float32 [S] in [-1, 1] at 16 kHz.

    Sample 0 is at the first picture of a video.

    Raises:
        SoundError: as `SoundReader`.
    """
    reader = SoundReader(path)
    wave = np.concatenate(list(resample_blocks(reader, reader.sample_rate)))
    return np.clip(wave, -1.0, 1.0)


def write_flac(path: Path, wave: Floats) -> None:
    """Write a mono wave, float32 [S] in [-1, 1] at 16 kHz, as a 16-bit FLAC file.

    Raises:
        OutputError: the disk is full, or the place is not writable.
    """
    import soundfile

    coded = io.BytesIO()  # libsndfile's own errors do not tell a full disk from other faults
    soundfile.write(coded, wave, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    with output_errors(path):
        path.write_bytes(coded.getbuffer())


def check_speech(reader: SoundReader) -> float:
    """Return how loud the loud moments are (5 % of 20 ms each), in decibels below full scale.

    A check of levels only: it does not tell speech from music.

    Raises:
        SoundError: nobody can be heard speaking: silence, or a noise that never changes.
    """
    moment = max(1, round(_MOMENT * reader.sample_rate))
    powers: list[Floats] = []
    samples = 0
    for block in reader:
        mono = _mono(block)
        samples += len(mono)
        whole = len(mono) // moment * moment
        pieces = mono[:whole].reshape(-1, moment) if whole else mono[None]
        powers.append(np.square(pieces, dtype=np.float64).mean(axis=1))
    quiet, loud = np.percentile(10 * np.log10(np.concatenate(powers) + 1e-12), [5, 95])
    if loud < QUIETEST_SPEECH:
        raise SoundError(
            f"Nobody is heard in {reader.path}: its loud parts are at {loud:.0f} dB, "
            f"speech needs {QUIETEST_SPEECH:.0f} dB. Check the recording, or make it louder."
        )
    if samples > _STEADY_SECONDS * reader.sample_rate and loud - quiet < STEADIEST_SPEECH:
        raise SoundError(
            f"{reader.path} holds a steady noise and no speech (it varies by {loud - quiet:.1f} dB). "
            "Give a recording of somebody speaking."
        )
    return float(loud)


def _mono(block: Floats) -> Floats:
    return block if block.ndim == 1 else block.mean(axis=1, dtype=np.float32)


def _shape(frame: AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate
