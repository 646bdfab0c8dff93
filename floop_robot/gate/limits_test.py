"""LimitsTest: whether the candidate keeps its joints inside their limits, as the regression test asks for known tasks.

An episode counts as clean when no measured joint state of it was outside the limits. Every pair counts, of both suites.
The limiter keeps commands inside. A hard contact can still throw a joint past its speed, in 1 % of the episodes of the
shipped policy for Pick, and 3 % of those for PickPlace.

* Beside the incumbent: accepted only when shown to be less than `LIMITS_MARGIN` below its share of clean episodes.
* By itself: rejected when its share is rather `CLEAN_REJECT` than `CLEAN_ACCEPT`, unless the incumbent has no fewer.
"""

from __future__ import annotations

from floop_robot.gate.suites import Pair
from floop_robot.stats.sequential_tests import NonInferiority, Status, SuccessFloor

LIMITS_MARGIN = 0.10
"""As the regression test's. Half of it would send back a third of candidates with 3 % that are as good as before."""
LIMITS_TOLERANCE, LIMITS_BETA = 0.03, 0.01
"""Who is this much below is rejected with this chance at most; the floor rejects with the same one who is just good."""
CLEAN_ACCEPT, CLEAN_REJECT = 0.97, 0.88
"""Share of clean episodes that is good enough, and that must be refused."""


class LimitsTest:
    """One candidate's; `alpha` is the chance of passing one that is `LIMITS_MARGIN` worse."""

    def __init__(self, alpha: float, cap: int) -> None:
        """`cap`: most pairs."""
        self._not_worse = NonInferiority(alpha, LIMITS_BETA, LIMITS_MARGIN, cap, LIMITS_TOLERANCE)
        self._floor = SuccessFloor(CLEAN_ACCEPT, CLEAN_REJECT, LIMITS_BETA)
        self._seen = self._candidate = self._incumbent = 0

    def observe(self, pair: Pair) -> None:
        """Take in one pair."""
        ours, theirs = pair.candidate.limit_violations > 0, pair.incumbent.limit_violations > 0
        self._seen += 1
        self._candidate += ours
        self._incumbent += theirs
        self._not_worse.observe(int(theirs) - int(ours))
        self._floor.observe(not ours)

    @property
    def status(self) -> Status:
        """The answer so far."""
        if self._floor.broken and self._candidate > self._incumbent:
            return Status.NO
        return self._not_worse.status

    @property
    def capital(self) -> float:
        """What is left of a stake of 1."""
        return self._not_worse.capital

    @property
    def score(self) -> str:
        """Episodes outside the limits of both policies, for people."""
        return f"in {self._candidate} of {self._seen} episodes against {self._incumbent}"
