"""Live speech: sound pushed in pieces of any size, frames with their sound pulled out, in step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import soxr
import torch
from numpy.typing import NDArray

from speech2lip.arrays import Floats, Picture
from speech2lip.config import SpeakSettings
from speech2lip.conventions import SAMPLE_RATE, AnyPath
from speech2lip.errors import SoundError
from speech2lip.inference.audio_buffer import AudioBuffer, HeardWindows
from speech2lip.inference.motion import Shown
from speech2lip.inference.speaker import Speaker
from speech2lip.media.picture import rgb_from_coded
from speech2lip.model import SpeechFeatures

if TYPE_CHECKING:
    from typing_extensions import Self

_REACH_SECONDS = 0.02
"""Sound after the last mel frame that the frame's window of 25 ms still sees, and one frame in between."""
_MOST_SECONDS = 60.0
"""Sound that may wait to be spoken."""
_SILENCE_SECONDS = 0.02
_RELEASE = (0.5, 1.0)
"""How far the lips have come to rest in the frames after an interruption."""


@dataclass(frozen=True)
class Streamed:
    """One frame and the sound that is heard while it is shown."""

    time: float
    """Seconds from the beginning of the stream."""
    coded: Picture | None
    """uint8 [3 H / 2, W], yuv420p in BT.709 video range; None where the frame was left out."""
    sound: Floats
    """[S, C] at the stream's own rate."""

    @property
    def rgb(self) -> Picture | None:
        """uint8 [H, W, 3]."""
        return None if self.coded is None else rgb_from_coded(self.coded)


def stream(
    avatar: AnyPath | Speaker,
    *,
    sample_rate: int = SAMPLE_RATE,
    channels: int = 1,
    settings: SpeakSettings | None = None,
) -> SpeechStream:
    """Open a stream of live speech; use it in a `with` block.

    Args:
        avatar: an avatar folder, or a `Speaker` that several streams share.
        sample_rate: of the sound that will be pushed, in samples a second.
        channels: of that sound, 1 or 2.
        settings: how; with a Speaker, its own settings count.

    Raises:
        AvatarError, SettingsError: as their messages say.
    """
    own = not isinstance(avatar, Speaker)
    speaker = avatar if isinstance(avatar, Speaker) else Speaker(avatar, settings=settings)
    return SpeechStream(speaker, sample_rate=sample_rate, channels=channels, owns=own)


