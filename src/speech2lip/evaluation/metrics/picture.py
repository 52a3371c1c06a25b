"""How like the real picture a made one is, how sharp, and what shows of the paste: PSNR, SSIM, CPBD, seam."""

from __future__ import annotations

import itertools
import math

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import sobel
from skimage.metrics import structural_similarity

from speech2lip.arrays import Array, Floats, Picture, Series

LUMA_WEIGHTS = (0.299, 0.587, 0.114)
"""Red, green and blue in luma (ITU-R BT.601), the grey that SSIM and CPBD were defined on."""

PSNR_EQUAL = 60.0
"""What equal pictures count in a mean, dB: just above what rounding to 8 bits costs (58.9)."""

SSIM_WINDOW = 11

CPBD_BLOCK = 64
CPBD_EDGE_SHARE = 0.002
CPBD_LOW_CONTRAST = 50
CPBD_JUST_NOTICEABLE = (5.0, 3.0)
"""Just noticeable edge width in pixels at contrasts up to, and above, CPBD_LOW_CONTRAST levels."""

SEAM_CELL = 16
"""Pixels; side of the cells in which a border's steps are averaged."""
SEAM_NOISE = 0.5
"""Levels; added to both steps of a seam, so that a flat real background does not divide by zero."""


def luma(image: Picture) -> Array:
    """Return the luma [H, W], levels 0 to 255, of an RGB picture [H, W, 3]; grey [H, W] passes unchanged."""
    if image.ndim == 2:
        return image.astype(np.float64)
    assert image.ndim == 3 and image.shape[2] == 3, f"a picture is [H, W, 3], not {image.shape}"
    grey: Array = image @ np.array(LUMA_WEIGHTS)
    return grey


def psnr(a: Picture, b: Picture) -> float:
    """Return the peak signal-to-noise ratio in dB, 10 log10(255^2 / mean squared error over all channels).

    Equal pictures give infinity (null in the JSON file). Cannot see: whether lips or background are wrong, or
    sharpness (a blurred picture often scores higher than a sharp one a pixel beside its place).
    """
    assert a.shape == b.shape, f"pictures differ in shape: {a.shape} and {b.shape}"
    error = float(((a.astype(np.float64) - b) ** 2).mean())
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def ssim(a: Picture, b: Picture) -> float:
    """Return the structural similarity, at most 1 (Wang et al. 2004), of two pictures' luma.

    The one choice of settings here: luma (BT.601), Gaussian window 11 x 11 with sigma 1.5, K1 = 0.01, K2 =
    0.03, range 255, population covariance, mean over the pixels whose window lies inside. Cannot see: wrong
    colours; a right mouth at a wrong time.

    Args:
        a: uint8, [H, W, 3] or [H, W], at least 11 pixels on each side.
        b: the other picture, same shape.
    """
    assert a.shape == b.shape, f"pictures differ in shape: {a.shape} and {b.shape}"
    assert min(a.shape[:2]) >= SSIM_WINDOW, (
        f"SSIM wants at least {SSIM_WINDOW} pixels a side, not {a.shape[:2]}"
    )
    changed = (a != b).reshape(*a.shape[:2], -1).any(axis=2)
    x, y, width, height = cv2.boundingRect(changed.astype(np.uint8))
    if not width:
        return 1.0
    # Windows that hold no difference have similarity 1: only those around the changed box need work.
    rows, columns = (
        slice(max(0, low - SSIM_WINDOW), low + length + SSIM_WINDOW)
        for low, length in ((y, height), (x, width))
    )
    inside = similarity_map(a[rows, columns], b[rows, columns])
    count = (a.shape[0] - SSIM_WINDOW + 1) * (a.shape[1] - SSIM_WINDOW + 1)
    return float((inside.sum() + count - inside.size) / count)


def similarity_map(a: Picture, b: Picture) -> Array:
    """Return the similarity of every window that lies wholly inside."""
    _, whole = structural_similarity(  # type: ignore[no-untyped-call]
        luma(a), luma(b), win_size=SSIM_WINDOW, gaussian_weights=True, sigma=1.5, full=True,
        use_sample_covariance=False, data_range=255, K1=0.01, K2=0.03,
    )  # fmt: skip
    rim = SSIM_WINDOW // 2
    return np.asarray(whole[rim : whole.shape[0] - rim, rim : whole.shape[1] - rim], np.float64)


def gradient_energy(image: Picture) -> float:
    """Return the luma's mean squared gradient (central differences inside), in (levels per pixel)^2."""
    down, across = np.gradient(luma(image))
    return float((across**2 + down**2)[1:-1, 1:-1].mean())


def sharpness_ratio(generated: Picture, real: Picture) -> float:
    """Return the gradient energy of a made picture over the real one's: < 1 blurred, > 1 noisy.

    NaN if the real picture is flat. Cannot see: whether detail is in its right place; noise counts as
    sharpness.
    """
    energy = gradient_energy(real)
    return gradient_energy(generated) / energy if energy > 0 else math.nan


