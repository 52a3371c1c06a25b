"""How like the real picture a made one is, and how sharp: PSNR, SSIM, CPBD, gradient energy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from speech2lip.conventions import Picture

LUMA_WEIGHTS = (0.299, 0.587, 0.114)
"""Red, green and blue in luma (ITU-R BT.601), the grey that SSIM and CPBD were defined on."""

PSNR_EQUAL = 60.0

SSIM_SIGMA = 1.5
SSIM_WINDOW = 11
SSIM_K1 = 0.01
SSIM_K2 = 0.03

CPBD_BLOCK = 64
CPBD_EDGE_SHARE = 0.002
CPBD_BETA = 3.6
CPBD_LOW_CONTRAST = 50
CPBD_JUST_NOTICEABLE = (5.0, 3.0)
"""Just noticeable edge width in pixels at contrasts up to, and above, CPBD_LOW_CONTRAST levels."""


def luma(image: Picture) -> NDArray[np.float64]:
    """Return the luma [H, W], levels 0 to 255, of an RGB picture [H, W, 3]; grey [H, W] passes unchanged."""
    if image.ndim == 2:
        return image.astype(np.float64)
    assert image.ndim == 3 and image.shape[2] == 3, f"a picture is [H, W, 3], not {image.shape}"
    grey: NDArray[np.float64] = image @ np.array(LUMA_WEIGHTS)
    return grey


def psnr(a: Picture, b: Picture, *, mask: NDArray[np.floating[Any]] | None = None) -> float:
    """Return the peak signal-to-noise ratio in dB, 10 log10(255^2 / mean squared error over all channels).

    Equal pictures give infinity (null in the JSON file). Cannot see: whether lips or background are wrong, or
    sharpness (a blurred picture often scores higher than a sharp one a pixel beside its place).

    Args:
        a: uint8, [H, W, 3] or [H, W].
        b: the other picture, same shape.
        mask: weight of each pixel in [0, 1], [H, W]; all alike by default.
    """
    assert a.shape == b.shape, f"pictures differ in shape: {a.shape} and {b.shape}"
    squares = (a.astype(np.float64) - b) ** 2
    if squares.ndim == 3:
        squares = squares.mean(axis=2)
    if mask is None:
        error = float(squares.mean())
    else:
        assert mask.shape == squares.shape and mask.sum() > 0, (
            "the mask must fit the picture and hold something"
        )
        error = float((squares * mask).sum() / mask.sum())
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def mean_psnr(values: Sequence[float]) -> float:
    """Return the mean of the frames' PSNR in dB, equal frames (infinity) counted as 60 dB.

    60 dB is just above what rounding to 8 bits costs (58.9 dB), so that a few equal frames do not carry the
    mean away. Infinity if all frames are equal.
    """
    assert len(values) > 0, "no frame, no mean"
    if all(math.isinf(value) for value in values):
        return math.inf
    return sum(min(value, PSNR_EQUAL) for value in values) / len(values)


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
    rows, columns = (side - SSIM_WINDOW + 1 for side in a.shape[:2])
    box = changed_box(a, b)
    if box is None:
        return 1.0
    # Windows that hold no difference have similarity 1: only those around the changed box need work.
    reach = SSIM_WINDOW - 1
    x0, y0 = (max(0, low - reach) for low in box[:2])
    x1, y1 = (min(side, high + reach) for side, high in zip(a.shape[1::-1], box[2:], strict=True))
    x0, y0 = min(x0, max(0, x1 - SSIM_WINDOW)), min(y0, max(0, y1 - SSIM_WINDOW))
    x1, y1 = max(x1, x0 + SSIM_WINDOW), max(y1, y0 + SSIM_WINDOW)
    inside = _ssim_map(a[y0:y1, x0:x1], b[y0:y1, x0:x1])
    return float((inside.sum() + rows * columns - inside.size) / (rows * columns))


def _ssim_map(a: Picture, b: Picture) -> NDArray[np.float64]:
    """Return the similarity of every window that lies wholly inside."""
    _, whole = structural_similarity(  # type: ignore[no-untyped-call]
        luma(a), luma(b), win_size=SSIM_WINDOW, gaussian_weights=True, sigma=SSIM_SIGMA, full=True,
        use_sample_covariance=False, data_range=255, K1=SSIM_K1, K2=SSIM_K2,
    )  # fmt: skip
    rim = SSIM_WINDOW // 2
    return np.asarray(whole[rim : whole.shape[0] - rim, rim : whole.shape[1] - rim], np.float64)


def changed_box(a: Picture, b: Picture) -> tuple[int, int, int, int] | None:
    """Return the smallest box (x0, y0, x1, y1) outside of which two pictures are equal; None if all is."""
    changed = a != b
    if changed.ndim == 3:
        changed = changed.any(axis=2)
    columns, rows = np.flatnonzero(changed.any(axis=0)), np.flatnonzero(changed.any(axis=1))
    if not columns.size:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def gradient_energy(image: Picture) -> float:
    """Return the luma's mean squared gradient (central differences inside), in (levels per pixel)^2."""
    grey = luma(image)
    across = (grey[1:-1, 2:] - grey[1:-1, :-2]) / 2
    down = (grey[2:, 1:-1] - grey[:-2, 1:-1]) / 2
    return float((across**2 + down**2).mean())


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
    where that is at most 63 % (w <= w_JNB). Only 64 x 64 blocks of which more than 0.2 % are edge pixels
    count; the rim's partial blocks count like whole ones, as a mouth box is but a few blocks large. Edges:
    horizontal Sobel, local maxima whose square is above four times the mean square (the authors find blocks
    by Canny, so their figures differ in the second digit). 0 if there is no edge at all.

    Cannot see: whether the picture is right; noise and block borders count as sharp edges; compare only boxes
    of the same size.
    """
    grey = luma(image)
    edges = _vertical_edges(grey)
    widths = _edge_widths(grey)
    sharp = counted = 0
    for top in range(0, grey.shape[0], CPBD_BLOCK):
        for left in range(0, grey.shape[1], CPBD_BLOCK):
            block = np.s_[top : top + CPBD_BLOCK, left : left + CPBD_BLOCK]
            if edges[block].mean() <= CPBD_EDGE_SHARE:
                continue
            low, high = CPBD_JUST_NOTICEABLE
            noticeable = low if np.ptp(grey[block]) <= CPBD_LOW_CONTRAST else high
            probability = 1 - np.exp(-((widths[block][edges[block]] / noticeable) ** CPBD_BETA))
            # 0.63 in the paper stands for 1 - 1/e, the probability at the just noticeable width itself.
            sharp += int((probability <= 1 - math.exp(-1) + 1e-12).sum())
            counted += probability.size
    return sharp / counted if counted else 0.0


def _vertical_edges(grey: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Find thin vertical edges: local maxima along the row of a strong horizontal Sobel gradient; [H, W]."""
    padded = np.pad(grey, 1, mode="edge")
    across = padded[:, 2:] - padded[:, :-2]
    sobel = np.abs(across[:-2] + 2 * across[1:-1] + across[2:])
    around = np.pad(sobel, ((0, 0), (1, 1)))
    thin = (sobel >= around[:, :-2]) & (sobel > around[:, 2:])
    edges: NDArray[np.bool_] = thin & (sobel**2 > 4 * np.mean(sobel**2)) & (sobel > 0)
    return edges


def _edge_widths(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each pixel how long the rise or fall through it is along the row, in pixels; [H, W]."""
    rising = np.diff(grey, axis=1)
    widths = np.zeros_like(grey)
    centre = np.zeros_like(grey)
    centre[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    for sign in (1, -1):
        steps = (sign * rising) > 0
        length = _run_before(steps) + _run_before(steps[:, ::-1])[:, ::-1]
        widths = np.where(sign * centre > 0, length, widths)
    return widths


def _run_before(steps: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Count for each pixel the unbroken steps that end at it from the left; [H, W - 1] to [H, W]."""
    runs = np.zeros((steps.shape[0], steps.shape[1] + 1))
    for column in range(steps.shape[1]):
        runs[:, column + 1] = (runs[:, column] + 1) * steps[:, column]
    return runs
