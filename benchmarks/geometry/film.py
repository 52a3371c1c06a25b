"""Videos of the presenter turning its head further than it usually does, for the geometry benchmark."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np

from speech2lip.conventions import SAMPLE_RATE
from speech2lip.media.video_writer import VideoFormat, VideoWriter
from speech2lip_presenter.motion import clip_states
from speech2lip_presenter.render import State, render_frame
from speech2lip_presenter.speech import SpeechClip, speech_clips
from speech2lip_presenter.truth import measure, write_truth

FURTHEST = np.array([19.5, 11.5, 11.5])
"""Yaw, pitch and roll, in degrees, that each take reaches."""
_RATE = 25


def film_turning(folder: Path, *, takes: int, size: int = 512) -> list[Path]:
    """Film takes whose head turns up to `FURTHEST` about each axis; those there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for clip in speech_clips("a", split="train")[:takes]:
        path = folder / f"{clip.name}.mp4"
        if not path.exists():
            _film(clip, path, size)
        paths.append(path)
    return paths


def _film(clip: SpeechClip, path: Path, size: int) -> None:
    states = _turning(clip_states(clip, float(_RATE)))
    write_truth(measure(states, fps=float(_RATE), size=size), path)
    step = SAMPLE_RATE // _RATE
    with VideoWriter(
        path,
        VideoFormat(width=size, height=size, fps=Fraction(_RATE), sample_rate=SAMPLE_RATE),
        crf=14,
    ) as writer:
        for i, state in enumerate(states):
            writer.write(render_frame(state, size=size)[0])
            writer.write_sound(clip.wave[i * step : (i + 1) * step])


def _turning(states: list[State]) -> list[State]:
    """Enlarge the turns until they reach `FURTHEST`; the eyes keep looking into the camera."""
    angles = np.array([(state.yaw, state.pitch, state.roll) for state in states])
    further = angles * FURTHEST / np.abs(angles).max(0)
    more = further - angles
    return [
        dataclasses.replace(
            state,
            yaw=float(to[0]),
            pitch=float(to[1]),
            roll=float(to[2]),
            gaze=(state.gaze[0] - float(add[0]), state.gaze[1] - float(add[1])),
        )
        for state, to, add in zip(states, further, more, strict=True)
    ]
