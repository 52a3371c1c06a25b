"""The face detector follows the presenter in every pose, and sees its lips open and close."""

from __future__ import annotations

import numpy as np
import pytest

from speech2lip.faces.landmarks import LandmarkDetector, lip_opening
from speech2lip_presenter import clip_states, render_frame, speech_clips
from speech2lip_presenter.render import State, measure


@pytest.mark.slow
@pytest.mark.parametrize("yaw", [-17.0, 0.0, 17.0])
@pytest.mark.parametrize("pitch", [-9.0, 0.0, 9.0])
def test_every_pose_is_tracked(yaw: float, pitch: float) -> None:
    for jaw in (0.0, 0.18):
        state = State(moves={"jaw": jaw, "upper_lip": 0.25 * jaw}, yaw=yaw, pitch=pitch)
        with LandmarkDetector() as detector:
            assert detector.detect(render_frame(state, size=256)[0]) is not None


@pytest.mark.slow
def test_the_detector_follows_the_lips() -> None:
    states = clip_states(speech_clips()[6])[:150]
    truth = measure(states, fps=25.0, size=384)
    with LandmarkDetector() as detector:
        found = [detector.detect(render_frame(state, size=384)[0]) for state in states]
    points = np.stack([p for p in found if p is not None])
    assert len(points) == len(states)
    seen = lip_opening(points)
    assert np.corrcoef(seen, truth.lip_opening)[0, 1] >= 0.97
    assert np.percentile(seen[truth.lip_opening < 1e-3], 95) < 0.01
