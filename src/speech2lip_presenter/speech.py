"""The presenter's speech: sound and phone times kept in the package."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from speech2lip.conventions import SAMPLE_RATE
from speech2lip.errors import SettingsError

FOLDER = Path(__file__).parent / "speech"
VOICES = ("a", "b")
SPLITS = ("train", "unseen")


@dataclass(frozen=True)
class Phone:
    """One phone of the synthesiser (ARPAbet in small letters, `pau` is silence), times in seconds."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class SpeechClip:
    """One spoken clip: voice `a` or `b`, split `train` or `unseen`, its words, its phones without gaps."""

    name: str
    voice: str
    split: str
    text: str
    samples: int
    phones: tuple[Phone, ...]

    @property
    def seconds(self) -> float:
        """Length of the sound in seconds."""
        return self.samples / SAMPLE_RATE

    @property
    def wave(self) -> NDArray[np.float32]:
        """The sound, mono [S] in [-1, 1] at 16 kHz."""
        samples, _ = soundfile.read(FOLDER / f"{self.name}.ogg", dtype="float32")
        return np.asarray(samples, np.float32)[: self.samples]

    def phone_at(self, seconds: float) -> Phone:
        """Return the phone spoken at a time (the last one after the end)."""
        return next((phone for phone in self.phones if seconds < phone.end), self.phones[-1])


@lru_cache(maxsize=1)
def _all_clips() -> tuple[SpeechClip, ...]:
    listing = json.loads((FOLDER / "clips.json").read_text(encoding="utf-8"))
    return tuple(
        SpeechClip(**{**clip, "phones": tuple(Phone(*phone) for phone in clip["phones"])})
        for clip in listing["clips"]
    )


def speech_clips(voice: str | None = None, *, split: str | None = None) -> list[SpeechClip]:
    """List the clips in the package, all of them or those of one voice and one split.

    Raises:
        SettingsError: there is no such voice or split.
    """
    if voice not in (None, *VOICES):
        raise SettingsError(f"The presenter has no voice {voice!r}: choose one of {', '.join(VOICES)}.")
    if split not in (None, *SPLITS):
        raise SettingsError(f"The presenter has no split {split!r}: choose one of {', '.join(SPLITS)}.")
    return [clip for clip in _all_clips() if voice in (None, clip.voice) and split in (None, clip.split)]
