"""estimate_load: what lifts tell of how heavy and slippery objects are."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from floop_robot.fit.load_estimate import (
    CHANGED_MEAN,
    CHANGED_SHARE,
    LARGEST,
    UNLIKELY_SHARE,
    LoadBounds,
    estimate_load,
    load_bounds,
)

Lifts = Callable[[float], float]
HELD_M = 0.13
"""What an object that does not slip is lifted by."""


def slipping(slips_from: float, asked: list[float] | None = None) -> Lifts:
    """Lifts under log loads: whole ones up to `slips_from`, and less the heavier it is beyond."""

    def lifts(log_load: float) -> float:
        if asked is not None:
            asked.append(log_load)
        return max(0.0, min(HELD_M, HELD_M - 0.1 * (log_load - slips_from)))

    return lifts


@pytest.mark.parametrize("truth", [0.6, 1.5, 2.3, 3.2])
def test_an_object_that_was_lost_lies_between_a_lighter_and_a_heavier_one(truth: float) -> None:
    asked: list[float] = []
    lifts = slipping(truth - 0.5, asked)
    found = load_bounds(lifts, lifts(truth))
    assert found.low == pytest.approx(truth - 0.15, abs=0.12), "there it is lifted 1.5 cm higher"
    assert found.high == pytest.approx(min(truth + 0.15, LARGEST), abs=0.12)
    assert len(asked) <= 12


def test_an_object_that_was_held_is_lighter_than_one_that_would_have_been_lost() -> None:
    found = load_bounds(slipping(2.0), HELD_M)
    assert found.low == -math.inf and found.high == pytest.approx(2.15, abs=0.12)


def test_one_that_was_not_lifted_may_be_as_heavy_as_can_be() -> None:
    found = load_bounds(slipping(1.0), 0.0)
    assert found.low == pytest.approx(2.15, abs=0.12) and found.high == math.inf


@pytest.mark.parametrize(
    ("lifts", "lift_m"),
    [
        (lambda _: 0.0, HELD_M),  # the replay went another way
        (lambda _: 0.0, 0.0),  # the gripper missed, whatever the load
        (lambda _: HELD_M, 0.0),  # it would have been lifted under any load
        (lambda _: HELD_M, HELD_M),
    ],
)
def test_where_no_load_makes_a_difference_nothing_is_told(lifts: Lifts, lift_m: float) -> None:
    assert load_bounds(lifts, lift_m) == LoadBounds()


@pytest.mark.parametrize(("truth", "seed"), [(2.4, 0), (2.4, 1), (1.8, 2), (1.8, 3)])
def test_all_episodes_together_enclose_the_load(truth: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    objects = truth + rng.normal(0.0, 0.2, 12)
    bounds = [
        load_bounds(slipping(at), slipping(at)(each))
        for at, each in zip(rng.normal(truth, 0.4, 12), objects, strict=True)
    ]
    found = estimate_load(bounds)
    assert found.changed > 0.75
    assert found.mean == pytest.approx(truth, abs=3.0 * found.std) and found.std < 0.4
    drawn = found.draw(400, rng)
    assert np.median(drawn) == pytest.approx(found.mean, abs=0.1) and 0.1 < np.std(drawn) < 0.6


def test_objects_that_were_held_say_that_nothing_changed() -> None:
    found = estimate_load([LoadBounds(high=1.0)] * 8)
    assert found.changed < UNLIKELY_SHARE and found.mean < 1.0
    drawn = found.draw(400, np.random.default_rng(0))
    assert abs(np.median(drawn)) < 0.1


def test_episodes_that_tell_nothing_say_nothing() -> None:
    found = estimate_load([LoadBounds()] * 8)
    assert found.changed == pytest.approx(UNLIKELY_SHARE) and found.mean == pytest.approx(CHANGED_MEAN, abs=0.05)


def test_one_loss_by_chance_is_no_change() -> None:
    found = estimate_load([LoadBounds(2.0, 2.3), *[LoadBounds(high=1.2)] * 7])
    assert found.changed < CHANGED_SHARE and found.mean < 0.7


def test_a_few_that_are_lost_at_the_limit_are_a_change() -> None:
    """Most objects of a robot may be lifted as high as the task asks, and be lost then."""
    found = estimate_load([LoadBounds(high=2.4)] * 8 + [LoadBounds(2.3, 2.5)] * 4)
    assert found.changed > 0.9 and 2.0 < found.mean < 2.5
