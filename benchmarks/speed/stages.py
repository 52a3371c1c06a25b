"""What each stage of speaking takes, alone and one after the other."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch

from speech2lip.conventions import SAMPLE_RATE
from speech2lip.inference.speaker import BaseVideoReader, Speaker
from speech2lip.media.video_writer import VideoFormat, VideoWriter

_BATCH = 8


def stages_ms(speaker: Speaker, rounds: int = 6) -> dict[str, float]:
    """Return the milliseconds a frame of `decode`, `listen`, `draw` and `encode`."""
    base, engine = speaker.base, speaker.engine
    indices = range(min(_BATCH, len(base.times)))
    seconds = dict.fromkeys(("decode", "listen", "draw", "encode"), 0.0)
    clock = _Clock(seconds)
    with tempfile.TemporaryDirectory() as folder:
        writer = VideoWriter(
            Path(folder) / "o.mp4", VideoFormat(width=base.width, height=base.height, fps=base.fps)
        )
        with writer:
            for _ in range(rounds):
                with clock("decode"), BaseVideoReader(base) as planes:
                    pictures = [planes[i] for i in indices]
                heads = base.head[indices]
                moments = [0.5 + i / float(base.fps) for i in indices]
                with clock("listen"):
                    spoken = engine.encode_speech(engine.mel_features(torch.zeros(2 * SAMPLE_RATE)), moments)
                with clock("draw"):
                    drawn = engine.renderer.speak(pictures, heads, spoken)
                with clock("encode"):
                    for picture in drawn:
                        writer.write(picture)
    # A pass decodes a whole chunk up to the next key frame, of which all frames are used in earnest.
    frames = {name: len(indices) for name in seconds} | {"decode": min(25, len(base.times))}
    return {name: 1000 * spent / rounds / frames[name] for name, spent in seconds.items()}


class _Clock:
    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds, self._name, self._began = seconds, "", 0.0

    def __call__(self, name: str) -> _Clock:
        self._name, self._began = name, time.perf_counter()
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._seconds[self._name] += time.perf_counter() - self._began
