"""A made talking head, nobody's face, that speaks synthetic speech and whose truth is exactly known."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speech2lip_presenter.film import present as present
    from speech2lip_presenter.motion import clip_states as clip_states
    from speech2lip_presenter.render import State as State
    from speech2lip_presenter.render import render_frame as render_frame
    from speech2lip_presenter.speech import Phone as Phone
    from speech2lip_presenter.speech import SpeechClip as SpeechClip
    from speech2lip_presenter.speech import speech_clips as speech_clips
    from speech2lip_presenter.truth import Truth as Truth
    from speech2lip_presenter.truth import read_truth as read_truth

_HOMES = {
    "present": "film",
    "clip_states": "motion",
    "State": "render",
    "render_frame": "render",
    "Phone": "speech",
    "SpeechClip": "speech",
    "speech_clips": "speech",
    "Truth": "truth",
    "read_truth": "truth",
}

__all__ = [
    "Phone",
    "SpeechClip",
    "State",
    "Truth",
    "clip_states",
    "present",
    "read_truth",
    "render_frame",
    "speech_clips",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
