"""The person speaking what strangers said: a small video for the report."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from speech2lip.config import EvaluateSettings, SpeakSettings
from speech2lip.conventions import SAMPLE_RATE
from speech2lip.errors import SoundError
from speech2lip.evaluation.speech_labels import Wave
from speech2lip.media.sound import read_wave
from speech2lip.media.video import read_frames
from speech2lip.progress import quietly

SECONDS = 20.0
"""Of foreign speech, at most."""
CRF = 26.0
"""Quality of the video: a page that is looked at once should stay small."""
_BETWEEN = np.zeros(round(0.4 * SAMPLE_RATE), np.float32)


@dataclass(frozen=True)
class ForeignVideo:
    """The person speaking foreign speech."""

    names: tuple[str, ...]
    """Of the sounds that are heard."""
    video: bytes
    """MP4, marked as every output is."""
    first: NDArray[np.uint8]
    """[H, W, 3], the first frame."""


def joined(sounds: Sequence[Path], *, seconds: float = SECONDS) -> tuple[Wave, tuple[str, ...]]:
    """Put sounds one after the other, with short silences between them, up to a length.

    Returns:
        [S] at 16 kHz, and the names of the sounds that are heard in it.

    Raises:
        SoundError: one of them cannot be read, or there is none.
    """
    parts: list[Wave] = []
    names: list[str] = []
    wanted = round(seconds * SAMPLE_RATE)
    for path in sounds:
        if sum(map(len, parts)) + len(_BETWEEN) < wanted:
            parts += [*([_BETWEEN] if parts else []), read_wave(path)]
            names.append(path.stem)
    if not parts:
        raise SoundError("no foreign sound given; name at least one sound file")
    return np.concatenate(parts)[:wanted], tuple(names)


def foreign_video(avatar: Path, sounds: Sequence[Path], settings: EvaluateSettings) -> ForeignVideo:
    """Let an avatar speak strangers' sounds.

    Raises:
        SoundError, AvatarError: as their messages say.
    """
    from speech2lip.inference.speak import speak

    how = SpeakSettings(crf=CRF, device=settings.device, precision=settings.precision)
    with tempfile.TemporaryDirectory(prefix="speech2lip-foreign-") as folder:
        sound, video = Path(folder) / "foreign.wav", Path(folder) / "foreign.mp4"
        wave, names = joined(sounds)
        soundfile.write(sound, wave, SAMPLE_RATE)
        with quietly():
            speak(sound, avatar=avatar, output=video, settings=how)
        first = next(iter(read_frames(video, stop_frame=1)))
        return ForeignVideo(names, video.read_bytes(), first.rgb)
