"""Sequential tests keep their error rates, measured on simulated outcomes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from floop_robot.stats.sequential_tests import (
    EProcess,
    Faster,
    NonInferiority,
    Status,
    SuccessFloor,
    Superiority,
    evidence_above,
    evidence_below,
)

TRIALS = 400


def successes(rng: np.random.Generator, candidate: float, incumbent: float) -> Iterator[tuple[bool, bool]]:
    """Outcomes of both; half of the failures of the better one are scenarios that are hard for both."""
    hard = 0.5 * (1.0 - max(candidate, incumbent))
    while True:
        if rng.random() < hard:
            yield False, False
        else:
            yield rng.random() < candidate / (1 - hard), rng.random() < incumbent / (1 - hard)


def test_looking_after_every_bet_keeps_the_false_alarm_rate() -> None:
    rng = np.random.default_rng(7)
    alarms = 0
    for _ in range(TRIALS):
        bettor = EProcess(0.0)
        for x in rng.choice([-1.0, 0.0, 1.0], 200):
            bettor.observe(x)
        alarms += bettor.rejects(0.05)
    assert alarms / TRIALS <= 0.05
    # A z-test looked at as often is wrong several times as often: what a test that can fail looks like.
    sums = np.cumsum(rng.choice([-1.0, 0.0, 1.0], (TRIALS, 200)), axis=1)
    z = sums / np.sqrt(2.0 / 3.0 * np.arange(1, 201))
    assert (z[:, 5:].max(axis=1) > 1.645).mean() > 0.15


def test_a_candidate_worse_by_the_margin_is_rarely_shown_to_be_no_worse() -> None:
    wrong = 0
    for seed in range(TRIALS):
        rng = np.random.default_rng(seed)
        test = NonInferiority(0.05, 0.02, 0.10, 120)
        for candidate, incumbent in successes(rng, 0.88, 0.98):
            test.observe(int(candidate) - int(incumbent))
            if test.status is not Status.OPEN:
                break
        wrong += test.status is Status.YES
    assert wrong / TRIALS <= 0.05


def test_equal_outcomes_end_the_regression_test_after_few_pairs() -> None:
    test = NonInferiority(0.05, 0.02, 0.10, 120)
    pairs = 0
    while test.status is Status.OPEN:
        test.observe(0)
        pairs += 1
    assert test.status is Status.YES
    assert pairs == 34


def test_three_pairs_lost_at_once_show_that_a_candidate_is_worse_and_few_equal_ones_are_called_so() -> None:
    test = NonInferiority(0.05, 0.02, 0.10, 120)
    test.observe(-1)
    test.observe(-1)
    assert test.status is Status.OPEN
    test.observe(-1)
    assert test.status is Status.NO
    wrong = 0
    for seed in range(TRIALS):
        test = NonInferiority(0.05, 0.02, 0.10, 120)
        for candidate, incumbent in successes(np.random.default_rng(seed), 0.97, 0.97):
            test.observe(int(candidate) - int(incumbent))
            if test.status is not Status.OPEN:
                break
        wrong += test.status is Status.NO
    assert wrong / TRIALS <= 0.02


def test_out_of_reach_is_what_no_row_of_equal_pairs_could_show() -> None:
    test = NonInferiority(0.05, 0.02, 0.10, 40)
    assert not test.is_out_of_reach
    test.observe(-1)
    assert test.status is Status.OPEN and test.is_out_of_reach


def test_times_that_are_equal_are_not_faster() -> None:
    test = Faster(0.05, 0.1, 0.03)
    while test.status is Status.OPEN:
        test.observe(1.0, 1.0)
    assert test.status is Status.NO


def test_improvement_needs_more_than_luck() -> None:
    test = Superiority(0.05, 0.1, 0.2)
    for _ in range(4):
        test.observe(1)
    assert test.status is Status.OPEN
    for _ in range(3):
        test.observe(1)
    assert test.status is Status.YES


def test_the_floor_breaks_after_three_failures_and_not_after_two() -> None:
    floor = SuccessFloor(0.95, 0.85, 0.05)
    floor.observe(False)
    floor.observe(False)
    assert not floor.broken
    floor.observe(False)
    assert floor.broken


def test_evidence_is_fair_at_the_rate_itself() -> None:
    for rate in (0.1, 0.5, 0.9):
        chances = [math.comb(12, k) * rate**k * (1 - rate) ** (12 - k) for k in range(13)]
        for evidence in (evidence_below, evidence_above):
            mean = sum(p * math.exp(evidence(k, 12, rate)) for k, p in enumerate(chances))
            assert mean == pytest.approx(1.0)


def test_evidence_holds_however_often_one_looks() -> None:
    rng = np.random.default_rng(2)
    broken = 0
    for _ in range(200):
        outcomes = (rng.random(120) < 0.7).cumsum()
        broken += any(evidence_above(int(k), n + 1, 0.7) >= math.log(20) for n, k in enumerate(outcomes))
    assert broken / 200 <= 0.08
