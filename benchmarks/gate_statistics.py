"""Operating characteristic of the gate's tests, on simulated outcomes: `python benchmarks/gate_statistics.py`.

Sequences of 50 candidates of the same success against one incumbent, as from a learner at work: how often any of them
is accepted, and after how many pairs. Both have joints outside their limits in 1 % of episodes; one column has
candidates with 10 %, in a third as many. Null candidates, which are no better, get five times as many sequences, and
the seeds of all that end with an acceptance are listed.

Joint limits and known tasks: the same of candidates that mend what fails (0.90 against 0.30), by how often they are
outside their limits, or by how many known tasks they do, in sequences and alone. Episodes outside are independent of
all else.

Whole trials of candidates that come alone, with policies of known success: how often each verdict, and after how many
pairs. Half of the better policy's failures are scenarios that are hard for both. Below it, the regression test alone,
beside the absolute sequential probability ratio test of 0.95 against 0.85.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import msgspec
import numpy as np

from floop_robot.core import EpisodeOutcome
from floop_robot.gate.error_budgets import ErrorBudgets, new_budgets
from floop_robot.gate.guard_test import Floor, GuardTest
from floop_robot.gate.improvement_test import REGRESSION_MARGIN
from floop_robot.gate.reported_tasks import TargetTasks
from floop_robot.gate.suites import Pair, Suite, SuiteCounts
from floop_robot.gate.trial import REFINED_MARGIN, Trial
from floop_robot.spec.config import GateConfig
from floop_robot.spec.verdict import Decision
from floop_robot.stats.sequential_tests import Status

Rates = tuple[float, float]
SEQUENCE = 50
"""Candidates in a sequence."""
CONFIG = GateConfig()
OUTSIDE = (0.01, 0.01)
"""Shares of episodes outside joint limits of the shipped policy for Pick."""


def pairs(rng: np.random.Generator, candidate: float, incumbent: float) -> Iterator[tuple[bool, bool]]:
    hard = 0.5 * (1.0 - max(candidate, incumbent))
    while True:
        if rng.random() < hard:
            yield False, False
        else:
            yield rng.random() < candidate / (1 - hard), rng.random() < incumbent / (1 - hard)


def outcome(success: bool, duration_s: float, is_outside: bool) -> EpisodeOutcome:
    return EpisodeOutcome(
        success=success, steps=0, duration_s=duration_s, total_reward=0.0, interventions=0,
        limit_violations=int(is_outside),
    )  # fmt: skip


def trial(
    rng: np.random.Generator,
    known_rates: Rates,
    target_tasks: Rates | None,
    faster: float = 0.0,
    outside: Rates = OUTSIDE,
    budgets: ErrorBudgets | None = None,
) -> Trial:
    """One trial to its end: alone, or where newer candidates are due all the time with what `budgets` has left.

    `outside`: shares of episodes outside joint limits, candidate and incumbent.
    """
    draws = {Suite.REGRESSION: pairs(rng, *known_rates)} | (
        {Suite.TARGET: pairs(rng, *target_tasks)} if target_tasks else {}
    )
    known = SuiteCounts(target=(round(100 * target_tasks[1]), 100)) if target_tasks else SuiteCounts()
    about = TargetTasks(("new",)) if target_tasks else TargetTasks()
    run = budgets.next_trial(CONFIG, about, known) if budgets else Trial(CONFIG, about, known)
    run.newer_is_due = budgets is not None
    started = dict.fromkeys(Suite, 0)
    while (suite := run.next_suite(started)) is not None:
        started[suite] += 1
        candidate, incumbent = next(draws[suite])
        seconds = rng.normal(1.4, 0.15) * np.exp(rng.normal(0.0, 0.08, 2)) * np.array([1.0 - faster, 1.0])
        seconds = np.round(seconds / 0.08) * 0.08
        ours, theirs = rng.random(2) < outside
        run.observe(Pair(suite, 0, outcome(candidate, seconds[0], ours), outcome(incumbent, seconds[1], theirs)))
    assert run.finding is not None
    return run


class Sequence(msgspec.Struct, frozen=True):
    """Decision and number of pairs of each candidate, up to the first that was accepted."""

    trials: list[tuple[Decision, int]]

    @property
    def accepted(self) -> bool:
        """Whether any candidate was."""
        return self.trials[-1][0] is Decision.ACCEPTED

    @property
    def pairs(self) -> int:
        """Of all its trials."""
        return sum(pairs for _, pairs in self.trials)


def sequence(
    seed: int, target_tasks: Rates | None, outside: Rates = OUTSIDE, known_rates: Rates = (0.98, 0.98)
) -> Sequence:
    """Candidates of the same success, one after the other, against one incumbent."""
    rng, budgets, found = np.random.default_rng(seed), new_budgets(CONFIG.alpha), []
    for _ in range(SEQUENCE):
        run = trial(rng, known_rates, target_tasks, outside=outside, budgets=budgets)
        assert run.finding is not None
        found.append((run.finding.decision, len(run.pairs)))
        if run.finding.decision is Decision.ACCEPTED:
            break
        budgets.settle(run)
    return Sequence(found)


def any_accepted(found: list[Sequence]) -> str:
    return f"{np.mean([s.accepted for s in found]):.1%}"


def costs(found: list[Sequence]) -> str:
    """Pairs of whole sequences up to their acceptance, median and 90 %."""
    pairs = [each.pairs for each in found if each.accepted]
    return f"{np.median(pairs):.0f}, {np.percentile(pairs, 90):.0f}" if pairs else "–"


def rejected(found: list[Sequence]) -> str:
    decisions = [decision for each in found for decision, _ in each.trials]
    return f"{decisions.count(Decision.REJECTED) / len(decisions):.1%}"


def sequences(count: int) -> None:
    """One row for each gain and incumbent."""
    print(
        "| failing tasks | sequences | any accepted | first accepted | rejected | pairs a trial | pairs to accept "
        "| any accepted of 10 % outside |"
    )
    print("|---|---|---|---|---|---|---|---|")
    gains = (0.0, 0.05, 0.1, 0.2, 0.6)
    cases: list[Rates | None] = [(i + g, i) for i in (0.0, 0.3, 0.8) for g in gains if i + g <= 1.0]
    seeds_of_nulls = {}
    for case in (None, *cases):
        is_null = case is None or case[0] == case[1]
        found = [sequence(seed, case) for seed in range(count * 5 if is_null else count)]
        violating = [] if is_null else [sequence(seed, case, (0.10, 0.01)) for seed in range(-(-count // 3))]
        name = "none" if case is None else f"{case[0]:.2f} / {case[1]:.2f}"
        print(
            f"| {name} | {len(found)} | {any_accepted(found)} "
            f"| {np.mean([s.trials[0][0] is Decision.ACCEPTED for s in found]):.0%} | {rejected(found)} "
            f"| {sum(s.pairs for s in found) / sum(len(s.trials) for s in found):.0f} | {costs(found)} "
            f"| {any_accepted(violating) if violating else '–'} |",
            flush=True,
        )
        if is_null:
            seeds_of_nulls[name] = [seed for seed, s in enumerate(found) if s.accepted]
    print(f"\nseeds of null sequences with an acceptance, of 0 to {5 * count - 1}: {seeds_of_nulls}\n")


def cures(count: int) -> None:
    """One row for each share outside joint limits, and for each loss on known tasks, of candidates that mend."""
    print(
        "| known tasks | outside limits | any of 50 accepted | pairs to accept | alone: accepted | rejected | pairs |"
    )
    print("|---|---|---|---|---|---|---|")
    shares = ((0.0, 0.0), (0.01, 0.01), (0.03, 0.03), (0.03, 0.0), (0.05, 0.01), (0.08, 0.01), (0.09, 0.01), (0.1, 0.0),
              (0.1, 0.01), (0.12, 0.01), (0.15, 0.01), (0.2, 0.1))  # fmt: skip
    cases = [*(((0.98, 0.98), outside) for outside in shares), *(((k, 0.98), OUTSIDE) for k in (0.93, 0.88, 0.85))]
    seeds = {}
    for known_rates, outside in cases:
        found = [sequence(seed, (0.9, 0.3), outside, known_rates) for seed in range(count)]
        runs = [
            trial(np.random.default_rng(seed), known_rates, (0.9, 0.3), outside=outside) for seed in range(10 * count)
        ]
        alone = Counter(run.finding.decision for run in runs if run.finding)
        name = f"{known_rates[0]:.2f} / {known_rates[1]:.2f} | {outside[0]:.0%} / {outside[1]:.0%}"
        print(
            f"| {name} | {any_accepted(found)} | {costs(found)} "
            f"| {alone[Decision.ACCEPTED] / len(runs):.1%} | {alone[Decision.REJECTED] / len(runs):.1%} "
            f"| {np.mean([len(run.pairs) for run in runs]):.0f} |",
            flush=True,
        )
        if outside[0] - outside[1] >= 0.079:
            seeds[name] = [seed for seed, s in enumerate(found) if s.accepted]
    print(f"\nseeds of sequences 8 points or more outside with an acceptance, of 0 to {count - 1}: {seeds}\n")


def trials(count: int) -> None:
    cases: list[tuple[Rates, Rates | None, float]] = [
        *(((0.97, 0.97), (level, level), 0.0) for level in (0.0, 0.3, 0.6, 0.9)),
        ((0.97, 0.97), None, 0.0),
        *(((0.98, 0.98), (level, 0.3), 0.0) for level in (0.95, 0.9, 0.8, 0.6, 0.45, 0.1, 0.0)),
        *(((0.98, 0.98), (0.95, level), 0.0) for level in (0.8, 0.88)),
        ((0.98, 0.98), (0.6, 0.0), 0.0),
        *(((level, 0.98), (0.95, 0.3), 0.0) for level in (0.95, 0.93, 0.9, 0.88, 0.85, 0.5)),
        ((0.98, 0.98), None, 0.1),
        ((0.98, 0.98), None, 0.2),
        ((0.98, 0.98), None, -0.1),
        ((0.98, 0.98), (0.97, 0.97), 0.2),
    ]
    print("| known tasks | failing tasks | faster | accepted | rejected | inconclusive | pairs: mean | 90 % |")
    print("|---|---|---|---|---|---|---|---|")
    for known_rates, target_tasks, faster in cases:
        runs = [trial(np.random.default_rng(seed), known_rates, target_tasks, faster) for seed in range(count)]
        found = Counter(run.finding.decision for run in runs if run.finding)
        sizes = [len(run.pairs) for run in runs]
        shares = " | ".join(f"{100 * found[d] / count:.1f} %" for d in Decision)
        about = "none" if target_tasks is None else f"{target_tasks[0]:.2f} / {target_tasks[1]:.2f}"
        print(
            f"| {known_rates[0]:.2f} / {known_rates[1]:.2f} | {about} | {faster:+.0%} | {shares} | "
            f"{np.mean(sizes):.0f} | {np.percentile(sizes, 90):.0f} |"
        )


def paired(margin: float, rng: np.random.Generator, rates: Rates) -> tuple[bool, int]:
    floor = Floor(CONFIG.regression_accept, CONFIG.regression_reject)
    has_floor = rates[1] >= 0.5 * (floor.accept + floor.reject)
    test = GuardTest(CONFIG.alpha, margin, CONFIG.max_regression_pairs, floor if has_floor else None)
    for number, (candidate, incumbent) in enumerate(pairs(rng, *rates), 1):
        test.observe(candidate, incumbent)
        if test.status is not Status.OPEN or test.is_out_of_reach:
            return test.status is Status.YES, number
    raise AssertionError


def absolute(rng: np.random.Generator, rates: Rates) -> tuple[bool, int]:
    up, down, bound = math.log(0.95 / 0.85), math.log(0.05 / 0.15), math.log(19)
    ratio = 0.0
    for number, (candidate, _) in enumerate(pairs(rng, *rates), 1):
        ratio += up if candidate else down
        if abs(ratio) >= bound or number >= CONFIG.max_regression_pairs:
            return ratio >= bound, number
    raise AssertionError


def regression_tests(count: int) -> None:
    print("\n| known tasks | a fix passes | pairs | a refinement passes | pairs | absolute: passes | episodes |")
    print("|---|---|---|---|---|---|---|")
    equal: tuple[Rates, ...] = ((0.995, 0.995), (0.98, 0.98), (0.97, 0.97), (0.95, 0.95), (0.8, 0.8))
    good = ((level, 0.995) for level in (0.985, 0.975, 0.965))
    for rates in (*equal, *good, *((level, 0.98) for level in (0.95, 0.93, 0.9, 0.88, 0.85))):
        cells = []
        for test in (partial(paired, REGRESSION_MARGIN), partial(paired, REFINED_MARGIN), absolute):
            run: Callable[[np.random.Generator, Rates], tuple[bool, int]] = test
            results = [run(np.random.default_rng(seed), rates) for seed in range(count)]
            cells += [f"{100 * np.mean([p for p, _ in results]):.1f} %", f"{np.mean([n for _, n in results]):.0f}"]
        print(f"| {rates[0]:.1%} / {rates[1]:.1%} | {' | '.join(cells)} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--sequences", type=int, default=400)
    parser.add_argument("--regression", action="store_true", help="only the regression test")
    parser.add_argument("--smoke", action="store_true", help="as little as possible, to see that it runs")
    given = parser.parse_args()
    if given.smoke:
        given.trials = given.sequences = 2
    if not given.regression:
        sequences(given.sequences)
        cures(given.sequences)
        trials(given.trials)
    regression_tests(given.trials)
