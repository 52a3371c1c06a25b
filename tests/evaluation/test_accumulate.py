"""Known distortions of a made take give known figures."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from speech2lip.evaluation.accumulate import Accumulator, Moment
from speech2lip.evaluation.metrics.mouth import OpeningScale
from speech2lip.evaluation.result import METRICS, Row
from speech2lip.faces.landmarks import LIPS
from tests.evaluation.talking import (
    BOX,
    FRAMES,
    REGION,
    judged,
    mask,
    pictures_of,
    points_of,
    sound_of,
    spoken,
    times,
)

REAL = spoken(1)


@pytest.fixture(scope="module")
def itself() -> Row:
    return judged(REAL, REAL).row()


def test_the_same_video_has_no_distance(itself: Row) -> None:
    assert set(itself) <= set(METRICS)
    assert itself["mouth_psnr"] is None
    assert itself["frame_psnr"] is None
    alike = ["mouth_ssim", "frame_ssim", "sharpness_ratio", "opening_r", "opening_ccc", "opening_std_ratio"]
    alike += ["width_r", "jitter_ratio", "flicker_ratio", "seam_ratio", "closure_reached"]
    assert {name: itself[name] for name in alike} == pytest.approx(dict.fromkeys(alike, 1.0), abs=1e-6)
    assert itself["lmd_px"] == itself["lmd_percent"] == itself["silent_open_percent"] == 0
    assert itself["sync_offset_ms"] == pytest.approx(0, abs=15)
    assert itself["frames"] == len(REAL)


@pytest.mark.parametrize("delay", [-3, 2, 5])
def test_delayed_lips_show_as_offset(delay: int, itself: Row) -> None:
    made = np.roll(REAL, delay)
    row = judged(REAL, made).row()
    assert row["sync_offset_ms"] == pytest.approx(itself["sync_offset_ms"] - 40 * delay, abs=12)
    assert row["opening_r"] < 0.9


def test_static_lips_follow_nothing() -> None:
    row = judged(REAL, np.full_like(REAL, REAL.mean())).row()
    assert row["opening_r"] == row["opening_ccc"] == 0
    assert row["opening_std_ratio"] == pytest.approx(0, abs=1e-3)
    assert row["closure_reached"] == 0
    assert row["silent_open_percent"] == 100
    assert row["sync_offset_ms"] is None
    assert row["jitter_ratio"] < 0.01
    assert row["mouth_psnr"] < 25


def test_shut_lips_close_nothing() -> None:
    row = judged(REAL, np.zeros_like(REAL)).row()
    assert row["closure_reached"] == 0
    assert row["opening_std_ratio"] == 0
    assert row["opening_r"] == 0


def test_half_as_far_is_seen_by_size_not_by_correlation() -> None:
    row = judged(REAL, REAL / 2).row()
    assert row["opening_r"] == pytest.approx(1, abs=1e-4)
    assert row["opening_std_ratio"] == pytest.approx(0.5, abs=1e-3)
    assert row["opening_ccc"] < 0.8


def test_a_blurred_mouth_is_less_sharp_but_moves_as_well(itself: Row) -> None:
    blurred = [gaussian_filter(picture, (2, 2, 0)) for picture in pictures_of(REAL)]
    row = judged(REAL, REAL, pictures=blurred).row()
    assert row["sharpness_ratio"] < 0.5
    assert row["mouth_cpbd"] < itself["mouth_cpbd"] - 0.1
    assert row["opening_r"] == itself["opening_r"]
    assert row["mouth_ssim"] < 0.95


def test_two_pixels_of_shake_show_in_jitter() -> None:
    points = points_of(REAL)
    points[:, LIPS, :2] += np.random.default_rng(0).normal(0, 2, (len(REAL), 1, 2))
    row = judged(REAL, REAL, points=points).row()
    assert row["jitter_ratio"] > 1.5
    assert row["opening_r"] == pytest.approx(1, abs=1e-3)


def test_a_step_of_four_levels_shows_as_a_seam() -> None:
    x0, y0, x1, y1 = REGION
    lifted = pictures_of(REAL)
    for picture in lifted:
        picture[y0:y1, x0:x1][mask() > 0.5] += 4
    assert judged(REAL, REAL, pictures=lifted).row()["seam_ratio"] > 1.15


def test_flicker_is_what_alternates() -> None:
    lit = pictures_of(REAL)
    for picture in lit[::2]:
        picture[...] = np.minimum(picture + 6, 255)
    row = judged(REAL, REAL, pictures=lit).row()
    assert row["flicker_ratio"] > 1.3
    steady = [np.minimum(picture + 6, 255).astype(np.uint8) for picture in pictures_of(REAL)]
    assert judged(REAL, REAL, pictures=steady).row()["flicker_ratio"] == pytest.approx(1, abs=0.02)


def test_other_sound_fails_sync(itself: Row) -> None:
    other = [judged(REAL, REAL, heard=sound_of(spoken(seed))).row() for seed in (2, 3, 4)]
    assert all(row["sync_confidence"] < itself["sync_confidence"] - 0.15 for row in other)
    assert any(row["sync_offset_ms"] is None for row in other)  # ten seconds are too short to be sure


def test_silence_by_kind() -> None:
    gathered = judged(REAL, REAL)
    gathered.add_silence("digital", np.full(50, 0.2))
    gathered.add_silence("room noise", np.array([0.0, np.nan, 0.2]))
    assert gathered.silent_open("pauses") == 0
    assert gathered.silent_open("digital") == 100
    assert gathered.silent_open("room noise") == 50
    silent = gathered.details()["silent_open_percent"]
    assert silent == {"pauses": 0.0, "digital": 100.0, "room noise": 50.0}


def test_missing_frames_count_for_nothing(itself: Row) -> None:
    gathered = judged(REAL, REAL, missing=range(60, 80))
    row = gathered.row()
    assert row["frames"] == len(REAL) - 20
    assert row["opening_r"] == pytest.approx(1)
    assert row["jitter_ratio"] == pytest.approx(1)
    assert np.isnan(gathered.takes[0].made[60:80]).all()


def test_no_face_is_no_shape() -> None:
    points = points_of(REAL)
    points[10:20] = np.nan
    row = judged(REAL, REAL, points=points).row()
    assert row["lmd_px"] == 0
    assert row["frames"] == len(REAL)


def test_nothing_judged_is_an_empty_row() -> None:

    from speech2lip.evaluation.accumulate import Accumulator

    assert Accumulator(OpeningScale.measure(REAL)).row() == {"frames": 0, "frames_not_spoken_over": 0}


def test_an_hour_holds_no_more_landmarks_than_a_minute() -> None:

    from speech2lip.evaluation import accumulate as module

    gathered = module.Accumulator(OpeningScale.measure(REAL))
    for i in range(3 * module._BLOCK + 7):
        gathered.skip(i / 25)
        assert len(gathered._points) <= module._BLOCK
    assert len(gathered._shape) == 3 * module._BLOCK + 7


@pytest.mark.parametrize("told", [False, True])
def test_nothing_is_measured_across_a_cut(told: bool) -> None:
    still = np.full(FRAMES, 0.05)
    points, pictures = points_of(still), pictures_of(still)
    gathered = Accumulator(OpeningScale(0.0, 0.2))
    for i, second in enumerate(times()):
        made, found = pictures[i], points[i].copy()
        if i >= 100:  # the person sits nearer to the lamp now, and turned
            made = np.clip(made.astype(int) + 60, 0, 255).astype(np.uint8)
            found[LIPS, 0] *= 1.1
        if told and i == 100:
            gathered.cut()
        gathered.add(Moment(i, float(second), pictures[i], BOX, points[i], REGION, mask()), made, found)
    openings = gathered.end_take(sound_of(REAL))
    assert len(openings.times) == FRAMES  # a cut is no frame
    assert (gathered._jitter[0][0] > 0.1) is not told
    assert (gathered._flicker[0][0] > 1) is not told
