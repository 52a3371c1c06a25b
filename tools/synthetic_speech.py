"""Random words in synthetic voices, with the times of their phones: the built-in encoder learns from them.

For maintainers; needs the Debian packages `flite` (2.2), `festival` and `festvox-kdlpc16k`, whose voices
are free for every use, and the dictionary of pocketsphinx.
"""

from __future__ import annotations

import random
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from pocketsphinx import get_model_path

from speech2lip.conventions import SAMPLE_RATE
from tools.presenter_speech import Phone, speak_phrase

FLITE_PITCH = {"rms": 100, "slt": 170, "awb": 130, "kal16": 100}
"""Voices of flite and their usual pitch in hertz."""
KED_PITCH = 105
_SLOWEST, _FASTEST = 1.25, 0.8
"""Factors on the length of phones."""
_LEAST_SECONDS = 1.5
_PEAK = 0.5
_LETTERS = "bcdefghijklmnopqrstuvwxyz"
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

Clip = tuple[NDArray[np.float32], list[Phone]]
"""A wave [S] at 16 kHz and its phones."""


class Texts:
    """Makes up phrases: words of some texts, of the dictionary, letters and digits."""

    def __init__(self, texts: Sequence[Path], *, seed: int) -> None:
        self.random = random.Random(seed)
        dictionary = Path(get_model_path(), "en-us", "cmudict-en-us.dict").read_text(encoding="utf-8")
        self.words = sorted(set(re.findall(r"^([a-z]{2,8}) ", dictionary, re.MULTILINE)))
        known = set(self.words)
        read = " ".join(path.read_text(encoding="utf-8", errors="replace") for path in texts).lower()
        counted = Counter(word for word in re.findall(r"[a-z]{2,}", read) if word in known)
        self.frequent = [word for word, _ in counted.most_common(2000)] or self.words

    def phrase(self) -> str:
        """Return a few words, letters and digits, the frequent words most often."""
        kinds = (self.frequent, self.words, _LETTERS, _DIGITS)
        chosen = self.random.choices(kinds, (45, 40, 7, 8), k=self.random.randint(4, 9))
        words = [self.random.choice(kind) for kind in chosen]
        return " ".join(word + ("," if self.random.random() < 0.15 else "") for word in words) + "."


def speak_clips(texts: Texts, *, flite: int, ked: int) -> list[Clip]:
    """Let flite's voices speak in turn, then festival's diphones of an American man."""
    voices = list(FLITE_PITCH)
    clips = [_speak_flite(texts, voices[i % len(voices)]) for i in range(flite)]
    clips += _speak_ked(texts, ked) if ked else []
    return [_even(wave, phones) for wave, phones in clips if len(wave) > _LEAST_SECONDS * SAMPLE_RATE]


def _speak_flite(texts: Texts, voice: str) -> Clip:
    draw = texts.random
    options = ["--setf", f"duration_stretch={draw.uniform(_FASTEST, _SLOWEST):.2f}"]
    if draw.random() < 0.6:
        pitch = FLITE_PITCH[voice] * float(np.exp(draw.uniform(-0.25, 0.25)))
        options += ["--setf", f"int_f0_target_mean={pitch:.0f}"]
    return speak_phrase(texts.phrase(), voice=voice, options=options)


def _speak_ked(texts: Texts, count: int) -> list[Clip]:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "all.scm"
        lines = ["(voice_ked_diphone)"]
        for i in range(count):
            pitch = KED_PITCH * float(np.exp(texts.random.uniform(-0.25, 0.25)))
            lines += [
                f"(Parameter.set 'Duration_Stretch {texts.random.uniform(_FASTEST, _SLOWEST):.2f})",
                f"(set! int_lr_params '((target_f0_mean {pitch:.0f}) (target_f0_std 14) "
                "(model_f0_mean 170) (model_f0_std 34)))",
                f'(set! spoken (utt.synth (Utterance Text "{texts.phrase()}")))',
                f'(utt.save.wave spoken "{folder}/{i}.wav" \'riff)',
                f'(utt.save.segs spoken "{folder}/{i}.lab")',
            ]
        script.write_text("\n".join(lines), encoding="utf-8")
        subprocess.run(["festival", "-b", str(script)], check=True, capture_output=True)
        return [_read_ked(Path(folder) / str(i)) for i in range(count)]


def _read_ked(path: Path) -> Clip:
    wave, _ = soundfile.read(path.with_suffix(".wav"), dtype="float32")
    phones: list[Phone] = []
    segments = path.with_suffix(".lab").read_text(encoding="utf-8")
    for end, name in re.findall(r"^\s*([\d.]+) \d+ (\S+)", segments, re.MULTILINE):
        phones.append((name, phones[-1][2] if phones else 0.0, float(end)))
    return wave, phones


def _even(wave: NDArray[np.float32], phones: list[Phone]) -> Clip:
    return wave * np.float32(_PEAK / max(float(np.abs(wave).max()), 1e-6)), phones
