"""The person speaking what strangers said: a small video for the report."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from speech2lip.config import EvaluateSettings, SpeakSettings
from speech2lip.conventions import SAMPLE_RATE
from speech2lip.errors import SoundError
from speech2lip.evaluation.phones import Wave
from speech2lip.media.sound import read_wave

SECONDS = 20.0
"""Of foreign speech, at most."""
CRF = 26.0
"""Quality of the video: a page that is looked at once should stay small."""
_BETWEEN = np.zeros(round(0.4 * SAMPLE_RATE), np.float32)


def joined(sounds: Sequence[Path], *, seconds: float = SECONDS) -> Wave:
    """Return sounds one after the other, with short silences between them, up to a length; [S] at 16 kHz.

    Raises:
        SoundError: one of them cannot be read, or there is none.
    """
    parts: list[Wave] = []
    wanted = round(seconds * SAMPLE_RATE)
    for path in sounds:
        if sum(map(len, parts)) < wanted:
            parts += [*([_BETWEEN] if parts else []), read_wave(path)]
    if not parts:
        raise SoundError("no foreign sound given; name at least one sound file")
    return np.concatenate(parts)[:wanted]


def foreign_video(avatar: Path, sounds: Sequence[Path], settings: EvaluateSettings) -> bytes:
    """Let an avatar speak strangers' sounds; return the video, marked as every output is.

    Raises:
        SoundError, AvatarError: as their messages say.
    """
    from speech2lip.inference.speak import speak

    how = SpeakSettings(crf=CRF, device=settings.device, precision=settings.precision)
    with tempfile.TemporaryDirectory(prefix="speech2lip-foreign-") as folder:
        sound, video = Path(folder) / "foreign.wav", Path(folder) / "foreign.mp4"
        soundfile.write(sound, joined(sounds), SAMPLE_RATE)
        speak(sound, avatar=avatar, output=video, settings=how, say=lambda _: None)
        return video.read_bytes()
