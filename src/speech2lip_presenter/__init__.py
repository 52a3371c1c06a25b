"""A made talking head, nobody's face, that speaks synthetic speech and whose truth is exactly known."""

from speech2lip_presenter.film import present
from speech2lip_presenter.motion import clip_states
from speech2lip_presenter.render import State, Truth, read_truth, render_frame, truth_path
from speech2lip_presenter.speech import Phone, SpeechClip, speech_clips

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
    "truth_path",
]
