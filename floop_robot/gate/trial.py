"""Trial: one candidate against the incumbent, pair by pair, until the evidence suffices. Pure: no simulator, no clock.

Two questions, both on fresh scenarios that candidate and incumbent share:
* the guard: is old work kept? Asked of every candidate.
* the merit: better, or not worse and faster? Asked of focus work (what goes badly on the robots), or of old work while
  nothing goes badly.
Three old pairs come first, which ends a collapsed policy at once; then focus work until the merit is known; then the
rest of the guard. Margins and error rates: docs/gate.md.
"""

from __future__ import annotations

import enum
import math

import msgspec

from floop_robot.gate.interfaces import EpisodeOutcome
from floop_robot.stats.sequential_tests import Faster, Floor, Improvement, NonInferiority, Status, wilson
from floop_robot.spec.config import GateConfig
from floop_robot.spec.verdict import Decision, SuiteResult

OLD_MARGIN = 0.10
"""Old work counts as kept when success is shown to be less than this below the incumbent's on the same scenarios."""
GAIN = 0.20
"""A candidate shown to gain less than this is sent back: the next one is seconds away."""
GAIN_SHARE, LEAST_GAIN = 0.5, 0.05
"""On focus work: this share of what the incumbent's success lacks to 100 %, and no less than that."""
SPEED_MARGIN = 0.05
"""A pair counts as faster when the candidate saves more than this share of the incumbent's time: more than one policy
step of a typical pick, since every roll-out disturbs a fleet."""
GIVE_UP = 0.20
"""Chance of sending back a candidate that gains `GAIN`, or is mostly faster."""
GUARD_GIVE_UP = 0.15
"""Chance of sending back a candidate that is as good as the incumbent on old work."""
FLOOR_GIVE_UP = 0.05
CLEAN, UNCLEAN = 0.98, 0.85
"""Share of episodes without a joint state outside the limits that a policy may have, and that must be refused. The
limiter keeps commands inside; a hard contact can still throw a joint past its speed, in 1 % of the shipped policy's."""
PROBE = 3
"""Old pairs before anything else: three failures in a row refuse a candidate."""
PATIENCE = 0.95
"""The gain that a candidate should have is this much less with every one that was not accepted: perhaps there is no
more to be had."""
BETTER_SHARE = 0.8
"""Share of alpha that "better" gets on focus work, where success is what is missing; "faster" gets the rest. On old
work they share evenly."""
LEAST_KNOWN = 20
"""Episodes of the incumbent from which on its own success counts as known."""


class Suite(enum.StrEnum):
    """Which work a pair is about."""

    OLD = "old"
    FOCUS = "focus"


HURRIED_PAIRS = {Suite.FOCUS: 15, Suite.OLD: 30}
"""Pairs on merit from which on a trial gives way to a newer candidate that waits, while it gains less than it should.
Where work fails the newer one has learned from more failures, and is likely better."""


class Focus(msgspec.Struct, frozen=True):
    """What a trial is about, by object class."""

    classes: tuple[str, ...] = ()
    """Failing work that can be simulated."""
    without_model: tuple[str, ...] = ()
    """Failing work that can't be."""

    @property
    def name(self) -> str:
        """How people call it."""
        return ", ".join(self.classes)


class Known(msgspec.Struct, frozen=True):
    """Successes and episodes of a policy, by suite."""

    old: tuple[int, int] = (0, 0)
    focus: tuple[int, int] = (0, 0)

    def success(self, suite: Suite) -> float | None:
        """Its success on a suite; None while too little is known."""
        successes, episodes = self.old if suite is Suite.OLD else self.focus
        return successes / episodes if episodes >= LEAST_KNOWN else None

    def estimate(self, suite: Suite) -> float:
        """Its success on a suite, by Laplace's rule: a half while nothing is known."""
        successes, episodes = self.old if suite is Suite.OLD else self.focus
        return (successes + 1) / (episodes + 2)


def _worthwhile(success: float, sent_back: int) -> float:
    """Gain in success that a candidate should have where the incumbent's is `success`."""
    return max(GAIN_SHARE * (1.0 - success) * PATIENCE**sent_back, LEAST_GAIN)


