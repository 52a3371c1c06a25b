"""A sound file in, a video of the avatar speaking it out."""

from __future__ import annotations

import itertools
import json
import logging
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import speech2lip
from speech2lip.arrays import Floats, Picture
from speech2lip.atomic import check_output
from speech2lip.compute import ordered_map, worker_count
from speech2lip.config import SpeakSettings
from speech2lip.conventions import AnyPath
from speech2lip.inference.audio_buffer import AudioBuffer, HeardWindows
from speech2lip.inference.motion import Shown
from speech2lip.inference.speaker import Speaker
from speech2lip.media.sound import SoundReader, check_speech, resample_blocks
from speech2lip.media.video_writer import VideoFormat, VideoWriter
from speech2lip.progress import Progress

_LOG = logging.getLogger(__name__)

_BATCH = 8
"""Frames drawn at once, at most."""
_BATCH_BYTES = 20_000_000
"""Most that the pictures drawn at once may need: fewer large ones are drawn at once."""


@dataclass(frozen=True)
class SpeakResult:
    """What was written."""

    path: Path
    frames: int
    seconds: float
    frames_per_second: float
    """Speed of the whole: reading sound, drawing, composing and encoding."""
    precision: str


def speak(
    sound: AnyPath,
    *,
    avatar: AnyPath,
    output: AnyPath,
    settings: SpeakSettings | None = None,
    overwrite: bool = False,
) -> SpeakResult:
    """Let an avatar speak a sound file; the video has the sound's length to the frame.

    Memory does not grow with the length.

    Args:
        sound: any sound (or video) file.
        avatar: an avatar folder.
        output: an .mp4, .mkv or .mov to write.

    Raises:
        SoundError, AvatarError, OutputError, SettingsError: as their messages say.
    """
    sound, avatar, output = Path(sound), Path(avatar), Path(output)
    settings = settings or SpeakSettings()
    check_output(output, overwrite=overwrite)
    reader = SoundReader(sound, keep=True)
    check_speech(reader)
    with Speaker(avatar, settings=settings) as speaker:
        speaker.motion.log_messages()
        base, engine = speaker.base, speaker.engine
        began = time.monotonic()
        writer = VideoWriter(
            output,
            VideoFormat(
                width=base.width,
                height=base.height,
                fps=base.fps,
                sample_rate=reader.sample_rate,
                channels=reader.channels,
            ),
            crf=settings.crf,
            metadata=_mark(avatar),
            overwrite=overwrite,
        )
        workers = worker_count(engine.compute.device)
        windows = HeardWindows.of(engine.model.settings, base.fps)
        chunks = audio_chunks(reader, windows, batch=batch_frames(base.width, base.height))
        frames = 0
        with writer, Progress("Speaking", total=reader.seconds or 1.0, unit="s") as progress:
            for chunk, composed in spoken_pictures(speaker, chunks, workers=workers):
                for picture in composed:
                    writer.write(picture)
                writer.write_sound(chunk.native)
                frames += len(composed)
                progress.set(frames / float(base.fps))
    seconds = frames / float(base.fps)
    speed = frames / max(time.monotonic() - began, 1e-6)
    _LOG.info(f"{output}: {seconds:.2f} s, {frames} frames, {speed:.0f} frames/s")
    _LOG.info(f"drawn {engine.path}, in {engine.precision} ({engine.reason}), {workers} batches at a time")
    return SpeakResult(output, frames, seconds, speed, engine.precision)


@dataclass(frozen=True)
class AudioChunk:
    """Sound of a few frames and what is around it."""

    wave: Floats
    """[S] mono at 16 kHz, with the past and future that the encoder hears."""
    moments: list[float]
    """Times of the frames, in seconds from the beginning of `wave`."""
    native: Floats
    """[S, C] the sound to write with these frames, at its own rate."""


def spoken_pictures(
    speaker: Speaker, chunks: Iterable[AudioChunk], *, workers: int
) -> Iterator[tuple[AudioChunk, list[Picture]]]:
    """Yield chunks with their composed pictures, uint8 [3 H / 2, W], in order.

    Decoding runs ahead in a thread of its own, `workers` chunks are turned and drawn at once, and who
    takes the pictures encodes meanwhile.
    """
    motion, engine = speaker.motion, speaker.engine

    def jobs() -> Iterator[tuple[AudioChunk, list[Shown], list[list[Picture]]]]:
        planned = speaker.planned()
        for chunk in chunks:
            shown = list(itertools.islice(planned, len(chunk.moments)))
            yield chunk, shown, [speaker.filmed(one) for one in shown]

    def draw(job: tuple[AudioChunk, list[Shown], list[list[Picture]]]) -> tuple[AudioChunk, list[Picture]]:
        chunk, shown, filmed = job
        spoken = engine.speech_at(chunk.wave, chunk.moments)
        return chunk, motion.speak(engine.renderer, filmed, shown, spoken)

    yield from ordered_map(draw, jobs(), workers=workers)


def batch_frames(width: int, height: int) -> int:
    """Return how many pictures of a size are drawn at once."""
    return max(1, min(_BATCH, _BATCH_BYTES // (width * height * 3 // 2)))


def audio_chunks(sound: SoundReader, windows: HeardWindows, *, batch: int = _BATCH) -> Iterator[AudioChunk]:
    """Cut a sound into chunks of a few frames, `batch`, with bounded memory.

    The last frame is the one that shows the last sample; its sound is filled up with silence.
    """
    native, heard = AudioBuffer(sound.channels), windows.new_buffer()
    waves = resample_blocks(_keep(sound, native), sound.sample_rate)
    finished = False
    for first in itertools.count(0, batch):
        stop = first + batch
        while not finished and heard.end < windows.end(stop - 1):
            block = next(waves, None)
            finished = block is None
            if block is not None:
                heard.push(block)
        if finished:
            stop = min(stop, math.ceil(Fraction(native.end, sound.sample_rate) * windows.fps))
        if stop <= first:
            return
        wave, moments = windows.cut(heard, first, stop)
        edges = [round(index * sound.sample_rate / windows.fps) for index in (first, stop)]
        yield AudioChunk(wave, moments, native.cut(*edges))
        if finished and stop < first + batch:
            return


def _keep(blocks: SoundReader, buffer: AudioBuffer) -> Iterator[Floats]:
    for block in blocks:
        buffer.push(block)
        yield block


def _mark(avatar: Path) -> dict[str, str]:
    """Say in the file's metadata that its lips are synthetic and what made them."""
    version = speech2lip.__version__
    about = {
        "synthetic": "lip movements",
        "software": "speech2lip",
        "version": version,
        "avatar": avatar.name,
    }
    return {
        "comment": f"The lip movements in this video are synthetic, made by speech2lip {version}. "
        f"{json.dumps(about)}",
        "description": "AI-generated: synthetic lip movements",
    }
