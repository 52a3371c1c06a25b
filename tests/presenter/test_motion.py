"""The presenter's movement: natural bounds, smooth, the same for the same seed."""

from __future__ import annotations

import numpy as np

from speech2lip_presenter.motion import LIMITS, clip_states
from speech2lip_presenter.speech import speech_clips

CLIP = speech_clips()[0]


def test_the_same_seed_gives_the_same_movement() -> None:
    assert clip_states(CLIP, seed=3) == clip_states(CLIP, seed=3)
    assert clip_states(CLIP, seed=3) != clip_states(CLIP, seed=4)
    assert clip_states(CLIP)[0].yaw != clip_states(speech_clips()[1])[0].yaw


def test_poses_keep_within_bounds_and_use_them() -> None:
    angles = np.array([(s.yaw, s.pitch, s.roll) for clip in speech_clips()[:8] for s in clip_states(clip)])
    assert (np.abs(angles) <= list(LIMITS.values())).all()
    assert (np.ptp(angles, axis=0) > [15, 8, 5]).all()


def test_the_head_moves_smoothly() -> None:
    for clip in speech_clips()[:4]:
        angles = np.array([(s.yaw, s.pitch, s.roll) for s in clip_states(clip)])
        assert np.abs(np.diff(angles, axis=0)).max() < 2.0


def test_blinks_happen_and_are_never_cut() -> None:
    for clip in speech_clips()[:6]:
        blink = np.array([state.moves["blink"] for state in clip_states(clip)])
        assert blink[0] == blink[-1] == 0
        assert blink.max() > 0.5


def test_a_still_head_speaks_all_the_same() -> None:
    states = clip_states(CLIP, still=True)
    assert {(s.yaw, s.pitch, s.roll, s.sway, s.moves["blink"]) for s in states} == {
        (0.0, 0.0, 0.0, (0.0, 0.0, 0.0), 0.0)
    }
    assert len({s.moves["jaw"] for s in states}) > 50


def test_one_state_a_frame_at_any_rate() -> None:
    for fps in (25.0, 29.97, 50.0):
        states = clip_states(CLIP, fps)
        assert len(states) == int(CLIP.seconds * fps)
    by_rate = {fps: clip_states(CLIP, fps)[int(2 * fps)].moves["jaw"] for fps in (25.0, 50.0)}
    assert by_rate[25.0] == by_rate[50.0]
