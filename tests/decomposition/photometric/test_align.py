"""Which focal lengths are tried."""

from __future__ import annotations

import pytest

from speech2lip.decomposition.photometric.align import believable_factors


@pytest.mark.parametrize("distance", [3.0, 4.6, 5.5, 9.0, 20.0])
def test_no_focal_length_is_tried_that_puts_the_head_before_the_lens(distance: float) -> None:
    factors = believable_factors(distance)
    assert min(factors) * distance >= min(4.5, distance)
    assert 1.0 in factors
    assert max(factors) > 2
    assert len(factors) >= 3


def test_a_head_far_away_may_be_much_nearer() -> None:
    assert min(believable_factors(20.0)) < 0.7