class SpeechStream:
    """Speaks what is pushed, at the frame rate of the avatar's base video (`fps`).

    A frame can be pulled as soon as the sound is there that the encoder hears after it (the look-ahead,
    `ahead_seconds` of the model, 0.2 s) and 0.02 s more. One thread may push while another pulls. At most
    60 s of sound may wait.
    """

    def __init__(self, speaker: Speaker, *, sample_rate: int, channels: int, owns: bool = False) -> None:
        self.speaker = speaker
        self.fps: Fraction = speaker.base.fps
        self.sample_rate, self.channels = sample_rate, channels
        self.frames = 0
        """Frames pulled so far, left out ones too."""
        self.frames_dropped = 0
        """Frames of which only the sound was pulled."""
        model = speaker.engine.model.settings
        self._ahead = math.ceil((model.ahead_seconds + _REACH_SECONDS) * SAMPLE_RATE)
        self._windows = HeardWindows.of(model, self.fps)
        self._native, self._heard = AudioBuffer(channels), self._windows.new_buffer()
        self._resampler = self._new_resampler()
        self._planned = speaker.planned()
        self._released: int | None = None
        self.finished = False
        """Whether no more sound comes."""
        self._lock = Lock()
        self._owns = owns
        speaker.pictures.count_reader(1)

    def push(self, sound: NDArray[np.float32] | NDArray[np.int16] | bytes) -> None:
        """Append sound: float32 in [-1, 1] or int16, [S] or [S, channels]; or bytes of int16, low byte first.

        Raises:
            SoundError: of another shape or kind; or more than a minute would wait.
        """
        block = self._block(sound)
        with self._lock:
            if self.finished:
                raise SoundError("This stream was finished; open another one for more sound.")
            if len(block) / self.sample_rate > self.room_seconds:
                raise SoundError(
                    f"{_MOST_SECONDS - self.room_seconds:.0f} s of sound wait to be spoken, at most "
                    f"{_MOST_SECONDS:.0f} s may. Pull frames, or push less at once."
                )
            self._append(block)

    @property
    def room_seconds(self) -> float:
        """Seconds of sound that may be pushed now; who has more waits until frames were pulled."""
        return _MOST_SECONDS - float(self._native.end / self.sample_rate - self.frames / self.fps)

    def finish(self) -> None:
        """Tell that no more sound comes: the last frames can then be pulled without waiting."""
        with self._lock:
            self.finished = True
            if self._resampler is not None:
                self._heard.push(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))

    def interrupt(self) -> None:
        """Stop speaking: what waits is dropped, the sound fades within a frame, the lips rest after two."""
        with self._lock:
            if self.finished:
                return
            stop = self.frames + 1
            one = 1 / self.fps
            edge, begin = (round(i * self.sample_rate * one) for i in (stop, self.frames))
            self._native.end_at(edge, fade=edge - begin)
            edge, begin = (self._windows.place(i) for i in (stop, self.frames))
            self._heard.end_at(edge, fade=edge - begin)
            self._resampler = self._new_resampler()
            self._released = self.frames

    def pull(self, *, silence: bool = False, draw: bool = True) -> Streamed | None:
        """Return the next frame, or None while its sound is not there yet, or after the last one.

        Args:
            silence: let silence stand for sound that is missing, so that the frame comes now.
            draw: False leaves the picture out: for when drawing cannot keep up. The sound is never left out.
        """
        with self._lock:
            if not self._ready(silence=silence):
                return None
            index = self.frames
            waves = self._waves(index)
            sound = self._native.cut(*(round(i * self.sample_rate / self.fps) for i in (index, index + 1)))
            self.frames += 1
            shown = next(self._planned)
            released = None if self._released is None else index - self._released
        time = float(index / self.fps)
        if not draw:
            self.frames_dropped += 1
            return Streamed(time, None, sound)
        return Streamed(time, self._draw(shown, waves, released), sound)

    def close(self) -> None:
        """Let go of the speaker, and of the avatar where this stream loaded it."""
        self.speaker.pictures.count_reader(-1)
        if self._owns:
            self.speaker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _new_resampler(self) -> soxr.ResampleStream | None:
        if self.sample_rate == SAMPLE_RATE:
            return None
        return soxr.ResampleStream(self.sample_rate, SAMPLE_RATE, 1, dtype="float32")

    def _block(self, sound: NDArray[np.float32] | NDArray[np.int16] | bytes) -> Floats:
        if isinstance(sound, bytes | bytearray | memoryview):
            if len(sound) % (2 * self.channels):
                raise SoundError(
                    f"{len(sound)} bytes are no whole number of 16-bit samples in {self.channels} channels."
                )
            sound = np.frombuffer(sound, "<i2")
        if sound.dtype == np.int16:
            sound = sound.astype(np.float32) / 32768
        if (
            sound.dtype != np.float32
            or (sound.ndim == 2 and sound.shape[1] != self.channels)
            or sound.ndim > 2
        ):
            raise SoundError(
                f"Sound must be float32 or int16, [S] or [S, {self.channels}], "
                f"not {sound.dtype} {list(sound.shape)}."
            )
        if not np.isfinite(sound).all():
            raise SoundError("The sound has samples that are no numbers.")
        return sound.astype(np.float32, copy=False).reshape(-1, self.channels)

    def _append(self, block: Floats) -> None:
        self._native.push(block)
        mono = block.mean(axis=1, dtype=np.float32)
        self._heard.push(
            mono if self._resampler is None else self._resampler.resample_chunk(mono, last=False)
        )

    def _ready(self, *, silence: bool) -> bool:
        if self.finished:
            return self.frames < math.ceil(Fraction(self._native.end, self.sample_rate) * self.fps)
        needed = self._windows.place(self.frames) + self._ahead
        while self._heard.end < needed and silence:
            self._append(
                np.zeros((math.ceil(_SILENCE_SECONDS * self.sample_rate), self.channels), np.float32)
            )
        return self._heard.end >= needed

    def _waves(self, index: int) -> list[tuple[Floats, float]]:
        """Return what is heard at a frame and when in it: as it was, and without what was stopped."""
        whole, (moment,) = self._windows.cut(self._heard, index, index + 1)
        if self._released is None:
            return [(whole, moment)]
        begin, edge = self._windows.begin(index), self._windows.place(self._released + 1)
        if edge <= begin:
            self._released = None
            return [(whole, moment)]
        fresh = whole.copy()
        fresh[: edge - begin] = 0
        return [(whole, moment), (fresh, moment)]

    def _draw(self, shown: Shown, waves: list[tuple[Floats, float]], released: int | None) -> Picture:
        engine = self.speaker.engine
        heard = [engine.speech_at(wave, [moment]) for wave, moment in waves]
        spoken = heard[0]
        if len(heard) == 2:
            part = _RELEASE[released] if released is not None and released < len(_RELEASE) else 1.0
            spoken = SpeechFeatures(
                torch.lerp(heard[0].code, heard[1].code, part),
                torch.lerp(heard[0].shape, heard[1].shape, part),
            )
        filmed = self.speaker.filmed(shown)
        return self.speaker.motion.speak(engine.renderer, [filmed], [shown], spoken)[0]
