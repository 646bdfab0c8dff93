"""Trial: one candidate against the incumbent, pair by pair, until the evidence suffices. Pure: no simulator, no clock.

Two questions, both on fresh scenarios that candidate and incumbent share:
* the regression test: are known tasks kept? Asked of every candidate.
* the improvement test: better, or not worse and faster? Asked of failing tasks (what goes badly on the robots), or of known tasks while
  nothing goes badly.
Three old pairs come first, which ends a collapsed policy at once; then failing tasks until the improvement is known; then the
rest of the regression test. Margins and error rates: docs/design/gate.md.
"""

from __future__ import annotations

import enum
import math

import msgspec

from floop_robot.core import EpisodeOutcome
from floop_robot.gate.reported_tasks import TargetTasks
from floop_robot.spec.config import GateConfig
from floop_robot.spec.verdict import Decision, SuiteResult
from floop_robot.stats.intervals import wilson
from floop_robot.stats.sequential_tests import Faster, NonInferiority, Status, SuccessFloor, Superiority

REGRESSION_MARGIN = 0.10
"""Known tasks count as kept when success is shown to be less than this below the incumbent's on the same scenarios."""
REQUIRED_GAIN = 0.20
"""A candidate shown to gain less than this is sent back: the next one is seconds away."""
REQUIRED_GAIN_SHARE, MIN_REQUIRED_GAIN = 0.5, 0.05
"""On failing tasks: this share of what the incumbent's success lacks to 100 %, and no less than that."""
SPEED_MARGIN = 0.05
"""A pair counts as faster when the candidate saves more than this share of the incumbent's time: more than one policy
step of a typical pick, since every roll-out disturbs a fleet."""
IMPROVEMENT_BETA = 0.20
"""Chance of sending back a candidate that gains `REQUIRED_GAIN`, or is mostly faster."""
REGRESSION_BETA = 0.15
"""Chance of sending back a candidate that is as good as the incumbent on known tasks."""
FLOOR_BETA = 0.05
VIOLATION_FREE_ACCEPT, VIOLATION_FREE_REJECT = 0.98, 0.85
"""Share of episodes without a joint state outside the limits that a policy may have, and that must be refused. The
limiter keeps commands inside; a hard contact can still throw a joint past its speed, in 1 % of the shipped policy's."""
SMOKE_TEST_PAIRS = 3
"""Old pairs before anything else: three failures in a row refuse a candidate."""
GAIN_DECAY = 0.95
"""The gain that a candidate should have is this much less with every one that was not accepted: perhaps there is no
more to be had."""
SUPERIORITY_ALPHA_SHARE = 0.8
"""Share of alpha that "better" gets on failing tasks, where success is what is missing; "faster" gets the rest. On old
work they share evenly."""
MIN_KNOWN_EPISODES = 20
"""Episodes of the incumbent from which on its own success counts as known."""


class Suite(enum.StrEnum):
    """Which work a pair is about."""

    REGRESSION = "regression"
    TARGET = "target"


PREEMPTION_PAIRS = {Suite.TARGET: 15, Suite.REGRESSION: 30}
"""Pairs for the improvement test from which on a trial gives way to a newer candidate that waits, while it gains less than it should.
Where work fails the newer one has learned from more failures, and is likely better."""


class SuiteCounts(msgspec.Struct, frozen=True):
    """Successes and episodes of a policy, by suite."""

    regression: tuple[int, int] = (0, 0)
    target: tuple[int, int] = (0, 0)

    def success(self, suite: Suite) -> float | None:
        """Its success on a suite; None while too little is known."""
        successes, episodes = self.regression if suite is Suite.REGRESSION else self.target
        return successes / episodes if episodes >= MIN_KNOWN_EPISODES else None

    def estimate(self, suite: Suite) -> float:
        """Its success on a suite, by Laplace's rule: a half while nothing is known."""
        successes, episodes = self.regression if suite is Suite.REGRESSION else self.target
        return (successes + 1) / (episodes + 2)


