"""The paired comparison of two success rates keeps its level, also where counts are small, and finds real losses."""

from __future__ import annotations

import math

import numpy as np
import pytest

from floop_robot.stats.paired_difference import loss_p_value

MARGIN, ALPHA = 0.01, 0.05


def share_failed(pairs: int, lost_rate: float, gained_rate: float, runs: int = 1500) -> float:
    """How often a loss beyond the margin is reported."""
    rng = np.random.default_rng(0)
    counts = rng.multinomial(pairs, [lost_rate, gained_rate, 1.0 - lost_rate - gained_rate], size=runs)
    found = {(a, b): loss_p_value(a, b, pairs, MARGIN) < ALPHA for a, b in {(int(c[0]), int(c[1])) for c in counts}}
    return float(np.mean([found[int(c[0]), int(c[1])] for c in counts]))


def test_it_is_the_binomial_tail_where_nothing_can_be_gained_by_chance() -> None:
    tail = sum(math.comb(500, i) * 0.01**i * 0.99 ** (500 - i) for i in range(300, 501))
    assert loss_p_value(300, 0, 500, 0.01) == pytest.approx(tail, abs=1e-12)
    assert loss_p_value(0, 0, 0, 0.01) == 1.0
    assert loss_p_value(0, 0, 500, 0.01) == pytest.approx(1.0)
    assert loss_p_value(3, 30, 500, 0.01) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("pairs", [60, 200, 500])
@pytest.mark.parametrize(("lost", "gained"), [(0.01, 0.0), (0.015, 0.005), (0.03, 0.02), (0.06, 0.05)])
def test_a_loss_of_just_a_point_is_rarely_called_larger(pairs: int, lost: float, gained: float) -> None:
    assert share_failed(pairs, lost, gained) <= ALPHA + 0.01


def test_a_policy_that_is_as_good_almost_never_fails_and_a_forgetful_one_does() -> None:
    assert share_failed(500, 0.01, 0.01) < 0.01
    assert share_failed(500, 0.06, 0.01) > 0.95
