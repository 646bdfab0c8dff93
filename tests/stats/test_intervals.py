"""Intervals agree with published values."""

from __future__ import annotations

import math

import pytest

from floop_robot.stats.intervals import anytime_lower_bound, beta_lower_bound, clopper_pearson_lower_bound, wilson


def test_wilson_agrees_with_published_values() -> None:
    assert wilson(87, 100) == pytest.approx((0.7902, 0.9224), abs=2e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=2e-4)
    assert wilson(0, 0) == (0.0, 1.0)
    assert math.isclose(wilson(10, 10)[1], 1.0)


def test_lower_bounds_agree_with_published_values() -> None:
    assert anytime_lower_bound(0, 0, 0.05) == anytime_lower_bound(0, 5, 0.05) == 0.0
    assert anytime_lower_bound(14, 14, 0.05) > 0.7 > anytime_lower_bound(9, 9, 0.05)
    assert clopper_pearson_lower_bound(87, 100, 0.025) == pytest.approx(
        0.788, abs=0.002
    )  # Clopper-Pearson, from tables


def test_a_beta_bound_is_its_mean_less_a_deviation() -> None:
    assert beta_lower_bound(0, 0) == pytest.approx(0.5 - math.sqrt(1 / 12))  # uniform
    assert beta_lower_bound(1, 2) == pytest.approx(0.5 - math.sqrt(1 / 20))  # beta(2, 2)
    assert beta_lower_bound(4, 4) < beta_lower_bound(36, 40), "luck ranks below a record"
