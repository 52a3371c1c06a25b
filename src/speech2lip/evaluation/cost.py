"""What speaking costs: speed, memory and time to the first frame, in a process of its own; arithmetic."""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch.utils.flop_counter import FlopCounterMode

from speech2lip.avatar import read_avatar
from speech2lip.config import EvaluateSettings, SpeakSettings
from speech2lip.conventions import SAMPLE_RATE
from speech2lip.decomposition.footage import Footage
from speech2lip.evaluation.held_out import Span
from speech2lip.inference.engine import Engine
from speech2lip.media.video import read_coded
from speech2lip.progress import quietly

_LOG = logging.getLogger(__name__)

Costs = dict[str, float | None]

_PATIENCE = 600.0
_SPOKEN_SECONDS = 20.0
"""Least sound that is spoken for a figure of speed: short sounds would measure the start."""


def costs(engine: Engine, footage: Footage, spans: Sequence[Span], settings: EvaluateSettings) -> Costs:
    """Return what files tell (training, weights, preparation), arithmetic and, where asked for, speed."""
    avatar = engine.avatar
    known: Costs = {
        "train_seconds": avatar.info.seconds_trained,
        "weights_mb": (avatar.folder / "weights.safetensors").stat().st_size / 1e6,
        "prepare_fps": footage.info.prepare_fps,
        "gflop_per_frame": gflop_per_frame(engine),
    }
    if not settings.measure_cost:
        return known
    longest = max(spans, key=lambda span: len(span.times)).take
    speaking = SpeakSettings(device=settings.device, precision=engine.precision)
    return known | speaking_costs(avatar.folder, longest.folder / "sound.flac", speaking)


def gflop_per_frame(engine: Engine) -> float:
    """Return the billions of multiplications and additions of one frame's networks, as torch counts them.

    Cannot see: look-ups (`grid_sample`), solving the mapping, decoding and encoding.
    """
    # The counter follows gradients of whatever could have one.
    engine.model.requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        _speak_frame(engine)
    return float(counter.get_total_flops()) / 1e9


def _speak_frame(engine: Engine) -> None:
    """Speak the first frame of the base video."""
    base = engine.avatar.bases[0]
    pictures = read_coded(base.picture_path, start_frame=0, stop_frame=1)
    spoken = engine.encode_speech(engine.mel_features(torch.zeros(SAMPLE_RATE), [0.5]), [0.5])
    engine.renderer.speak(pictures, base.head[0], spoken)


def speaking_costs(avatar: Path, sound: Path, settings: SpeakSettings) -> Costs:
    """Let a fresh process speak; return `speak_fps`, `first_frame_ms`, `peak_mb`; nothing, told, if it fails.

    20 s are spoken: the beginning of the sound (16 kHz), over and over where it is shorter.
    Speed is end to end: reading, drawing, composing, encoding. The time to the first frame is from the
    loading of the avatar on (not of Python's modules). Memory is the process's peak, modules and all.
    """
    words = [sys.executable, "-m", __name__, str(avatar), str(sound), settings.device, settings.precision]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=_PATIENCE)
        return dict(json.loads(done.stdout.splitlines()[-1]))
    except subprocess.CalledProcessError as error:
        _LOG.info(f"speaking failed: {(error.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    except (OSError, subprocess.TimeoutExpired, json.JSONDecodeError, IndexError) as error:
        _LOG.info(f"speaking could not be measured: {' '.join(str(error).split())}")
    return {}


def _speak_here(avatar: Path, sound: Path, settings: SpeakSettings) -> Costs:
    from speech2lip.inference.speak import speak

    began = time.perf_counter()
    _speak_frame(Engine(read_avatar(avatar), device=settings.device, precision=settings.precision))
    first = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        output, short, long = (Path(folder) / name for name in ("spoken.mp4", "short.wav", "long.wav"))
        wave, _ = soundfile.read(sound, frames=round(_SPOKEN_SECONDS * SAMPLE_RATE), dtype="float32")
        times = math.ceil(_SPOKEN_SECONDS * SAMPLE_RATE / len(wave))
        soundfile.write(short, wave, SAMPLE_RATE)
        soundfile.write(long, np.tile(wave, times), SAMPLE_RATE)
        # Kernels are compiled the first time and kept: that is no speed of speaking.
        for heard in (short, long):
            with quietly():
                spoke = speak(heard, avatar=avatar, output=output, settings=settings, overwrite=True)
    return {"speak_fps": spoke.frames_per_second, "first_frame_ms": 1000 * first, "peak_mb": peak_mb()}


def peak_mb() -> float | None:
    """Return the most memory that this process has held; None where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e6 / 1024)


if __name__ == "__main__":
    avatar_, sound_, device_, precision_ = sys.argv[1:]
    speaking_ = SpeakSettings(device=device_, precision=precision_)
    print(json.dumps(_speak_here(Path(avatar_), Path(sound_), speaking_)))
