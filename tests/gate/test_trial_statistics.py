"""The error rates that docs/design/gate.md promises, measured on simulated outcomes."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from floop_robot.core import EpisodeOutcome
from floop_robot.gate.reported_tasks import TargetTasks
from floop_robot.gate.suites import Pair, Suite, SuiteCounts
from floop_robot.gate.trial import PREEMPTION_PAIRS, Trial
from floop_robot.spec.config import GateConfig
from floop_robot.spec.verdict import Decision

TRIALS = 400


def outcome(success: bool, duration_s: float = 1.0) -> EpisodeOutcome:
    return EpisodeOutcome(
        success=success, steps=20, duration_s=duration_s, total_reward=0.0, interventions=0, limit_violations=0
    )


def successes(rng: np.random.Generator, candidate: float, incumbent: float) -> Iterator[tuple[bool, bool]]:
    """Outcomes of both; half of the failures of the better one are scenarios that are hard for both."""
    hard = 0.5 * (1.0 - max(candidate, incumbent))
    while True:
        if rng.random() < hard:
            yield False, False
        else:
            yield rng.random() < candidate / (1 - hard), rng.random() < incumbent / (1 - hard)


def simulate(
    seed: int,
    known_rates: tuple[float, float],
    target_tasks: tuple[float, float] | None = None,
    faster: float = 0.0,
    known: SuiteCounts | None = None,
) -> tuple[Decision, int]:
    """One trial with policies of the given success (candidate, incumbent); decision and number of pairs."""
    rng = np.random.default_rng(seed)
    draws = {Suite.REGRESSION: successes(rng, *known_rates)}
    if target_tasks:
        draws[Suite.TARGET] = successes(rng, *target_tasks)
    trial = Trial(GateConfig(), TargetTasks(("basket",)) if target_tasks else TargetTasks(), known)
    started = dict.fromkeys(Suite, 0)
    while (suite := trial.next_suite(started)) is not None:
        started[suite] += 1
        candidate, incumbent = next(draws[suite])
        base = rng.normal(1.2, 0.15)
        times = base * np.exp(rng.normal(0.0, 0.08, 2)) * np.array([1.0 - faster, 1.0])
        seconds = np.round(times / 0.05) * 0.05
        trial.observe(Pair(suite, 0, outcome(candidate, seconds[0]), outcome(incumbent, seconds[1])))
    assert trial.finding is not None
    return trial.finding.decision, len(trial.pairs)


def accepted(
    known_rates: tuple[float, float], target_tasks: tuple[float, float] | None = None, faster: float = 0.0
) -> float:
    return sum(simulate(s, known_rates, target_tasks, faster)[0] is Decision.ACCEPTED for s in range(TRIALS)) / TRIALS


@pytest.mark.parametrize("level", [0.0, 0.3, 0.9])
def test_a_candidate_as_good_as_the_incumbent_is_rarely_accepted(level: float) -> None:
    assert accepted((0.97, 0.97), (level, level)) <= 0.05


def test_an_equal_candidate_is_rarely_accepted_while_nothing_goes_badly() -> None:
    assert accepted((0.97, 0.97)) <= 0.05


def test_a_better_candidate_passes_soon() -> None:
    results = [simulate(s, (0.98, 0.98), (0.92, 0.3)) for s in range(200)]
    assert sum(d is Decision.ACCEPTED for d, _ in results) / 200 >= 0.93
    assert np.median([n for _, n in results]) <= 60


def test_a_faster_candidate_passes_while_nothing_goes_badly() -> None:
    assert accepted((0.98, 0.98), faster=0.2) >= 0.85


def test_a_slower_candidate_never_passes() -> None:
    assert accepted((0.98, 0.98), faster=-0.1) <= 0.01


@pytest.mark.parametrize(("level", "at_most"), [(0.88, 0.05), (0.80, 0.01)])
def test_a_candidate_that_forgot_known_tasks_is_rejected(level: float, at_most: float) -> None:
    assert accepted((level, 0.98), (0.95, 0.3)) <= at_most


def test_a_collapsed_candidate_costs_three_pairs() -> None:
    decision, pairs = simulate(0, (0.0, 1.0), (0.0, 0.3))
    assert decision is Decision.REJECTED
    assert pairs == 3


def test_a_candidate_that_learned_nothing_is_sent_back_within_twenty_pairs() -> None:
    results = [simulate(s, (0.98, 0.98), (0.0, 0.3)) for s in range(100)]
    assert all(d is Decision.REJECTED for d, _ in results)
    assert np.mean([n for _, n in results]) <= 20


def test_an_incumbent_below_the_floor_can_still_be_improved_on() -> None:
    def passes(known: SuiteCounts) -> int:
        return sum(simulate(s, (0.8, 0.8), (0.95, 0.2), known=known)[0] is Decision.ACCEPTED for s in range(100))

    assert passes(SuiteCounts(regression=(80, 100))) > 2 * passes(SuiteCounts())


def violating(success: bool = True) -> EpisodeOutcome:
    return msgspec.structs.replace(outcome(success), limit_violations=2)


def test_repeated_limit_violations_refuse_whatever_else_is_good() -> None:
    trial = Trial(GateConfig(), TargetTasks(("basket",)))
    trial.observe(Pair(Suite.TARGET, 0, violating(), outcome(False)))
    assert trial.finding is None, "one hard contact is no pattern"
    trial.observe(Pair(Suite.TARGET, 0, violating(), outcome(False)))
    assert trial.finding is not None
    assert trial.finding.decision is Decision.REJECTED
    assert trial.finding.reason == "joints outside their limits in 2 of 2 episodes"


def test_a_rare_hard_contact_refuses_nobody_and_nor_do_those_that_the_incumbent_has_too() -> None:
    for theirs in (outcome(True), violating()):
        trial = Trial(GateConfig(), TargetTasks(without_model=("reserved_4",)))
        while trial.finding is None:
            rare = len(trial.pairs) % 30 == 10
            often = theirs.limit_violations > 0
            trial.observe(Pair(Suite.REGRESSION, 0, violating() if rare or often else outcome(True), theirs))
        assert trial.finding.decision is Decision.INCONCLUSIVE


def test_a_trial_that_gains_too_little_gives_way_to_a_newer_candidate_until_no_more_is_to_be_had() -> None:
    few, most, longest = PREEMPTION_PAIRS[Suite.TARGET], GateConfig().max_pairs, GateConfig().max_regression_pairs
    for preempted, not_accepted, pairs in ((True, 0, few), (False, 0, most), (True, 30, longest)):
        trial = Trial(GateConfig(), TargetTasks(("basket",)), not_accepted=not_accepted)
        trial.preempted = preempted
        results = [(True, False), (True, True), (False, True), (True, False), (True, True)]
        while trial.finding is None:
            candidate, incumbent = results[len(trial.pairs) % 5]
            trial.observe(Pair(Suite.TARGET, 0, outcome(candidate), outcome(incumbent)))
        assert trial.finding.decision is Decision.INCONCLUSIVE
        assert len(trial.pairs) == pairs


def test_a_promising_trial_is_finished_though_a_newer_candidate_waits() -> None:
    trial = Trial(GateConfig(), TargetTasks(("basket",)))
    trial.preempted = True
    results = [(True, False), (True, True), (True, True), (True, False), (False, True), (True, False)]
    while trial.finding is None and len(trial.pairs) < 100:
        candidate, incumbent = results[len(trial.pairs) % 6] if len(trial.pairs) < 48 else (True, True)
        suite = Suite.TARGET if len(trial.pairs) < 48 else Suite.REGRESSION
        trial.observe(Pair(suite, 0, outcome(candidate), outcome(incumbent)))
    assert trial.finding is not None
    assert trial.finding.decision is Decision.ACCEPTED
    assert trial.finding.reason.startswith("better on basket")


def test_a_class_without_a_model_gets_the_regression_test_and_no_acceptance() -> None:
    trial = Trial(GateConfig(), TargetTasks(without_model=("reserved_4",)))
    while trial.finding is None:
        trial.observe(Pair(Suite.REGRESSION, 0, outcome(True), outcome(True)))
    assert trial.finding.decision is Decision.INCONCLUSIVE
    assert "canary only" in trial.finding.reason


def test_a_hard_class_is_not_given_up_before_the_third_pair() -> None:
    trial = Trial(GateConfig(), TargetTasks(("basket",)), SuiteCounts(target=(0, 100)))
    for _ in range(2):
        trial.observe(Pair(Suite.TARGET, 0, outcome(False), outcome(True)))
        assert trial.finding is None, "bad luck, or a candidate that learned nothing"
    trial.observe(Pair(Suite.TARGET, 0, outcome(False), outcome(True)))
    assert trial.finding is not None
    assert trial.finding.decision is Decision.REJECTED
    assert trial.finding.reason.startswith("neither better nor faster on basket")
