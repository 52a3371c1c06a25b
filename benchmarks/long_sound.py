"""`python -m benchmarks long_sound --avatar ana.avatar --minutes 60`: memory and step over a long sound.

A noise that comes and goes as speech does is spoken in a process of its own, whose memory is watched. Then
the last seconds of the file are compared with the sound that was given, and with frames drawn for that sound
and for the sound some frames earlier and later: the given one must fit best.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from benchmarks.speed.bench import write_noise
from benchmarks.speed.memory import growth_mb, speak_watched
from speech2lip.avatar import read_avatar
from speech2lip.config import SpeakSettings
from speech2lip.conventions import SAMPLE_RATE
from speech2lip.inference.engine import Engine
from speech2lip.inference.motion import Motion
from speech2lip.inference.speaker import BaseVideoReader
from speech2lip.media.sound import SoundReader
from speech2lip.media.video import CodedReader
from speech2lip.media.yuv import split

Figures = dict[str, Any]

_TAIL_SECONDS = 4.0
_FRAMES = 24
"""Frames at the end that are compared."""
_SHIFTS = range(-3, 4)


@dataclass(frozen=True)
class Arguments:
    """Speak a long sound; tell what memory it took, and whether sound and picture are in step at the end."""

    avatar: Path
    """The avatar; a small one saves time."""
    minutes: float = 60.0
    """Length of the sound."""
    results: Path = Path("benchmarks/results/long_sound.json")
    """Where the figures go."""
    precision: str = "auto"
    """As in `speak`."""


def main(arguments: Arguments) -> None:
    """Speak, measure, tell."""
    settings = SpeakSettings(precision=arguments.precision)
    with tempfile.TemporaryDirectory() as folder:
        sound, output = Path(folder) / "long.wav", Path(folder) / "long.mp4"
        write_noise(sound, 60 * arguments.minutes)
        figures = speak_watched(arguments.avatar, sound, output, settings)
        figures["growth_mb"] = growth_mb(figures)
        figures["sound_late_ms"] = sound_late_ms(sound, output)
        figures["picture_late_frames"] = picture_late_frames(arguments.avatar, sound, output, settings)
    arguments.results.write_text(json.dumps({"avatar": arguments.avatar.name, **figures}, indent=2) + "\n")
    shown = {name: value for name, value in figures.items() if name != "held_mb"}
    print(json.dumps(shown, indent=2))


def sound_late_ms(sound: Path, output: Path) -> float:
    """Return by how much the sound at the end of a video lags behind the sound that was given."""
    given, rate = soundfile.read(sound, start=-round(_TAIL_SECONDS * SAMPLE_RATE), dtype="float32")
    first = soundfile.info(sound).frames - len(given)
    found = _from(output, first, len(given))
    products = np.fft.irfft(
        np.fft.rfft(found, 2 * len(given)) * np.fft.rfft(given, 2 * len(given)).conj(), 2 * len(given)
    )
    lag = int(np.argmax(products))
    return 1000 * (lag if lag < len(given) else lag - 2 * len(given)) / rate


def _from(output: Path, first: int, count: int) -> NDArray[np.float32]:
    """Read samples of a video from a place on, without holding the rest; silence beyond the end."""
    parts, at = [], 0
    for block in SoundReader(output):
        mono = block.mean(axis=1)
        parts.append(mono[max(0, first - at) :])
        at += len(mono)
    found = np.concatenate(parts)[:count]
    return np.pad(found, (0, count - len(found)))


def picture_late_frames(avatar: Path, sound: Path, output: Path, settings: SpeakSettings) -> int:
    """Return by how many frames the lips at the end of a video lag behind the sound."""
    person = read_avatar(avatar)
    base = person.base(None)
    engine, fps = Engine(person, device="cpu", precision=settings.precision), float(base.fps)
    motion = Motion(person, base, settings)
    total = int(np.ceil(soundfile.info(sound).frames / SAMPLE_RATE * fps))
    last = total - max(_SHIFTS) - 1
    numbers = range(last - _FRAMES, last)
    shown = list(itertools.islice(motion.shown(), numbers.start, numbers.stop))
    wave, _ = soundfile.read(sound, start=-round(_TAIL_SECONDS * SAMPLE_RATE), dtype="float32")
    begin = soundfile.info(sound).frames / SAMPLE_RATE - len(wave) / SAMPLE_RATE
    with closing(CodedReader(output)) as reader:
        written = reader.read(numbers.start, numbers.stop)
    with BaseVideoReader(base) as pictures:
        filmed = [[pictures[index] for index in one.indices] for one in shown]
    mel, size = engine.mel_features(torch.from_numpy(wave)), (base.height, base.width)
    boxes = engine.paster.regions(motion.heads(shown), size)
    errors = {}
    for shift in _SHIFTS:
        moments = [(number - shift) / fps - begin for number in numbers]
        drawn = motion.speak(engine.renderer, filmed, shown, engine.encode_speech(mel, moments))
        errors[shift] = sum(
            float(np.square(split(a)[0][y0:y1, x0:x1].astype(float) - split(b)[0][y0:y1, x0:x1]).mean())
            for a, b, (x0, y0, x1, y1) in zip(drawn, written, boxes, strict=True)
        )
    return min(errors, key=lambda shift: errors[shift])