class Pair(msgspec.Struct, frozen=True):
    """One scenario, both policies."""

    suite: Suite
    seed: int
    candidate: EpisodeOutcome
    incumbent: EpisodeOutcome


class Finding(msgspec.Struct, frozen=True):
    """How a trial ended, and the sentence why."""

    decision: Decision
    reason: str


class _Merit:
    """Better, or not worse and faster? The two ways share `alpha`."""

    def __init__(self, alpha: float, better_share: float, cap: int, gain: float) -> None:
        """`cap`: pairs that a promising candidate gets."""
        self._cap, self._gain = cap, gain
        self._seen = self._gained = 0
        rest = (1.0 - better_share) * alpha
        self._better = Improvement(better_share * alpha, GIVE_UP, gain)
        self._kept = NonInferiority(rest, GIVE_UP, OLD_MARGIN, cap)
        self._faster = Faster(rest, GIVE_UP, SPEED_MARGIN)

    def observe(self, pair: Pair) -> None:
        self._seen += 1
        difference = int(pair.candidate.success) - int(pair.incumbent.success)
        self._gained += difference
        self._better.observe(difference)
        self._kept.observe(difference)
        if pair.candidate.success and pair.incumbent.success:
            self._faster.observe(pair.candidate.duration_s, pair.incumbent.duration_s)

    @property
    def is_promising(self) -> bool:
        """Whether a few pairs more may well show what is not shown yet."""
        faster = self.is_faster and self._kept.status is not Status.NO
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
        return "not worse and faster" if self._kept.status is Status.YES and self.is_faster else ""

    @property
    def status(self) -> Status:
        if self.way:
            return Status.YES
        share = self._faster.pairs / max(1, self._seen)
        timed_to_come = math.ceil((self._cap - self._seen) * share)
        no_faster = (
            Status.NO in (self._kept.status, self._faster.status) or not self._faster.within_reach(timed_to_come)
        ) and self._seen >= PROBE
        return Status.NO if self._better.status is Status.NO and no_faster else Status.OPEN


