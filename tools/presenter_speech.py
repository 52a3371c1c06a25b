"""Make the presenter's speech files with flite; for maintainers, users have the result in the package.

Needs the Debian package `flite` (2.2). Run `python -m tools.presenter_speech`; it renews `speech/`.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from speech2lip.conventions import SAMPLE_RATE
from speech2lip_presenter.speech import FOLDER

FLITE_VOICES = {"a": "rms", "b": "slt"}
PAUSES = (0.35, 0.8, 0.5, 0.65, 0.4, 0.7)
"""Seconds of added silence between the phrases of a clip, in turn; flite's own pauses come on top."""

TRAIN = (
    (
        "Good morning, and welcome. | My father bought a big blue boat. | "
        "We keep it by the shore for the summer."
    ),
    (
        "Please put the paper back upon the table. | "
        "Five wolves lived above the valley. | Both of them were thin."
    ),
    (
        "She sells fresh fish, cheese, and juice. | "
        "Who chose those shoes for you? | I would choose the yellow ones."
    ),
    "A pot of hot coffee stood on the stove. | Pour some for Bob, | but leave enough for everybody else.",
    "How now, said the old owl. | The moon is full, and the wood is cool. | Go home before the snow falls.",
    "Maybe we may meet in May. | Many people make music at home. | My mother hums, and Pam plays the piano.",
    (
        "Fred found four velvet gloves. | "
        "Very few visitors ever leave a favour behind. | That was a nice surprise."
    ),
    (
        "The weather is rather pleasant this week. | "
        "Think of three things to thank them for. | Take a deep breath."
    ),
    "Charge the battery, | then switch the machine off. | A bridge is usually a large thing to measure.",
    "We saw her walking toward the water. | Why would one want to wait? | It was a warm and windy Wednesday.",
    "Red lorries rarely run on rural roads. | Look at the little yellow lamp. | It will glow all night long.",
    "Keep calm and carry the cake. | Give the dog a good bag of food. | Nothing is wrong with a long song.",
    "Open the box, | pick a purple ribbon, | and wrap up the present. | Bring it to the party by bus.",
    (
        "Today is Tuesday, the tenth of December. | "
        "Don't tell Dan about it. | Ten tiny turtles turned toward town."
    ),
    "Ah, that is far too hard. | Our car broke down in the dark. | The guard laughed and started the engine.",
    "Eat these sweet peas, please. | He feels he needs three weeks of sleep. | We agree, it would be cheap.",
    "Boys enjoy noisy toys. | Oil is boiling in the pan. | Join us at noon, and bring your own spoon.",
    "One, two, three, four, five. | Six, seven, eight, nine, ten. | Eleven, twelve, and that will be all.",
    "The nurse heard a bird at first light. | Her work is worth more than words. | Burn the early letters.",
    "Up above the hill, | a young buffalo jumped over the mud. | Someone must have loved to run with it.",
)

UNSEEN = (
    (
        "Every morning the baker opens his shop. | "
        "Warm bread and apple pies fill the window. | People come from far away."
    ),
    (
        "Has anyone seen my umbrella? | "
        "I left it somewhere between the museum and the market. | It is bright blue."
    ),
    (
        "We hope to visit five famous cities. | "
        "Paris, Vienna, Rome, Bombay, and Boston. | The journey may be rough."
    ),
    (
        "Should you move the piano, be very careful. | "
        "The floor is smooth. | Thank you for your help, my friends."
    ),
)

Phone = tuple[str, float, float]


@dataclass(frozen=True)
class Recipe:
    """One clip to be made: its name, where it belongs, and phrases joined by ` | `."""

    name: str
    voice: str
    split: str
    text: str


def recipes() -> list[Recipe]:
    """All clips: training takes of voice a, then the unseen sentences in both voices."""
    train = [Recipe(f"train_a_{i:02d}", "a", "train", text) for i, text in enumerate(TRAIN)]
    unseen = [
        Recipe(f"unseen_{voice}_{i:02d}", voice, "unseen", text)
        for voice in "ab"
        for i, text in enumerate(UNSEEN)
    ]
    return train + unseen


def speak_phrase(
    text: str, *, voice: str, options: Sequence[str] = ()
) -> tuple[NDArray[np.float32], list[Phone]]:
    """Let a voice of flite speak one phrase; return its wave [S] at 16 kHz and its phones with times."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "phrase.wav"
        command = ["flite", "-voice", voice, "-t", text, "-o", str(path), "-psdur", *options]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        wave, rate = soundfile.read(path, dtype="float32")
    if rate != SAMPLE_RATE:
        raise RuntimeError(f"flite wrote {rate} samples a second, not {SAMPLE_RATE}: use its 16 kHz voices.")
    phones: list[Phone] = []
    start = 0.0
    for name, end in re.findall(r"(\S+):([\d.]+)", printed):
        phones.append((name, start, float(end)))
        start = float(end)
    return wave, phones


def make_clip(recipe: Recipe, *, first_pause: int) -> tuple[NDArray[np.float32], list[Phone]]:
    """Speak all phrases of a clip with silence before, between and after them."""
    waves: list[NDArray[np.float32]] = []
    phones: list[Phone] = []
    now = 0.0
    for i, phrase in enumerate(recipe.text.split(" | ")):
        pause = 0.3 if i == 0 else PAUSES[(first_pause + i) % len(PAUSES)]
        samples = round(pause * SAMPLE_RATE)
        waves.append(np.zeros(samples, np.float32))
        phones.append(("pau", now, now + samples / SAMPLE_RATE))
        now += samples / SAMPLE_RATE
        wave, spoken = speak_phrase(phrase, voice=FLITE_VOICES[recipe.voice])
        waves.append(wave)
        phones += [(name, now + start, now + end) for name, start, end in spoken]
        now += len(wave) / SAMPLE_RATE
    tail = round(0.5 * SAMPLE_RATE)
    waves.append(np.zeros(tail, np.float32))
    phones.append(("pau", now, now + tail / SAMPLE_RATE))
    return np.concatenate(waves), merge_pauses(phones)


def merge_pauses(phones: list[Phone]) -> list[Phone]:
    """Join neighbouring pauses, close gaps, and round times to milliseconds."""
    merged: list[Phone] = []
    for name, start, end in phones:
        begin = merged[-1][2] if merged else start
        if merged and name == "pau" == merged[-1][0]:
            merged[-1] = ("pau", merged[-1][1], round(end, 3))
        else:
            merged.append((name, round(begin, 3), round(end, 3)))
    return merged


def main() -> None:
    """Renew every sound file and `clips.json`."""
    clips = []
    for i, recipe in enumerate(recipes()):
        wave, phones = make_clip(recipe, first_pause=i)
        wave = wave * np.float32(0.7 / np.abs(wave).max())
        path = FOLDER / f"{recipe.name}.ogg"
        soundfile.write(path, wave, SAMPLE_RATE, format="OGG", subtype="OPUS", compression_level=0.9)
        text = recipe.text.replace(" | ", " ")
        clips.append({"name": recipe.name, "voice": recipe.voice, "split": recipe.split, "text": text,
                      "samples": len(wave), "phones": phones})  # fmt: skip
        print(f"{recipe.name}: {len(wave) / SAMPLE_RATE:.1f} s, {path.stat().st_size / 1000:.0f} kB")
    rows = ",\n".join(json.dumps(clip) for clip in clips)
    (FOLDER / "clips.json").write_text(f'{{"format": 1, "clips": [\n{rows}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
