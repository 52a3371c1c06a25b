"""Agreement of series: known values, and what constants and gaps give."""

from __future__ import annotations

import math

import numpy as np
import pytest

from speech2lip.evaluation.metrics.statistics import (
    bootstrap_interval,
    concordance,
    effective_count,
    fisher_interval,
    partial_correlation,
    pearson,
    std_ratio,
)

X, NOISE = np.random.default_rng(5).normal(size=(2, 400))


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(6)


def test_pearson_known_values() -> None:
    assert pearson(X, X) == pytest.approx(1)
    assert pearson(X, -3 * X + 2) == pytest.approx(-1)
    assert pearson(X, X + NOISE) == pytest.approx(np.corrcoef(X, X + NOISE)[0, 1])


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_a_constant_series_follows_nothing(value: float) -> None:
    still = np.full(400, value)
    assert pearson(still, X) == 0
    assert pearson(X, still) == 0
    assert concordance(still, X) == 0
    assert partial_correlation(still, X, given=NOISE) == 0
    assert std_ratio(still, X) == pytest.approx(0, abs=1e-9)
    assert math.isnan(std_ratio(X, still))


def test_frames_without_a_value_are_left_out() -> None:
    y = X.copy()
    y[:50] = np.nan
    assert pearson(X, y) == pytest.approx(1)
    assert std_ratio(2 * X, y) == pytest.approx(2)
    assert pearson(X, np.full_like(X, np.nan)) == 0


def test_concordance_sees_offset_and_size() -> None:
    assert concordance(X, X) == pytest.approx(1)
    assert concordance(X + 1, X) == pytest.approx(2 * X.var() / (2 * X.var() + 1))
    assert concordance(0.5 * X, X) < 0.9
    assert pearson(0.5 * X + 1, X) == pytest.approx(1)


def test_partial_correlation_takes_a_shared_cause_away(random: np.random.Generator) -> None:
    cause = np.cumsum(random.normal(size=2000))
    x, y = cause + random.normal(size=2000), cause + random.normal(size=2000)
    assert pearson(x, y) > 0.9
    assert abs(partial_correlation(x, y, given=cause)) < 0.1
    assert partial_correlation(x, x + 0 * y, given=cause) == pytest.approx(1)
    assert partial_correlation(cause, y, given=cause) == 0


def test_partial_correlation_formula(random: np.random.Generator) -> None:
    a, b, c = X, X + NOISE, 0.5 * X + random.normal(size=400)
    ab, ac, bc = pearson(a, b), pearson(a, c), pearson(b, c)
    wanted = (ab - ac * bc) / math.sqrt((1 - ac**2) * (1 - bc**2))
    assert partial_correlation(a, b, given=c) == pytest.approx(wanted)


def test_a_leak_is_seen_beside_shared_rhythm(random: np.random.Generator) -> None:
    """Frames of take A driven by B's sound: both share pauses, and some of A's own opening shines through."""
    rhythm = np.cumsum(random.normal(size=3000)) / 20
    own, heard = rhythm + random.normal(size=3000), rhythm + random.normal(size=3000)
    clean = heard + 0.3 * random.normal(size=3000)
    leaky = 0.7 * heard + 0.3 * own + 0.3 * random.normal(size=3000)
    assert pearson(clean, own) > 0.3
    assert abs(partial_correlation(clean, own, given=heard)) < 0.06
    assert partial_correlation(leaky, own, given=heard) > 0.4


def test_effective_count(random: np.random.Generator) -> None:
    white = random.normal(size=2000), random.normal(size=2000)
    assert effective_count(*white) > 1400
    slow = [np.convolve(w, np.ones(20) / 20, mode="valid") for w in white]
    assert effective_count(slow[0], slow[1]) < 300


def test_fisher_interval_known_value() -> None:
    low, high = fisher_interval(0.5, count=28)
    assert (low, high) == pytest.approx((0.1561, 0.7353), abs=1e-3)
    assert fisher_interval(0.5, count=3) == (-1, 1)
    assert fisher_interval(1.0, count=100)[1] <= 1


def test_bootstrap_interval_covers_the_mean_and_is_repeatable(random: np.random.Generator) -> None:
    values = random.normal(0.3, 0.1, 50)
    low, high = bootstrap_interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(50), rel=0.2)
    assert bootstrap_interval(values) == (low, high)
    assert all(math.isnan(end) for end in bootstrap_interval(np.array([0.4])))
