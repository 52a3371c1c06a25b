"""How two series agree: correlation, concordance, spread, partial correlation, and how sure that is."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import bootstrap, norm

from speech2lip.arrays import Array, Series

CONSTANT = 1e-9
"""A series whose standard deviation is below this share of its size is constant, but for rounding."""


def pearson(x: Series, y: Series) -> float:
    """Return Pearson's r in [-1, 1] of two series [T]; 0 if one is constant (static lips).

    Frames where either is NaN are left out. Cannot see: wrong size or a constant offset, see `concordance`
    and `std_ratio`.
    """
    x, y = _paired(x, y)
    return 0.0 if _constant(x) or _constant(y) else float(np.corrcoef(x, y)[0, 1])


def concordance(x: Series, y: Series) -> float:
    """Return Lin's concordance correlation (1989) in [-1, 1]: r, lowered by differences of mean and spread.

    Frames where either is NaN are left out; 0 if either is constant.
    """
    x, y = _paired(x, y)
    if _constant(x) or _constant(y):
        return 0.0
    (x_variance, shared), (_, y_variance) = np.cov(x, y, bias=True)
    return float(2 * shared / (x_variance + y_variance + (x.mean() - y.mean()) ** 2))


def std_ratio(generated: Series, real: Series) -> float:
    """Return the standard deviation of the made series over the real one's: < 1 mumbles, > 1 overdoes.

    Over frames where both are known; NaN if the real series is constant.
    """
    x, y = _paired(generated, real)
    return math.nan if _constant(y) else float(x.std() / y.std())


def partial_correlation(x: Series, y: Series, *, given: Series) -> float:
    """Return the correlation of x and y that is left when both are freed, linearly, of `given`; in [-1, 1].

    For the leak: x the made opening, y the own true opening of the frames, given that of the person who is
    heard; near 0 without a leak. Frames where any is NaN are left out; 0 if x or y has nothing left. Cannot
    see: a leak of anything but what is measured; non-linear dependence.

    Args:
        x: [T].
        y: [T].
        given: [T] or [T, K].
    """
    others = given.reshape(len(given), -1).astype(np.float64)
    assert len(x) == len(y) == len(others), f"series of {len(x)}, {len(y)} and {len(others)} frames"
    known = np.isfinite(x) & np.isfinite(y) & np.isfinite(others).all(axis=1)
    if not known.any():
        return 0.0
    basis = np.column_stack([np.ones(int(known.sum())), others[known]])
    left = []
    for series in (x[known].astype(np.float64), y[known].astype(np.float64)):
        rest = series - basis @ np.linalg.lstsq(basis, series, rcond=None)[0]
        if _constant(series) or rest.std() <= 1e-6 * series.std():
            return 0.0
        left.append(rest)
    return pearson(left[0], left[1])


def effective_count(x: Series, y: Series) -> float:
    """Return how many independent frames the pair is worth for its correlation (Bartlett 1946), at most T.

    Neighbouring frames are alike, so T frames say less than T draws: T / (1 + 2 sum of the products of both
    autocorrelations).
    """
    x, y = _paired(x, y)
    count = len(x)
    if count < 4 or _constant(x) or _constant(y):
        return float(count)
    lags = range(1, min(count // 4, 100) + 1)
    x, y = x - x.mean(), y - y.mean()
    products = sum(float(x[lag:] @ x[:-lag]) * float(y[lag:] @ y[:-lag]) for lag in lags)
    shared = products / float((x @ x) * (y @ y))
    return float(np.clip(count / max(1 + 2 * shared, 1e-6), min(count, 4.0), count))


def fisher_interval(r: float, *, count: float) -> tuple[float, float]:
    """Return the 95 % interval of a correlation by Fisher's z; (-1, 1) for fewer than four draws.

    Args:
        r: the correlation.
        count: independent draws behind it, see `effective_count`; scipy's takes every frame for one.
    """
    if count <= 3:
        return -1.0, 1.0
    middle = math.atanh(max(-1 + 1e-12, min(1 - 1e-12, r)))
    reach = float(norm.ppf(0.975)) / math.sqrt(count - 3)
    return math.tanh(middle - reach), math.tanh(middle + reach)


def bootstrap_interval(values: Series) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the mean of independent values (takes, pairings).

    NaN values are left out; (NaN, NaN) with fewer than two values.
    """
    known = values[np.isfinite(values)].astype(np.float64)
    if known.size < 2:
        return math.nan, math.nan
    found = bootstrap(
        (known,), np.mean, n_resamples=2000, method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)


def _paired(x: Series, y: Series) -> tuple[Array, Array]:
    """Return both series at the frames where both are known."""
    assert x.ndim == 1 and x.shape == y.shape, (
        f"series must be [T] and of equal length, not {x.shape} and {y.shape}"
    )
    known = np.isfinite(x) & np.isfinite(y)
    return x[known].astype(np.float64), y[known].astype(np.float64)


def _constant(x: Series) -> bool:
    return x.size < 2 or float(x.std()) <= CONSTANT * max(1e-3, float(np.abs(x).max()))
