"""ImprovementTest: whether the candidate is better than the incumbent, or not worse and faster."""

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
    """Two ways to be preferable, which share `alpha`: better, or not worse and faster."""

    def __init__(self, alpha: float, superiority_share: float, cap: int, gain: float, beta: float) -> None:
        """`superiority_share`: better's share of `alpha`; `cap`: most pairs.

        `beta`: chance of sending back a candidate that gains `gain` in success.
        """
        self._cap = cap
        self._seen = 0
        self._for_better, self._for_faster = superiority_share * alpha, (1.0 - superiority_share) * alpha
        self._better = Superiority(self._for_better, beta, gain)
        self._not_worse = NonInferiority(self._for_faster, WORSE_BETA, REGRESSION_MARGIN, cap)
        self._faster = Faster(self._for_faster, FASTER_BETA, SPEED_MARGIN)

    def observe(self, pair: Pair) -> None:
        """Take in one pair."""
        self._seen += 1
        self._better.observe(pair.difference)
        self._not_worse.observe(pair.difference)
        if pair.candidate.success and pair.incumbent.success:
            self._faster.observe(pair.candidate.duration_s, pair.incumbent.duration_s)

    @property
    def kept(self) -> float:
        """What is left of `alpha`, by both bets."""
        return self._for_better * self._better.capital + self._for_faster * self._faster.capital

    def fewest_pairs(self, success: float) -> float:
        """Pairs that show a candidate better that never fails; `success` is the incumbent's."""
        return fewest_pairs(self._for_better, 1.0 - success)

    @property
    def pairs_to_go(self) -> float:
        """How many pairs more it takes to be shown better, or faster, at the pace so far; infinite without a gain."""
        if self._cannot_be_faster:
            return self._better.pairs_to_go
        timed_share = self._faster.pairs / max(1, self._seen)
        return min(self._better.pairs_to_go, self._faster.pairs_to_go / max(timed_share, 1e-9))

    @property
    def way(self) -> str:
        """How the candidate is preferable; empty while that is not shown."""
        if self._better.status is Status.YES:
            return "better"
        return "not worse and faster" if self._not_worse.status is Status.YES and self._is_faster else ""

    @property
    def status(self) -> Status:
        """The answer so far; NO when neither way can be shown any more."""
        if self.way:
            return Status.YES
        return Status.NO if self._better.status is Status.NO and self._cannot_be_faster else Status.OPEN

    @property
    def _is_faster(self) -> bool:
        return self._faster.status is Status.YES

    @property
    def _cannot_be_faster(self) -> bool:
        if self._seen < SMOKE_TEST_PAIRS:
            return False
        timed_to_come = math.ceil((self._cap - self._seen) * self._faster.pairs / max(1, self._seen))
        is_refuted = Status.NO in (self._not_worse.status, self._faster.status)
        is_refuted = is_refuted or self._not_worse.is_out_of_reach
        return is_refuted or not self._faster.within_reach(timed_to_come)