class Trial:
    """The state of one trial: which pair it wants next, and what it has found."""

    def __init__(self, config: GateConfig, focus: Focus, known: Known | None = None, sent_back: int = 0) -> None:
        """`known`: what the incumbent achieved in earlier trials, which `sent_back` candidates since it came."""
        known = known or Known()
        self.focus = focus
        self.alpha = config.alpha
        self.pairs: list[Pair] = []
        self._has_focus = bool(focus.classes)
        self._canary_only = not self._has_focus and bool(focus.without_model)
        self._max_pairs, self._max_guard = config.max_pairs, config.max_guard
        self._seen = dict.fromkeys(Suite, 0)
        self._kept = NonInferiority(config.alpha, GUARD_GIVE_UP, OLD_MARGIN, config.max_guard)
        self._floor = Floor(config.old_accept, config.old_reject, FLOOR_GIVE_UP)
        old = known.success(Suite.OLD)
        # Where even the incumbent is below the floor, only the comparison with it is fair.
        self._floor_holds = old is None or old >= 0.5 * (config.old_accept + config.old_reject)
        self._merit_suite = Suite.FOCUS if self._has_focus else Suite.OLD
        gain = _worthwhile(known.estimate(Suite.FOCUS), sent_back) if self._has_focus else GAIN
        share = BETTER_SHARE if self._has_focus else 0.5
        self._merit = _Merit(config.alpha, share, config.max_guard, gain)
        self._clean = Floor(CLEAN, UNCLEAN, FLOOR_GIVE_UP)
        self._unclean = 0
        """Episodes with violations, less the incumbent's."""
        self.hurried = False
        """Whether a newer candidate waits; set by the owner at any time (the tests hold whenever one stops)."""

    def wants(self, started: dict[Suite, int]) -> Suite | None:
        """Suite of the next pair, given how many pairs of each were started; None when enough are under way."""
        if self.finding is not None:
            return None
        if started[Suite.OLD] < PROBE:
            return Suite.OLD
        if self._has_focus and self._merit.status is Status.OPEN and started[Suite.FOCUS] < self._most_merit:
            return Suite.FOCUS
        wants_old = self._guard is Status.OPEN or (not self._has_focus and self._merit.status is Status.OPEN)
        return Suite.OLD if wants_old and started[Suite.OLD] < self._max_guard else None

    def observe(self, pair: Pair) -> None:
        """Take in one pair; pairs count in the order in which they were asked for."""
        self.pairs.append(pair)
        self._seen[pair.suite] += 1
        self._clean.observe(pair.candidate.limit_violations == 0)
        self._unclean += bool(pair.candidate.limit_violations) - bool(pair.incumbent.limit_violations)
        if pair.suite is Suite.OLD:
            self._kept.observe(int(pair.candidate.success) - int(pair.incumbent.success))
            self._floor.observe(pair.candidate.success)
        if pair.suite is self._merit_suite:
            self._merit.observe(pair)

    @property
    def finding(self) -> Finding | None:
        """Decision and reason, or None while the trial goes on."""
        if self._clean.broken and self._unclean > 0:
            count = sum(p.candidate.limit_violations > 0 for p in self.pairs)
            reason = f"joints outside their limits in {count} of {len(self.pairs)} episodes"
            return Finding(Decision.REJECTED, reason)
        if self._guard is Status.NO:
            return Finding(Decision.REJECTED, f"old work is not kept: {self._score(Suite.OLD)}")
        if self._canary_only:
            return self._canary_finding()
        return self._merit_finding()

    @property
    def achieved(self) -> Known:
        """What the candidate achieved so far."""
        done = {suite: [p.candidate.success for p in self.pairs if p.suite is suite] for suite in Suite}
        return Known(*((sum(done[suite]), len(done[suite])) for suite in (Suite.OLD, Suite.FOCUS)))

    def suites(self) -> tuple[SuiteResult, ...]:
        """How both did so far, suite by suite."""
        names = {Suite.FOCUS: f"focus: {self.focus.name}", Suite.OLD: "old work"}
        return tuple(
            _suite_result(names[suite], [p for p in self.pairs if p.suite is suite])
            for suite in (Suite.FOCUS, Suite.OLD)
            if self._seen[suite]
        )

    @property
    def _guard(self) -> Status:
        return Status.NO if self._floor_holds and self._floor.broken else self._kept.status

    @property
    def _most_merit(self) -> int:
        """Pairs on merit: a candidate that is likely better gets the guard's to show it, or that it is no worse."""
        return self._max_guard if self._merit.is_promising else self._max_pairs

    def _merit_finding(self) -> Finding | None:
        merit = self._merit.status
        if merit is Status.NO:
            return Finding(Decision.REJECTED, f"neither better nor faster {self._merit_score()}")
        if merit is Status.YES and self._guard is Status.YES:
            kept = f"; old work is kept: {self._score(Suite.OLD)}" if self._has_focus else ""
            return Finding(Decision.ACCEPTED, f"{self._merit.way} {self._merit_score()}{kept}")
        seen = self._seen[self._merit_suite]
        if merit is Status.OPEN and seen >= self._most_merit:
            return Finding(Decision.INCONCLUSIVE, f"no clear difference {self._merit_score()}")
        gives_way = self.hurried and not self._merit.is_promising and seen >= HURRIED_PAIRS[self._merit_suite]
        if merit is Status.OPEN and gives_way:
            return Finding(Decision.INCONCLUSIVE, f"no clear difference yet, a newer one waits; {self._merit_score()}")
        return self._guard_open_finding()

    def _guard_open_finding(self) -> Finding | None:
        if self._seen[Suite.OLD] < self._max_guard:
            return None
        return Finding(Decision.INCONCLUSIVE, f"not clear whether old work is kept: {self._score(Suite.OLD)}")

    def _merit_score(self) -> str:
        where = f"on {self.focus.name}" if self._has_focus else "on old work"
        return f"{where}: {self._score(self._merit_suite)}"

    def _canary_finding(self) -> Finding | None:
        names = ", ".join(self.focus.without_model)
        if self._guard is Status.YES:
            reason = f"canary only: no model of {names} to simulate; old work is kept: {self._score(Suite.OLD)}"
            return Finding(Decision.INCONCLUSIVE, reason)
        return self._guard_open_finding()

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