def cpbd(image: Picture) -> float:
    """Return the cumulative probability of blur detection in [0, 1]; higher is sharper; needs no truth.

    Narvekar & Karam 2011 (IEEE TIP 20(9)): each vertical edge has a width w (pixels between the brightness
    extrema at its two sides, along the row); blur is seen there with probability 1 - exp(-(w / w_JNB)^3.6),
    where w_JNB is 5 pixels in blocks of contrast up to 50 levels and 3 above; CPBD is the share of edges
    where that is at most 63 %, which is w <= w_JNB. Only 64 x 64 blocks of which more than 0.2 % are edge
    pixels count; the rim's partial blocks count like whole ones, as a mouth box is but a few blocks large.
    Edges: horizontal Sobel, local maxima whose square is above four times the mean square (the authors find
    blocks by Canny, so their figures differ in the second digit). 0 if there is no edge at all.

    Cannot see: whether the picture is right; noise and block borders count as sharp edges; compare only boxes
    of the same size.
    """
    grey = luma(image)
    edges, widths = _vertical_edges(grey), _edge_widths(grey)
    sharp = counted = 0
    for top, left in itertools.product(*(range(0, side, CPBD_BLOCK) for side in grey.shape)):
        block = np.s_[top : top + CPBD_BLOCK, left : left + CPBD_BLOCK]
        if edges[block].mean() > CPBD_EDGE_SHARE:
            noticeable = CPBD_JUST_NOTICEABLE[int(np.ptp(grey[block]) > CPBD_LOW_CONTRAST)]
            sharp += int((widths[block][edges[block]] <= noticeable).sum())
            counted += int(edges[block].sum())
    return sharp / counted if counted else 0.0


def _vertical_edges(grey: Array) -> NDArray[np.bool_]:
    """Find thin vertical edges: local maxima along the row of a strong horizontal Sobel gradient; [H, W]."""
    gradient = np.abs(sobel(grey, axis=1, mode="nearest"))
    around = np.pad(gradient, ((0, 0), (1, 1)))
    thin = (gradient >= around[:, :-2]) & (gradient > around[:, 2:])
    edges: NDArray[np.bool_] = thin & (gradient**2 > 4 * np.mean(gradient**2)) & (gradient > 0)
    return edges


def _edge_widths(grey: Array) -> NDArray[np.int64]:
    """Return for each pixel how long the rise or fall through it is along the row, in pixels; [H, W]."""
    widths = np.zeros(grey.shape, np.int64)
    slope = np.zeros_like(grey)
    slope[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    for sign in (1, -1):
        steps = sign * np.diff(grey, axis=1) > 0
        length = _run_before(steps) + _run_before(steps[:, ::-1])[:, ::-1]
        widths = np.where(sign * slope > 0, length, widths)
    return widths


def _run_before(steps: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count for each pixel the unbroken steps that end at it from the left; [H, W - 1] to [H, W]."""
    steps = np.pad(steps, ((0, 0), (1, 0)))
    columns = np.arange(steps.shape[1])
    last_broken = np.maximum.accumulate(np.where(steps, 0, columns), axis=1)
    return np.asarray(columns - last_broken, np.int64)


def flicker(values: Series) -> float:
    """Return the root mean square second difference of a figure per frame (brightness), in its unit.

    The second difference leaves slow changes of light and steady motion out. NaN frames are left out.
    """
    change = np.diff(values.astype(np.float64), 2)
    known = change[np.isfinite(change)]
    return math.sqrt(float((known**2).mean())) if known.size else math.nan


def seam_step(frame: Picture, mask: Floats) -> float:
    """Return the step of luma across the mask's border (where it crosses 0.5), levels; NaN without a border.

    Steps from the pixel outside to the one inside are averaged, with their sign, over the stretch of border
    in each 16 x 16 cell; then the sizes are averaged over the cells. Grain and texture fall out, an edge that
    runs along the border stays, as it does for the eye, and a strong edge that the border crosses weighs
    little.

    Args:
        frame: uint8, [H, W, 3].
        mask: [H, W] in [0, 1], what was pasted.
    """
    grey, inside = luma(frame), mask > 0.5
    steps, cells = [], []
    for axis in (0, 1):
        entering = np.diff(inside.astype(np.int8), axis=axis)
        rows, columns = np.nonzero(entering)
        steps.append(np.diff(grey, axis=axis)[rows, columns] * entering[rows, columns])
        cells.append(rows // SEAM_CELL * grey.shape[1] + columns // SEAM_CELL)
    step = np.concatenate(steps)
    if not step.size:
        return math.nan
    cell = np.unique(np.concatenate(cells), return_inverse=True)[1]
    counts = np.bincount(cell)
    means = np.bincount(cell, weights=step) / counts
    return float(np.average(np.abs(means), weights=counts))


def seam_ratio(generated: Picture, real: Picture, mask: Floats) -> float:
    """Return the step across the mask's border over that at the same place in the real frame; 1 no seam.

    A patch 4 levels too bright gives 1.4 and 2.1 on two real clips, recompression (JPEG 70) up to 1.1. NaN
    without a border. Cannot see: a difference that a wide feather spreads over many pixels (nor do eyes); a
    step that changes its sign within a few pixels.
    """
    return (seam_step(generated, mask) + SEAM_NOISE) / (seam_step(real, mask) + SEAM_NOISE)
