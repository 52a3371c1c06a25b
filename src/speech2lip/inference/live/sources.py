"""Where live sound comes from: a file at its own pace, raw samples from a pipe, or the microphone."""

from __future__ import annotations

import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from speech2lip.arrays import Floats
from speech2lip.config import LiveSettings
from speech2lip.errors import MissingExtra, SoundError
from speech2lip.media.sound import SoundReader

_BLOCK_SECONDS = 0.02


@dataclass(frozen=True)
class Source:
    """Sound as it comes."""

    name: str
    sample_rate: int
    channels: int
    blocks: Callable[[], Iterator[Floats | bytes]]
    """Begins to listen and yields blocks as they come: float32 [S, C], or bytes of 16-bit samples."""
    patient: bool
    """Whether it can wait until somebody watches."""


def open_source(sound: str, settings: LiveSettings) -> Source:
    """Open `mic`, `-` (raw 16-bit samples from standard input), a named pipe of such, or a sound file.

    Raises:
        SoundError, MissingExtra: as their messages say.
    """
    rate, channels = settings.sample_rate, settings.channels
    if sound == "mic":
        return Source("the microphone", rate, channels, lambda: _microphone(rate, channels), patient=False)
    if sound == "-":
        return Source("standard input", rate, channels, lambda: _raw(sys.stdin.buffer, rate, channels), False)
    path = Path(sound)
    if path.exists() and stat.S_ISFIFO(path.stat().st_mode):
        return Source(sound, rate, channels, lambda: _pipe(path, rate, channels), patient=False)
    reader = SoundReader(path)
    return Source(sound, reader.sample_rate, reader.channels, lambda: _paced(reader), patient=True)


def _paced(reader: SoundReader) -> Iterator[Floats]:
    """Yield a file's sound as fast as a microphone would hear it."""
    size = round(_BLOCK_SECONDS * reader.sample_rate)
    began, given = time.monotonic(), 0
    for second in reader:
        for start in range(0, len(second), size):
            block = second[start : start + size]
            given += len(block)
            time.sleep(max(0.0, began + given / reader.sample_rate - time.monotonic()))
            yield block


def _pipe(path: Path, rate: int, channels: int) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as pipe:
        yield from _raw(pipe, rate, channels)


def _raw(pipe: IO[bytes], rate: int, channels: int) -> Iterator[bytes]:
    """Yield whole samples as they come; what is left of a last one is dropped."""
    whole = 2 * channels
    size = round(_BLOCK_SECONDS * rate) * whole
    read = pipe.read1 if hasattr(pipe, "read1") else pipe.read  # what is there, not all that was asked for
    rest = b""
    while got := read(size):
        rest += got
        ready = len(rest) // whole * whole
        if ready:
            yield rest[:ready]
        rest = rest[ready:]


def _microphone(rate: int, channels: int) -> Iterator[bytes]:
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise MissingExtra(
            "The microphone needs the package sounddevice and the system's PortAudio (Debian: apt install "
            "libportaudio2). Or pipe it: arecord -t raw -f S16_LE -r 16000 | speech2lip live --sound - ..."
        ) from error
    try:
        with sounddevice.RawInputStream(
            samplerate=rate, channels=channels, dtype="int16", blocksize=round(_BLOCK_SECONDS * rate)
        ) as microphone:
            while True:
                heard, _ = microphone.read(round(_BLOCK_SECONDS * rate))
                yield bytes(heard)
    except sounddevice.PortAudioError as error:
        reason = " ".join(str(error).split())
        raise SoundError(
            f"No microphone can be opened ({reason}). Plug one in, or use --sound FILE."
        ) from error