def _required_gain(success: float, not_accepted: int) -> float:
    """Gain in success that a candidate should have where the incumbent's is `success`."""
    return max(REQUIRED_GAIN_SHARE * (1.0 - success) * GAIN_DECAY**not_accepted, MIN_REQUIRED_GAIN)


class Pair(msgspec.Struct, frozen=True):
    """One scenario, both policies."""

    suite: Suite
    seed: int
    candidate: EpisodeOutcome
    incumbent: EpisodeOutcome


class TrialFinding(msgspec.Struct, frozen=True):
    """How a trial ended, and the sentence why."""

    decision: Decision
    reason: str


class _ImprovementTest:
    """Better, or not worse and faster? The two ways share `alpha`."""

    def __init__(self, alpha: float, superiority_share: float, cap: int, gain: float) -> None:
        """`cap`: pairs that a promising candidate gets."""
        self._cap, self._gain = cap, gain
        self._seen = self._gained = 0
        rest = (1.0 - superiority_share) * alpha
        self._better = Superiority(superiority_share * alpha, IMPROVEMENT_BETA, gain)
        self._not_worse = NonInferiority(rest, IMPROVEMENT_BETA, REGRESSION_MARGIN, cap)
        self._faster = Faster(rest, IMPROVEMENT_BETA, SPEED_MARGIN)

    def observe(self, pair: Pair) -> None:
        self._seen += 1
        difference = int(pair.candidate.success) - int(pair.incumbent.success)
        self._gained += difference
        self._better.observe(difference)
        self._not_worse.observe(difference)
        if pair.candidate.success and pair.incumbent.success:
            self._faster.observe(pair.candidate.duration_s, pair.incumbent.duration_s)

    @property
    def is_promising(self) -> bool:
        """Whether a few pairs more may well show what is not shown yet."""
        faster = self.is_faster and self._not_worse.status is not Status.NO
        return faster or self._gained >= self._gain * self._seen

    @property
    def is_faster(self) -> bool:
        """Whether a shorter cycle is shown."""
        return self._faster.status is Status.YES

    @property
    def way(self) -> str:
        """How the candidate is preferable; empty while that is not shown."""
        if self._better.status is Status.YES:
            return "better"
        return "not worse and faster" if self._not_worse.status is Status.YES and self.is_faster else ""

    @property
    def status(self) -> Status:
        if self.way:
            return Status.YES
        share = self._faster.pairs / max(1, self._seen)
        timed_to_come = math.ceil((self._cap - self._seen) * share)
        no_faster = (
            Status.NO in (self._not_worse.status, self._faster.status) or not self._faster.within_reach(timed_to_come)
        ) and self._seen >= SMOKE_TEST_PAIRS
        return Status.NO if self._better.status is Status.NO and no_faster else Status.OPEN


