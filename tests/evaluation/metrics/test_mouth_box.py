"""The mouth box: size, place, clipping."""

from __future__ import annotations

import numpy as np

from speech2lip.evaluation.metrics.mouth_box import mouth_box


def test_side_is_twice_the_mouth() -> None:
    assert mouth_box(np.array([100.0, 80.0]), 30.0, frame_height=200, frame_width=300) == (70, 50, 130, 110)


def test_side_does_not_flicker_with_the_place() -> None:
    boxes = [
        mouth_box(np.array([x, 80.0]), 30.4, frame_height=200, frame_width=300)
        for x in np.arange(90, 110, 0.13)
    ]
    assert {x1 - x0 for x0, _, x1, _ in boxes} == {61}
    assert {y1 - y0 for _, y0, _, y1 in boxes} == {61}


def test_clipped_to_the_frame() -> None:
    assert mouth_box(np.array([5.0, 195.0]), 30.0, frame_height=200, frame_width=300) == (0, 165, 35, 200)


def test_outside_is_empty() -> None:
    x0, _, x1, _ = mouth_box(np.array([-500.0, 80.0]), 30.0, frame_height=200, frame_width=300)
    assert x0 == x1
