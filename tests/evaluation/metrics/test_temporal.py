"""Jitter, flicker and seam on made landmarks and pictures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from speech2lip.evaluation.metrics.temporal import (
    box_brightness,
    box_detail,
    flicker,
    flicker_ratio,
    jitter,
    jitter_ratio,
    seam_ratio,
    seam_step,
)
from speech2lip.faces.landmarks import LIPS

Landmarks = NDArray[np.float64]
BOX = (8, 8, 56, 56)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.fixture
def talking() -> Landmarks:
    """Hundred frames of a face whose lips move slowly; eye corners 100 px apart."""
    points = np.tile(np.random.default_rng(0).normal(200, 40, (478, 2)), (100, 1, 1))
    points[:, 33], points[:, 263] = (150, 150), (250, 150)
    points[:, LIPS, 1] += 6 * np.sin(np.arange(100) / 3)[:, None] * np.linspace(-1, 1, len(LIPS))
    return points


@pytest.fixture
def picture(random: np.random.Generator) -> NDArray[np.uint8]:
    grain = gaussian_filter(random.normal(0, 1, (64, 64, 3)), (2, 2, 0))
    return np.clip(120 + 20 * grain / grain.std(), 0, 255).astype(np.uint8)


def test_shaken_lips_show_in_jitter(talking: Landmarks, random: np.random.Generator) -> None:
    assert jitter_ratio(talking, talking) == 1
    shaken = talking.copy()
    shaken[:, LIPS] += random.normal(0, 2, (100, 1, 2))
    assert jitter_ratio(shaken, talking) > 5
    # White shake of sigma in x and y has second differences of variance 6 sigma^2 each.
    still = np.tile(talking[:1], (100, 1, 1))
    still[:, LIPS] += random.normal(0, 2, (100, 1, 2))
    assert jitter(still) == pytest.approx(math.sqrt(2 * 6 * 4), rel=0.15)


def test_two_pixels_to_and_fro(talking: Landmarks) -> None:
    still = np.tile(talking[:1], (100, 1, 1))
    assert jitter(still) == pytest.approx(0, abs=1e-6)
    still[::2, LIPS, 0] += 2
    assert jitter(still) == pytest.approx(4)


def test_a_moving_head_is_no_jitter(talking: Landmarks, random: np.random.Generator) -> None:
    angle = random.normal(0, 0.1, 100)
    turn = np.stack(
        [np.stack([np.cos(angle), np.sin(angle)], 1), np.stack([-np.sin(angle), np.cos(angle)], 1)], 1
    )
    moved = random.uniform(0.8, 1.2, (100, 1, 1)) * talking @ turn + random.normal(0, 30, (100, 1, 2))
    still = np.tile(talking[:1], (100, 1, 1))
    assert jitter(moved) == pytest.approx(jitter(talking), rel=0.1)
    assert jitter(still) < 1e-6 < jitter(moved)


def test_jitter_with_missing_frames(talking: Landmarks) -> None:
    whole = jitter(talking)
    talking[40] = np.nan
    assert jitter(talking) == pytest.approx(whole, rel=0.1)
    assert math.isnan(jitter(np.full_like(talking, np.nan)))
    assert math.isnan(jitter(talking[:2]))


def test_flicker_counts_what_alternates_only(random: np.random.Generator) -> None:
    slow = np.linspace(100, 120, 50)
    assert flicker(slow) == pytest.approx(0, abs=1e-9)
    assert flicker(slow + np.tile([0, 1], 25)) == pytest.approx(2)
    noise = random.normal(size=50)
    assert flicker_ratio(3 * noise, noise) == pytest.approx(3)
    assert math.isnan(flicker_ratio(noise, slow * 0))


def test_box_figures(picture: NDArray[np.uint8]) -> None:
    brighter = picture.copy()
    brighter[8:56, 8:56] += 4
    assert box_brightness(brighter, BOX) - box_brightness(picture, BOX) == pytest.approx(4)
    smooth = gaussian_filter(picture, (2, 2, 0))
    assert box_detail(smooth, BOX) < 0.8 * box_detail(picture, BOX)
    assert math.isnan(box_brightness(picture, (5, 5, 5, 20)))
    assert math.isnan(box_detail(picture, (5, 5, 7, 20)))


def test_a_step_of_four_levels_shows_as_a_seam(picture: NDArray[np.uint8]) -> None:
    mask = np.zeros((64, 64))
    mask[16:48, 16:48] = 1
    pasted = picture.copy()
    pasted[mask > 0] += 4
    assert seam_ratio(picture, picture, mask) == 1
    assert seam_ratio(pasted, picture, mask) > 1.5
    flat = np.full_like(picture, 120)
    lifted = flat + (4 * mask).astype(np.uint8)[..., None]
    assert seam_step(lifted, mask) == pytest.approx(4)
    assert seam_ratio(lifted, flat, mask) == pytest.approx(9)


def test_grain_hides_no_seam(random: np.random.Generator) -> None:
    mask = np.zeros((64, 64))
    mask[16:48, 16:48] = 1
    ratios = []
    for _ in range(40):  # one picture's grain may happen to have a seam of its own
        grain = random.integers(90, 150, (64, 64, 3)).astype(np.uint8)
        pasted = grain.copy()
        pasted[mask > 0] += 4
        ratios.append(seam_ratio(pasted, grain, mask))
        assert seam_step(grain, mask) < 8  # the grain's own steps are about 14 levels each
    assert np.mean(ratios) > 1.2


def test_a_wide_feather_hides_the_step() -> None:
    mask = np.zeros((64, 64))
    mask[16:48, 16:48] = 1
    flat = np.full((64, 64, 3), 120, np.uint8)
    feathered = gaussian_filter(mask, 4)
    pasted = np.round(flat + 4 * feathered[..., None]).astype(np.uint8)
    assert seam_step(pasted, feathered) < 0.3 * seam_step(flat + (4 * mask[..., None]).astype(np.uint8), mask)


def test_no_border_no_seam(picture: NDArray[np.uint8]) -> None:
    assert math.isnan(seam_ratio(picture, picture, np.zeros((64, 64))))


def test_a_cut_is_no_jitter(talking: Landmarks) -> None:
    jumped = talking.copy()
    jumped[50:, LIPS, 1] += 20  # another sitting, turned another way
    assert jitter(jumped) > 2 * jitter(talking)
    assert jitter(jumped, cuts=[50]) == pytest.approx(jitter(talking), rel=0.02)
    assert jitter(talking, cuts=[0]) == jitter(talking)