class Trial:
    """The state of one trial: which pair it wants next, and what it has found."""

    def __init__(
        self, config: GateConfig, target_tasks: TargetTasks, known: SuiteCounts | None = None, not_accepted: int = 0
    ) -> None:
        """`known`: what the incumbent achieved in earlier trials, which `not_accepted` candidates since it came."""
        known = known or SuiteCounts()
        self.target_tasks = target_tasks
        self.alpha = config.alpha
        self.pairs: list[Pair] = []
        self._has_target = bool(target_tasks.classes)
        self._canary_only = not self._has_target and bool(target_tasks.without_model)
        self._max_pairs, self._max_regression_pairs = config.max_pairs, config.max_regression_pairs
        self._seen = dict.fromkeys(Suite, 0)
        self._not_worse = NonInferiority(config.alpha, REGRESSION_BETA, REGRESSION_MARGIN, config.max_regression_pairs)
        self._floor = SuccessFloor(config.regression_accept, config.regression_reject, FLOOR_BETA)
        old = known.success(Suite.REGRESSION)
        # Where even the incumbent is below the floor, only the comparison with it is fair.
        self._floor_applies = old is None or old >= 0.5 * (config.regression_accept + config.regression_reject)
        self._improvement_suite = Suite.TARGET if self._has_target else Suite.REGRESSION
        gain = _required_gain(known.estimate(Suite.TARGET), not_accepted) if self._has_target else REQUIRED_GAIN
        share = SUPERIORITY_ALPHA_SHARE if self._has_target else 0.5
        self._improvement = _ImprovementTest(config.alpha, share, config.max_regression_pairs, gain)
        self._violation_free = SuccessFloor(VIOLATION_FREE_ACCEPT, VIOLATION_FREE_REJECT, FLOOR_BETA)
        self._extra_violations = 0
        """Episodes with violations, less the incumbent's."""
        self.preempted = False
        """Whether a newer candidate waits; set by the owner at any time (the tests hold whenever one stops)."""

    def next_suite(self, started: dict[Suite, int]) -> Suite | None:
        """Suite of the next pair, given how many pairs of each were started; None when enough are under way."""
        if self.finding is not None:
            return None
        if started[Suite.REGRESSION] < SMOKE_TEST_PAIRS:
            return Suite.REGRESSION
        if (
            self._has_target
            and self._improvement.status is Status.OPEN
            and started[Suite.TARGET] < self._max_improvement_pairs
        ):
            return Suite.TARGET
        wants_old = self._regression_status is Status.OPEN or (
            not self._has_target and self._improvement.status is Status.OPEN
        )
        return Suite.REGRESSION if wants_old and started[Suite.REGRESSION] < self._max_regression_pairs else None

    def observe(self, pair: Pair) -> None:
        """Take in one pair; pairs count in the order in which they were asked for."""
        self.pairs.append(pair)
        self._seen[pair.suite] += 1
        self._violation_free.observe(pair.candidate.limit_violations == 0)
        self._extra_violations += bool(pair.candidate.limit_violations) - bool(pair.incumbent.limit_violations)
        if pair.suite is Suite.REGRESSION:
            self._not_worse.observe(int(pair.candidate.success) - int(pair.incumbent.success))
            self._floor.observe(pair.candidate.success)
        if pair.suite is self._improvement_suite:
            self._improvement.observe(pair)

    @property
    def finding(self) -> TrialFinding | None:
        """Decision and reason, or None while the trial goes on."""
        if self._violation_free.broken and self._extra_violations > 0:
            count = sum(p.candidate.limit_violations > 0 for p in self.pairs)
            reason = f"joints outside their limits in {count} of {len(self.pairs)} episodes"
            return TrialFinding(Decision.REJECTED, reason)
        if self._regression_status is Status.NO:
            return TrialFinding(Decision.REJECTED, f"known tasks got worse: {self._score(Suite.REGRESSION)}")
        if self._canary_only:
            return self._canary_finding()
        return self._improvement_finding()

    @property
    def achieved(self) -> SuiteCounts:
        """What the candidate achieved so far."""
        done = {suite: [p.candidate.success for p in self.pairs if p.suite is suite] for suite in Suite}
        return SuiteCounts(*((sum(done[suite]), len(done[suite])) for suite in (Suite.REGRESSION, Suite.TARGET)))

    def suites(self) -> tuple[SuiteResult, ...]:
        """How both did so far, suite by suite."""
        names = {Suite.TARGET: f"target: {self.target_tasks.name}", Suite.REGRESSION: "known tasks"}
        return tuple(
            _suite_result(names[suite], [p for p in self.pairs if p.suite is suite])
            for suite in (Suite.TARGET, Suite.REGRESSION)
            if self._seen[suite]
        )

    @property
    def _regression_status(self) -> Status:
        return Status.NO if self._floor_applies and self._floor.broken else self._not_worse.status

    @property
    def _max_improvement_pairs(self) -> int:
        """Pairs for the improvement test: a candidate that is likely better gets the regression test's to show it, or that it is no worse."""
        return self._max_regression_pairs if self._improvement.is_promising else self._max_pairs

    def _improvement_finding(self) -> TrialFinding | None:
        improvement = self._improvement.status
        if improvement is Status.NO:
            return TrialFinding(Decision.REJECTED, f"neither better nor faster {self._improvement_score()}")
        if improvement is Status.YES and self._regression_status is Status.YES:
            kept = f"; known tasks are kept: {self._score(Suite.REGRESSION)}" if self._has_target else ""
            return TrialFinding(Decision.ACCEPTED, f"{self._improvement.way} {self._improvement_score()}{kept}")
        seen = self._seen[self._improvement_suite]
        if improvement is Status.OPEN and seen >= self._max_improvement_pairs:
            return TrialFinding(Decision.INCONCLUSIVE, f"no clear difference {self._improvement_score()}")
        gives_way = (
            self.preempted and not self._improvement.is_promising and seen >= PREEMPTION_PAIRS[self._improvement_suite]
        )
        if improvement is Status.OPEN and gives_way:
            return TrialFinding(
                Decision.INCONCLUSIVE, f"no clear difference yet, a newer one waits; {self._improvement_score()}"
            )
        return self._regression_open_finding()

    def _regression_open_finding(self) -> TrialFinding | None:
        if self._seen[Suite.REGRESSION] < self._max_regression_pairs:
            return None
        return TrialFinding(
            Decision.INCONCLUSIVE, f"not clear whether known tasks are kept: {self._score(Suite.REGRESSION)}"
        )

    def _improvement_score(self) -> str:
        where = f"on {self.target_tasks.name}" if self._has_target else "on known tasks"
        return f"{where}: {self._score(self._improvement_suite)}"

    def _canary_finding(self) -> TrialFinding | None:
        names = ", ".join(self.target_tasks.without_model)
        if self._regression_status is Status.YES:
            reason = (
                f"canary only: no model of {names} to simulate; known tasks are kept: {self._score(Suite.REGRESSION)}"
            )
            return TrialFinding(Decision.INCONCLUSIVE, reason)
        return self._regression_open_finding()

    def _score(self, suite: Suite) -> str:
        pairs = [p for p in self.pairs if p.suite is suite]
        ours, theirs = sum(p.candidate.success for p in pairs), sum(p.incumbent.success for p in pairs)
        times = [
            sum(durations) / len(durations)
            for durations in (
                [p.candidate.duration_s for p in pairs if p.candidate.success],
                [p.incumbent.duration_s for p in pairs if p.incumbent.success],
            )
            if durations
        ]
        cycle = f", {times[0]:.2f} s against {times[1]:.2f} s" if len(times) == 2 else ""
        return f"{ours} of {len(pairs)} against {theirs}{cycle}"


def _suite_result(name: str, pairs: list[Pair]) -> SuiteResult:
    candidate, incumbent = [p.candidate for p in pairs], [p.incumbent for p in pairs]
    successes = sum(o.success for o in candidate)
    return SuiteResult(
        name=name,
        episodes=len(pairs),
        candidate_successes=successes,
        incumbent_successes=sum(o.success for o in incumbent),
        candidate_interval=wilson(successes, len(pairs)),
        candidate_cycle_s=mean_cycle_s(candidate),
        incumbent_cycle_s=mean_cycle_s(incumbent),
        candidate_interventions=sum(o.interventions for o in candidate),
        limit_violations=sum(o.limit_violations for o in candidate),
    )


def mean_cycle_s(outcomes: list[EpisodeOutcome]) -> float:
    """Mean duration of the successful episodes; NaN if there is none."""
    durations = [o.duration_s for o in outcomes if o.success]
    return sum(durations) / len(durations) if durations else math.nan
