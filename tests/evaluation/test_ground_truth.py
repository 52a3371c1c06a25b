"""Openings against ground truth: known distortions, and what the landmark detector itself gets wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from speech2lip.atomic import write_json
from speech2lip.decomposition.footage import Take
from speech2lip.evaluation.accumulate import Openings
from speech2lip.evaluation.evaluate import against_ground_truth
from speech2lip.evaluation.held_out import Span
from speech2lip.evaluation.result import ground_truth_line
from speech2lip.evaluation.speech_labels import true_opening
from speech2lip.faces.landmarks import LandmarkDetector, lip_opening
from speech2lip_presenter import clip_states, render_frame, speech_clips
from speech2lip_presenter.render import measure, write_truth
from tests.evaluation.made_footage import made_take

Series = NDArray[np.float64]

STATES = clip_states(speech_clips()[6])[25:85]


@pytest.fixture(scope="module")
def take(tmp_path_factory: pytest.TempPathFactory) -> Take:
    """Make a take that says that its source is a video with truth beside it."""
    folder = tmp_path_factory.mktemp("presenter")
    write_truth(measure(STATES, fps=25.0, size=256), folder / "clip.mp4")
    return made_take("clip", folder=folder, frames=len(STATES), source=str(folder / "clip.mp4"))


def _openings(take: Take, made: Series) -> list[Openings]:
    return [Openings(take.times[: len(made)], made, made)]


def test_truth_is_read_at_the_takes_own_times(take: Take) -> None:
    exact = measure(STATES, fps=25.0, size=256).lip_opening
    assert true_opening(take) == pytest.approx(exact)
    between = replace(take, times=take.times[:-1] + 0.02)
    assert true_opening(between) == pytest.approx((exact[1:] + exact[:-1]) / 2)


def test_others_have_no_truth(tmp_path: Path) -> None:
    take = made_take("a", folder=tmp_path)
    take.folder.mkdir()
    write_json(take.folder / "take.json", {"width": 64, "height": 64, "fps": "25"})
    assert true_opening(take) is None
    assert against_ground_truth({"ours": _openings(take, np.zeros(40))}, [Span(take, 0, 40)]) == {}


def test_bias_and_spread_are_told_apart(take: Take) -> None:
    exact = true_opening(take)
    assert exact is not None
    rows = {
        "right": _openings(take, exact),
        "wide": _openings(take, exact + 0.02),
        "half": _openings(take, exact.mean() + (exact - exact.mean()) / 2),
        "static": _openings(take, np.full_like(exact, exact.mean())),
    }
    found = against_ground_truth(rows, [Span(take, 0, len(exact))])
    perfect = {"opening_r": 1.0, "opening_ccc": 1.0, "opening_std_ratio": 1.0, "opening_bias": 0.0}
    assert found["right"] == pytest.approx(perfect, abs=1e-4)
    assert found["wide"]["opening_bias"] == pytest.approx(0.02, abs=1e-4)
    assert found["wide"]["opening_r"] == 1
    assert found["wide"]["opening_ccc"] < 0.95
    assert found["half"]["opening_std_ratio"] == pytest.approx(0.5, abs=1e-3)
    assert found["half"]["opening_bias"] == pytest.approx(0, abs=1e-4)
    assert found["static"]["opening_r"] == 0


def test_a_span_is_compared_with_its_own_part(take: Take) -> None:
    exact = true_opening(take)
    assert exact is not None
    later = _openings(take, exact[20:45])
    assert against_ground_truth({"r": later}, [Span(take, 20, 45)])["r"]["opening_r"] == 1
    assert against_ground_truth({"r": later}, [Span(take, 0, 25)])["r"]["opening_r"] < 0.9


def test_the_detectors_bias_is_told_in_words(take: Take) -> None:
    exact = true_opening(take)
    assert exact is not None
    rows = {"real_video": _openings(take, exact + 0.01), "ours": _openings(take, exact * 0.5)}
    found = against_ground_truth(rows, [Span(take, 0, len(exact))])
    line = ground_truth_line({"against_ground_truth": found})
    assert line is not None
    assert "real_video r 1.000, spread 1.00, bias +0.0100; ours r 1.000, spread 0.50" in line
    assert ground_truth_line({}) is None
    assert ground_truth_line({"against_ground_truth": {}}) is None


def test_unknown_frames_count_for_nothing(take: Take) -> None:
    exact = true_opening(take)
    assert exact is not None
    made = exact.copy()
    made[5:15] = np.nan
    assert (
        against_ground_truth({"r": _openings(take, made)}, [Span(take, 0, len(made))])["r"]["opening_r"] == 1
    )


@pytest.mark.slow
def test_the_detectors_own_bias_is_small_and_known(take: Take) -> None:
    with LandmarkDetector() as detector:
        found = [detector.detect(render_frame(state, size=256)[0]) for state in STATES]
    points = np.stack([np.full((478, 3), np.nan, np.float32) if one is None else one for one in found])
    detected = lip_opening(points).astype(np.float64)
    row = against_ground_truth({"real_video": _openings(take, detected)}, [Span(take, 0, len(detected))])[
        "real_video"
    ]
    assert row["opening_r"] > 0.95
    assert 0.6 < row["opening_std_ratio"] < 1.4
    assert abs(row["opening_bias"]) < 0.02
    assert np.isfinite(detected).mean() > 0.95
