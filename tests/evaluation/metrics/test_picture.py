"""Picture metrics give known answers to known distortions."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from speech2lip.arrays import Picture
from speech2lip.evaluation.metrics.picture import (
    cpbd,
    flicker,
    gradient_energy,
    luma,
    psnr,
    seam_ratio,
    seam_step,
    sharpness_ratio,
    similarity_map,
    ssim,
)


@pytest.fixture
def stripes() -> Picture:
    """Blocks of random colours with sharp edges, 128 x 160."""
    colours = np.random.default_rng(1).integers(0, 256, (8, 10, 3))
    return np.kron(colours, np.ones((16, 16, 1))).astype(np.uint8)


def blurred(image: Picture, sigma: float) -> Picture:
    return np.round(gaussian_filter(image.astype(float), (sigma, sigma, 0))).astype(np.uint8)


def test_equal_pictures(stripes: Picture) -> None:
    assert psnr(stripes, stripes) == math.inf
    assert ssim(stripes, stripes) == pytest.approx(1)
    assert sharpness_ratio(stripes, stripes) == 1


def test_psnr_known_value() -> None:
    a, b = np.full((20, 20, 3), 100, np.uint8), np.full((20, 20, 3), 110, np.uint8)
    assert psnr(a, b) == pytest.approx(10 * math.log10(255**2 / 100))
    assert psnr(b, a) == psnr(a, b)  # no wrap-around of unsigned differences


def test_psnr_refuses_other_shapes() -> None:
    a = np.zeros((20, 20, 3), np.uint8)
    with pytest.raises(AssertionError, match="shape"):
        psnr(a, a[:10])


def test_ssim_of_flat_pictures_is_the_luminance_term() -> None:
    a, b = np.full((32, 32), 100, np.uint8), np.full((32, 32), 120, np.uint8)
    c1 = (0.01 * 255) ** 2
    assert ssim(a, b) == pytest.approx((2 * 100 * 120 + c1) / (100**2 + 120**2 + c1))


def test_ssim_falls_with_noise(stripes: Picture) -> None:
    noise = np.random.default_rng(2).normal(0, 1, stripes.shape)
    little, much = (np.clip(stripes + s * noise, 0, 255).astype(np.uint8) for s in (5, 30))
    assert ssim(stripes, much) < ssim(stripes, little) - 0.05 < 1


def test_ssim_refuses_what_is_smaller_than_its_window() -> None:
    with pytest.raises(AssertionError, match="11 pixels"):
        ssim(np.zeros((10, 40, 3), np.uint8), np.zeros((10, 40, 3), np.uint8))


def test_luma_of_grey_is_grey() -> None:
    assert luma(np.full((2, 2, 3), 77, np.uint8)) == pytest.approx(77)


def test_gradient_energy_of_a_ramp() -> None:
    ramp = np.tile(np.arange(0, 60, 3, dtype=np.uint8), (10, 1))
    assert gradient_energy(ramp) == pytest.approx(9)
    assert gradient_energy(ramp.T) == pytest.approx(9)


def test_blur_lowers_sharpness_and_noise_raises_it(stripes: Picture) -> None:
    assert sharpness_ratio(blurred(stripes, 1.5), stripes) < 0.6
    noise = np.random.default_rng(3).normal(0, 20, stripes.shape)
    assert sharpness_ratio(np.clip(stripes + noise, 0, 255).astype(np.uint8), stripes) > 1.1
    assert math.isnan(sharpness_ratio(stripes, np.zeros_like(stripes)))


def test_cpbd_falls_with_blur(stripes: Picture) -> None:
    scores = [cpbd(stripes)] + [cpbd(blurred(stripes, sigma)) for sigma in (0.8, 2.0, 4.0)]
    assert scores[0] > 0.95
    assert all(later <= earlier for earlier, later in pairwise(scores))
    assert scores[-1] < 0.1


@pytest.mark.parametrize(("width", "contrast", "sharp"), [(3, 200, 1), (4, 200, 0), (5, 40, 1), (6, 40, 0)])
def test_cpbd_turns_at_the_just_noticeable_width(width: int, contrast: int, sharp: int) -> None:
    row = np.zeros(64)
    row[20 : 20 + width] = contrast / width
    row[40 : 40 + width] = -contrast / width
    grey = np.tile(np.round(np.cumsum(row) + 20), (64, 1)).astype(np.uint8)
    assert cpbd(grey) == sharp


def test_cpbd_without_an_edge_is_zero() -> None:
    assert cpbd(np.full((64, 64, 3), 90, np.uint8)) == 0


def test_similarity_looks_only_where_something_changed() -> None:
    random = np.random.default_rng(0)
    a = random.integers(0, 255, (70, 90, 3)).astype(np.uint8)
    assert ssim(a, a) == 1
    for box in ((40, 30, 60, 45), (0, 0, 3, 2), (88, 66, 90, 70), (20, 0, 21, 70), (0, 0, 90, 70)):
        b = a.copy()
        x0, y0, x1, y1 = box
        b[y0:y1, x0:x1] = 255 - b[y0:y1, x0:x1]
        assert ssim(a, b) == pytest.approx(float(similarity_map(a, b).mean()), abs=1e-12)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.fixture
def picture(random: np.random.Generator) -> NDArray[np.uint8]:
    grain = gaussian_filter(random.normal(0, 1, (64, 64, 3)), (2, 2, 0))
    return np.clip(120 + 20 * grain / grain.std(), 0, 255).astype(np.uint8)


def test_flicker_counts_what_alternates_only(random: np.random.Generator) -> None:
    slow = np.linspace(100, 120, 50)
    assert flicker(slow) == pytest.approx(0, abs=1e-9)
    assert flicker(slow + np.tile([0, 1], 25)) == pytest.approx(2)
    noise = random.normal(size=50)
    assert flicker(3 * noise) == pytest.approx(3 * flicker(noise))
    assert math.isnan(flicker(noise * np.nan))


def test_a_step_of_four_levels_shows_as_a_seam(picture: NDArray[np.uint8]) -> None:
    mask = np.zeros((64, 64), np.float32)
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
    mask = np.zeros((64, 64), np.float32)
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
    mask = np.zeros((64, 64), np.float32)
    mask[16:48, 16:48] = 1
    flat = np.full((64, 64, 3), 120, np.uint8)
    feathered = gaussian_filter(mask, 4)
    pasted = np.round(flat + 4 * feathered[..., None]).astype(np.uint8)
    assert seam_step(pasted, feathered) < 0.3 * seam_step(flat + (4 * mask[..., None]).astype(np.uint8), mask)


def test_no_border_no_seam(picture: NDArray[np.uint8]) -> None:
    assert math.isnan(seam_ratio(picture, picture, np.zeros((64, 64), np.float32)))
