"""Videos of the presenter turning its head further than it usually does, for the geometry benchmark."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from speech2lip.config import PresentSettings
from speech2lip_presenter import State, clip_states, speech_clips
from speech2lip_presenter.film import film_clip

FURTHEST = np.array([19.5, 11.5, 11.5])
"""Yaw, pitch and roll, in degrees, that each take reaches."""


def film_turning(folder: Path, *, takes: int, size: int = 512) -> list[Path]:
    """Film takes whose head turns up to `FURTHEST` about each axis; those there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for clip in speech_clips("a", split="train")[:takes]:
        path = folder / f"{clip.name}.mp4"
        if not path.exists():
            film_clip(clip, path, settings=PresentSettings(size=size), states=_turning(clip_states(clip)))
        paths.append(path)
    return paths


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
