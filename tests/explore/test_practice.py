"""ClassPractice: which scenarios tries are made at, and how many tries are made."""

from __future__ import annotations

import numpy as np
import pytest

from floop_envs.scenarios import TrainingScenarios
from floop_envs.seeds import Purpose, scenario_of, seed_of
from floop_robot.explore.practice import (
    HARD_SCENARIOS,
    HARD_SHARE,
    POLICY_EPISODES,
    SOLVED,
    UNSOLVABLE,
    HardScenarios,
    OneWayPractice,
    VariedPractice,
)
from floop_robot.spec.scenario import Scenario
from tests.explore.test_success_search import SPACE
from tests.support.sample_policies import TASK


def scenario(number: int) -> Scenario:
    return scenario_of(TrainingScenarios(TASK), seed_of(Purpose.EXPLORER, 0, number))


def repeated(hard: HardScenarios, rng: np.random.Generator, count: int = 400) -> float:
    fresh = scenario(999)
    return sum(hard.draw(fresh, rng) is not fresh for _ in range(count)) / count


def test_half_of_the_tries_are_where_tries_failed() -> None:
    hard, rng = HardScenarios(), np.random.default_rng(0)
    hard.outcome(scenario(1), True)
    assert repeated(hard, rng) == 0.0, "nothing failed yet"
    hard.outcome(failed := scenario(2), False)
    assert repeated(hard, rng) == pytest.approx(HARD_SHARE, abs=0.08)
    assert {id(hard.draw(scenario(999), rng)) for _ in range(20)} & {id(failed)}


@pytest.mark.parametrize(("success", "count"), [(True, SOLVED), (False, UNSOLVABLE - 1)])
def test_what_is_solved_and_what_nobody_can_do_is_left(success: bool, count: int) -> None:
    hard, rng, failed = HardScenarios(), np.random.default_rng(0), scenario(2)
    hard.outcome(failed, False)
    for _ in range(count - 1):
        hard.outcome(failed, success)
    assert repeated(hard, rng) > 0.0
    hard.outcome(failed, success)
    assert repeated(hard, rng) == 0.0


def test_the_latest_are_kept() -> None:
    hard, rng, first = HardScenarios(), np.random.default_rng(0), scenario(0)
    for each in (first, *map(scenario, range(1, HARD_SCENARIOS + 1))):
        hard.outcome(each, False)
    assert not any(hard.draw(scenario(999), rng) is first for _ in range(400))


@pytest.mark.parametrize(
    ("successes", "one_way", "varied"),
    [(0, 1.0, 1.0), (0.5, 1.0, 0.5), (0.9, 1.0, 0.1), (0.95, 0.5, 0.05), (1.0, 0.0, 0.0)],
)
def test_tries_are_needed_until_the_policy_itself_succeeds(successes: float, one_way: float, varied: float) -> None:
    for practice, needed in ((OneWayPractice(SPACE), one_way), (VariedPractice(SPACE), varied)):
        assert practice.tries_needed == 1.0, "nothing is known of it"
        for number in range(POLICY_EPISODES):
            practice.policy_outcomes.add(number < successes * POLICY_EPISODES)
        assert practice.tries_needed == pytest.approx(needed)


def test_new_ways_are_tried_where_tries_failed_and_the_best_one_elsewhere() -> None:
    practice, rng, fresh = OneWayPractice(SPACE), np.random.default_rng(0), list(map(scenario, range(200)))
    first = practice.plan(fresh[0], rng)
    first.tell(True, 1.0)
    second = practice.plan(fresh[1], rng)
    second.tell(False, 0.0)
    again = {True: 0, False: 0}
    for each in fresh[2:]:
        planned = practice.plan(each, rng)
        again[planned.point is first.point] += planned.scenario is not each
    assert again[True] == 0 and again[False] > 20
