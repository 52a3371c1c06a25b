"""Memory that speaking holds over a long sound, watched in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Event, Thread
from typing import Any

from speech2lip.checks import parse, to_plain
from speech2lip.config import SpeakSettings
from speech2lip.evaluation.cost import peak_mb

Figures = dict[str, Any]

_EVERY = 0.5
"""Seconds between two looks."""
_KEPT = 60
"""Figures that are kept of a run, about."""


def speak_watched(
    avatar: Path,
    sound: Path,
    output: Path,
    settings: SpeakSettings,
    *,
    environment: Mapping[str, str] | None = None,
) -> Figures:
    """Let a fresh process speak, with more variables in its environment; return what it held.

    Returns:
        `seconds` and `frames` spoken, `took` seconds, `before_mb` (modules loaded, nothing spoken), `held_mb`
        (pairs of seconds of sound, about, and megabytes), `peak_mb`; megabytes are None, and the list empty,
        where the system does not tell them.

    Raises:
        subprocess.CalledProcessError: speaking failed.
    """
    told = json.dumps([str(avatar), str(sound), str(output), to_plain(settings)])
    words = [sys.executable, "-m", __name__, told]
    done = subprocess.run(
        words, capture_output=True, text=True, check=True, env=os.environ | dict(environment or {})
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _speak_here(avatar: Path, sound: Path, output: Path, settings: SpeakSettings) -> Figures:
    from speech2lip.inference.speak import speak

    samples: list[tuple[float, float]] = []
    stop = Event()
    began = time.perf_counter()

    def watch() -> None:
        while not stop.wait(_EVERY):
            if (held := held_mb()) is not None:
                samples.append((time.perf_counter() - began, held))

    before = held_mb()
    watching = Thread(target=watch, daemon=True)
    watching.start()
    spoke = speak(sound, avatar=avatar, output=output, settings=settings)
    stop.set()
    watching.join()
    took = time.perf_counter() - began
    return {
        "seconds": spoke.seconds,
        "frames": spoke.frames,
        "took": took,
        "frames_per_second": spoke.frames_per_second,
        "before_mb": before,
        "held_mb": [(at / took * spoke.seconds, held) for at, held in _thinned(samples)],
        "peak_mb": peak_mb(),
    }


def _thinned(samples: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Keep every so many figures; of those in between, the largest."""
    step = -(-len(samples) // _KEPT) or 1
    return [max(samples[i : i + step], key=lambda one: one[1]) for i in range(0, len(samples), step)]


def held_mb() -> float | None:
    """Return what this process holds now, in megabytes; None where it is not told."""
    told = Path("/proc/self/status")
    if not told.is_file():
        return None
    line = next(line for line in told.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024 / 1e6


def growth_mb(figures: Figures) -> float | None:
    """Return how far memory after the first minute of sound lies above the most held in it.

    Of shorter sounds, the first tenth stands for the first minute.
    """
    held = figures["held_mb"]
    if not held:
        return None
    first = min(60.0, figures["seconds"] / 10)
    early = [mb for at, mb in held if at <= first] or [held[0][1]]
    return float(max(mb for _, mb in held) - max(early))


if __name__ == "__main__":
    avatar_, sound_, output_, settings_ = json.loads(sys.argv[1])
    print(
        json.dumps(_speak_here(Path(avatar_), Path(sound_), Path(output_), parse(SpeakSettings, settings_)))
    )
