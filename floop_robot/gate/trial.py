"""Trial: one candidate against the incumbent, pair by pair, until the evidence suffices. Pure: no simulator, no clock.

Three questions, all on fresh scenarios that candidate and incumbent share:

* Regression test: are known tasks kept? Every candidate is asked.
* Limits test: do joints stay inside their limits? Every candidate is asked, in every pair of both suites.
* Improvement test: better, or not worse and faster? Asked on failing tasks, or on known tasks while none fails.

While newer candidates keep coming, a trial ends as soon as its candidate does not gain. Going on with the next one
finds a better one soonest (quickest search over multiple sequences: Lai, Poor, Xin & Georgiadis 2011).

Pairs come in this order:

1. Smoke test: three pairs of known tasks, which end a collapsed policy.
2. Target pairs, until the improvement test has an answer.
3. The rest of the regression test.

Margins and error rates: docs/design/gate.md.
"""

from __future__ import annotations

import math

import msgspec

from floop_robot.gate.guard_test import Floor, GuardTest
from floop_robot.gate.improvement_test import REGRESSION_MARGIN, SMOKE_TEST_PAIRS, ImprovementTest
from floop_robot.gate.reported_tasks import TargetTasks
from floop_robot.gate.suites import Pair, Suite, SuiteCounts, score, suite_result
from floop_robot.monitor.outcome_history import FAILING_SUCCESS
from floop_robot.spec.config import GateConfig
from floop_robot.spec.verdict import Decision, SuiteResult
from floop_robot.stats.sequential_tests import Status

REQUIRED_GAIN, REQUIRED_GAIN_BETA = 0.20, 0.20
"""On known tasks, while nothing fails: a candidate shown to gain less success is rejected, with this error rate."""
CLEAR_GAIN, CLEAR_GAIN_BETA = 0.10, 0.05
"""On failing tasks: who gains 10 points is clearly better, and is rejected with this chance at most."""
CLEAR_GAIN_SHARE, MIN_CLEAR_GAIN = 0.5, 0.05
"""Where less than 20 points are missing: this share of them, and 5 points at least."""
REFINED_MARGIN = 0.05
"""In place of `REGRESSION_MARGIN` where the incumbent is known not to fail: less is to gain, nobody waits for it."""
LIMITS_MARGIN = 0.08
"""The limits test's. With 5 points three in ten of the candidates with 3 % would not pass, as good as the incumbent."""
CLEAN = Floor(accept=0.97, reject=0.88)
"""Share of episodes inside joint limits."""
SUPERIORITY_ALPHA_SHARE = 0.8
"""Better's share of alpha on failing tasks, where success is missing; on known tasks better and faster share evenly."""
PREEMPTION_PAIRS = 12
"""Improvement pairs from which on a trial may be preempted by a newer candidate."""
PATIENCE, PATIENCE_PAIRS = 4.0, 60
"""It is preempted when it would take so many pairs more to show a gain, at the pace of its bets so far.

As many as `PATIENCE` times those that a candidate without a failure would need, `PATIENCE_PAIRS` at most: the newer one
has learned more, and what the bets have won is kept. Each earlier trial adds as many again: where little is left to
gain, a small gain takes a long trial, and stakes that were lost in short ones would never come back.
"""
HOPELESS_PAIRS = 4
"""Failing tasks: as many failures and no success end a trial while newer candidates come, which have learned more."""


class Stakes(msgspec.Struct, frozen=True):
    """Chances of a false yes that a trial stakes, test by test."""

    improvement: float
    regression: float
    limits: float


class TrialFinding(msgspec.Struct, frozen=True):
    """How a trial ended, and the sentence why."""

    decision: Decision
    reason: str
    canary: bool = False
    """Whether a canary robot may try it."""


def _clear_gain(success: float) -> float:
    """Gain in success on failing tasks that is clear, where the incumbent's success is `success`."""
    return max(min(CLEAR_GAIN, CLEAR_GAIN_SHARE * (1.0 - success)), MIN_CLEAR_GAIN)


