"""ImprovementTest: whether the candidate is better than the incumbent, or, where speed counts, as good and faster."""

from __future__ import annotations

import math

from floop_robot.gate.guard_test import WORSE_BETA
from floop_robot.gate.suites import Pair
from floop_robot.stats.sequential_tests import Faster, NonInferiority, Status, Superiority, fewest_pairs

REGRESSION_MARGIN = 0.10
"""Success that is shown to be less than this below the incumbent's, on the same scenarios, counts as not worse."""
SPEED_MARGIN = 0.05
"""A pair counts as faster when the candidate saves more than this share of the incumbent's time.

That is more than one policy step of a typical pick, since every roll-out disturbs a fleet.
"""
FASTER_BETA = 0.20
"""Chance of sending back a candidate that is mostly faster, but not better."""
SMOKE_TEST_PAIRS = 3
"""Pairs of known tasks before anything else: three failures in a row refuse a candidate."""


class ImprovementTest:
    """Whether the candidate is preferable: better, or, where speed counts, not worse and faster."""

    def __init__(self, alpha: float, faster_share: float, cap: int, gain: float, beta: float) -> None:
        """`faster_share`: share of `alpha` for faster candidates; 0 where only success counts. `cap`: most pairs.

        `beta`: chance of sending back a candidate that gains `gain` in success.
        """
        self._seen = 0
        self._for_better, self._for_faster = (1.0 - faster_share) * alpha, faster_share * alpha
        self._better = Superiority(self._for_better, beta, gain)
        self._faster = NotWorseAndFaster(self._for_faster, cap) if faster_share else None

    def observe(self, pair: Pair) -> None:
        """Take in one pair."""
        self._seen += 1
        self._better.observe(pair.difference)
        if self._faster:
            self._faster.observe(pair)

    @property
    def kept(self) -> float:
        """What is left of `alpha`, by all bets."""
        faster = self._for_faster * self._faster.capital if self._faster else 0.0
        return self._for_better * self._better.capital + faster

    def fewest_pairs(self, success: float) -> float:
        """Pairs that show a candidate better that never fails; `success` is the incumbent's."""
        return fewest_pairs(self._for_better, 1.0 - success)

    @property
    def pairs_to_go(self) -> float:
        """How many pairs more it takes to be shown better, or faster, at the pace so far; infinite without a gain."""
        better = self._better.pairs_to_go
        return min(better, self._faster.pairs_to_go) if self._faster else better

    @property
    def way(self) -> str:
        """How the candidate is preferable; empty while that is not shown."""
        if self._better.status is Status.YES:
            return "better"
        return "not worse and faster" if self._faster and self._faster.is_shown else ""

    @property
    def status(self) -> Status:
        """The answer so far; NO when neither way can be shown any more."""
        if self.way:
            return Status.YES
        is_slow = not self._faster or self._faster.is_impossible
        return Status.NO if self._better.status is Status.NO and is_slow else Status.OPEN


class NotWorseAndFaster:
    """Whether the candidate succeeds as often, and is faster where both succeed."""

    def __init__(self, alpha: float, cap: int) -> None:
        """`cap`: most pairs."""
        self._cap, self._seen = cap, 0
        self._not_worse = NonInferiority(alpha, WORSE_BETA, REGRESSION_MARGIN, cap)
        self._faster = Faster(alpha, FASTER_BETA, SPEED_MARGIN)

    def observe(self, pair: Pair) -> None:
        """Take in one pair."""
        self._seen += 1
        self._not_worse.observe(pair.difference)
        if pair.candidate.success and pair.incumbent.success:
            self._faster.observe(pair.candidate.duration_s, pair.incumbent.duration_s)

    @property
    def capital(self) -> float:
        """What is left of a stake of 1 on being faster."""
        return self._faster.capital

    @property
    def is_shown(self) -> bool:
        """Whether both are shown."""
        return self._not_worse.status is Status.YES and self._faster.status is Status.YES

    @property
    def pairs_to_go(self) -> float:
        """How many pairs more show it, at the pace so far; infinite when none can."""
        if self.is_impossible:
            return math.inf
        timed_share = self._faster.pairs / max(1, self._seen)
        return self._faster.pairs_to_go / max(timed_share, 1e-9)

    @property
    def is_impossible(self) -> bool:
        """Whether no pair to come can show it any more."""
        if self._seen < SMOKE_TEST_PAIRS:
            return False
        timed_to_come = math.ceil((self._cap - self._seen) * self._faster.pairs / max(1, self._seen))
        is_refuted = Status.NO in (self._not_worse.status, self._faster.status)
        is_refuted = is_refuted or self._not_worse.is_out_of_reach
        return is_refuted or not self._faster.within_reach(timed_to_come)