class Trial:
    """The state of one trial: which pair it wants next, and what it has found."""

    def __init__(
        self,
        config: GateConfig,
        target_tasks: TargetTasks,
        known: SuiteCounts | None = None,
        stakes: Stakes | None = None,
        earlier: int = 0,
    ) -> None:
        """`known`: what the incumbent achieved so far; `stakes`: `gate.alpha` for each test by default.

        `earlier`: trials against this incumbent while the same classes failed.
        """
        known = known or SuiteCounts()
        self.target_tasks = target_tasks
        self.stakes = stakes or Stakes(config.alpha, config.alpha, config.alpha)
        self.pairs: list[Pair] = []
        self.newer_is_due = False
        """Whether newer candidates keep coming; set by the owner at any time (the tests hold whenever one stops)."""
        self._max_pairs, self._max_regression_pairs = config.max_pairs, config.max_regression_pairs
        self._seen = dict.fromkeys(Suite, 0)
        self._has_target = bool(target_tasks.classes)
        self._canary_only = not self._has_target and bool(target_tasks.without_model)
        on_target = known.success(Suite.TARGET)  # None: a few episodes don't show that what robots report is over
        is_mended = self._has_target and on_target is not None and on_target >= FAILING_SUCCESS
        nothing_fails = not self._has_target and not self._canary_only
        margin = REFINED_MARGIN if is_mended or nothing_fails else REGRESSION_MARGIN
        floor = Floor(config.regression_accept, config.regression_reject)
        success = known.success(Suite.REGRESSION)
        # Where even the incumbent is below the floor, only the comparison with it is fair.
        has_floor = success is None or success >= 0.5 * (floor.accept + floor.reject)
        cap = config.max_regression_pairs
        self._regression = GuardTest(self.stakes.regression, margin, cap, floor if has_floor else None)
        self._improvement_suite = Suite.TARGET if self._has_target else Suite.REGRESSION
        self._improvement = self._improvement_test(known.estimate(Suite.TARGET))
        fewest = self._improvement.fewest_pairs(known.estimate(self._improvement_suite))
        self._patience_pairs = min(PATIENCE * fewest, PATIENCE_PAIRS) * (1 + earlier)
        pairs = config.max_pairs + config.max_regression_pairs
        self._limits = GuardTest(self.stakes.limits, LIMITS_MARGIN, pairs, CLEAN)

    def _improvement_test(self, success: float) -> ImprovementTest:
        if self._has_target:
            share, gain, beta = SUPERIORITY_ALPHA_SHARE, _clear_gain(success), CLEAR_GAIN_BETA
        else:
            share, gain, beta = 0.5, REQUIRED_GAIN, REQUIRED_GAIN_BETA
        return ImprovementTest(self.stakes.improvement, share, self._max_improvement_pairs, gain, beta)

    def next_suite(self, started: dict[Suite, int]) -> Suite | None:
        """Suite of the next pair, given how many pairs of each were started; None when enough are under way."""
        if self.finding is not None:
            return None
        if started[Suite.REGRESSION] < SMOKE_TEST_PAIRS:
            return Suite.REGRESSION
        is_open = self._improvement.status is Status.OPEN
        if self._has_target and is_open and started[Suite.TARGET] < self._max_improvement_pairs:
            return Suite.TARGET
        is_kept_open = Status.OPEN in (self._regression.status, self._limits.status)
        wants_regression = is_kept_open or (not self._has_target and is_open)
        return Suite.REGRESSION if wants_regression and self._has_room(started[Suite.REGRESSION]) else None

    def observe(self, pair: Pair) -> None:
        """Take in one pair; pairs count in the order in which they were asked for."""
        self.pairs.append(pair)
        self._seen[pair.suite] += 1
        self._limits.observe(not pair.candidate.limit_violations, not pair.incumbent.limit_violations)
        if pair.suite is Suite.REGRESSION:
            self._regression.observe(pair.candidate.success, pair.incumbent.success)
        if pair.suite is self._improvement_suite:
            self._improvement.observe(pair)

    @property
    def finding(self) -> TrialFinding | None:
        """Decision and reason, or None while the trial goes on."""
        if self._limits.status is Status.NO:
            return TrialFinding(Decision.REJECTED, f"joints outside their limits {self._limits.misses}")
        if self._regression.status is Status.NO:
            return TrialFinding(Decision.REJECTED, f"known tasks got worse: {self._score(Suite.REGRESSION)}")
        return self._canary_finding() if self._canary_only else self._improvement_finding()

    @property
    def achieved(self) -> SuiteCounts:
        """What the candidate achieved so far."""
        done = {suite: [p.candidate.success for p in self._pairs_of(suite)] for suite in Suite}
        return SuiteCounts(*((sum(done[suite]), len(done[suite])) for suite in (Suite.REGRESSION, Suite.TARGET)))

    @property
    def kept(self) -> Stakes | None:
        """What the next trial may stake; None where nothing was at stake: no pair could have led to an acceptance.

        So a candidate that only collapsed in the smoke test costs nothing; anyone could send many.

        * Gains on being better pass on only while that question was open and nothing was refused. A candidate that a
          guard refused would leave its gains to one that is no better.
        * Guards never win back what they lost. What known tasks guards costs nothing while the candidate was not even
          better: then no pair of known tasks had a say.
        """
        if not self._seen[self._improvement_suite] or self._canary_only:
            return None
        improvement, is_refused = self._improvement.kept, Status.NO in (self._regression.status, self._limits.status)
        if is_refused or self._improvement.status is not Status.OPEN:
            improvement = min(improvement, self.stakes.improvement)
        has_guarded = is_refused or self._improvement.status is Status.YES
        return Stakes(
            improvement=improvement,
            regression=self.stakes.regression * (min(self._regression.capital, 1.0) if has_guarded else 1.0),
            limits=self.stakes.limits * min(self._limits.capital, 1.0),
        )

    def suites(self) -> tuple[SuiteResult, ...]:
        """How both did so far, suite by suite."""
        names = {Suite.TARGET: f"target: {self.target_tasks.name}", Suite.REGRESSION: "known tasks"}
        return tuple(suite_result(name, self._pairs_of(suite)) for suite, name in names.items() if self._seen[suite])

    @property
    def _is_kept(self) -> bool:
        """Whether known tasks and joint limits are shown to be kept."""
        return self._regression.status is Status.YES and self._limits.status is Status.YES

    @property
    def _max_improvement_pairs(self) -> int:
        return self._max_pairs if self._has_target else self._max_regression_pairs

    def _has_room(self, regression_pairs: int) -> bool:
        return regression_pairs < self._max_regression_pairs

    def _improvement_finding(self) -> TrialFinding | None:
        improvement = self._improvement.status
        if improvement is Status.NO:
            return TrialFinding(Decision.REJECTED, f"neither better nor faster {self._improvement_score()}")
        if improvement is Status.YES and self._is_kept:
            kept = f"; known tasks are kept: {self._score(Suite.REGRESSION)}" if self._has_target else ""
            return TrialFinding(Decision.ACCEPTED, f"{self._improvement.way} {self._improvement_score()}{kept}")
        seen = self._seen[self._improvement_suite]
        if improvement is Status.OPEN and seen >= self._max_improvement_pairs:
            return TrialFinding(Decision.INCONCLUSIVE, f"no clear difference {self._improvement_score()}")
        if improvement is Status.OPEN and self.newer_is_due and (why := self._unpromising):
            reason = f"{why} {self._improvement_score()}; preempted by a newer one"
            return TrialFinding(Decision.INCONCLUSIVE, reason)
        return self._open_finding()

    @property
    def _unpromising(self) -> str:
        """Why a newer candidate should be tried instead of this one; empty while this one gains."""
        pairs = [p for p in self.pairs if p.suite is self._improvement_suite]
        if self._has_target and len(pairs) >= HOPELESS_PAIRS and not any(p.candidate.success for p in pairs):
            return "no success yet"
        if len(pairs) < PREEMPTION_PAIRS or self._improvement.pairs_to_go <= self._patience_pairs:
            return ""
        return "no gain so far" if math.isinf(self._improvement.pairs_to_go) else "a small gain at most"

    def _open_finding(self) -> TrialFinding | None:
        if not self._has_room(self._seen[Suite.REGRESSION]):
            is_kept = self._regression.status is Status.YES
            return self._unclear_limits if is_kept else self._unclear_regression
        if self._regression.is_out_of_reach:
            return self._unclear_regression
        return self._unclear_limits if self._limits.is_out_of_reach else None

    @property
    def _unclear_regression(self) -> TrialFinding:
        reason = f"not clear whether known tasks are kept: {self._score(Suite.REGRESSION)}"
        return TrialFinding(Decision.INCONCLUSIVE, reason)

    @property
    def _unclear_limits(self) -> TrialFinding:
        reason = f"not clear whether joints stay inside their limits: outside {self._limits.misses}"
        return TrialFinding(Decision.INCONCLUSIVE, reason)

    def _canary_finding(self) -> TrialFinding | None:
        if not self._is_kept:
            return self._open_finding()
        names, kept = ", ".join(self.target_tasks.without_model), self._score(Suite.REGRESSION)
        reason = f"canary only: no simulation shows how {names} fails; known tasks are kept: {kept}"
        return TrialFinding(Decision.INCONCLUSIVE, reason, canary=True)

    def _improvement_score(self) -> str:
        where = self.target_tasks.name if self._has_target else "known tasks"
        return f"on {where}: {self._score(self._improvement_suite)}"

    def _score(self, suite: Suite) -> str:
        return score(self._pairs_of(suite))

    def _pairs_of(self, suite: Suite) -> list[Pair]:
        return [p for p in self.pairs if p.suite is suite]
