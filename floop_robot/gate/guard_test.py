"""GuardTest: whether the candidate keeps what the incumbent does well. Every candidate has two, judged alike.

* Known tasks: an episode is good when it succeeds.
* Joint limits: an episode is good, or clean, when no measured joint state of it was outside the limits. The limiter
  keeps commands inside. A hard contact can still throw a joint past its speed, in 1 % of the episodes of the shipped
  policy for Pick, and 3 % of those for PickPlace.

YES: shown to have less than `margin` fewer good episodes than the incumbent, on the same scenarios.
NO: shown to have fewer; or below the floor of good episodes, and the incumbent has more of them here.
"""

from __future__ import annotations

import msgspec

from floop_robot.stats.sequential_tests import NonInferiority, Status, SuccessFloor

WORSE_BETA = 0.01
"""Chance of refusing a candidate that is as good as the incumbent where that is good."""


class Floor(msgspec.Struct, frozen=True):
    """Share of good episodes that is good enough, and that must be refused.

    It anchors the comparison: a series of policies, each a little worse than the one before, ends here.
    """

    accept: float
    reject: float


class GuardTest:
    """One candidate's; `alpha` is the chance of passing one that is `margin` worse."""

    def __init__(self, alpha: float, margin: float, cap: int, floor: Floor | None) -> None:
        """`cap`: most pairs."""
        self._not_worse = NonInferiority(alpha, WORSE_BETA, margin, cap)
        self._floor = floor and SuccessFloor(floor.accept, floor.reject, WORSE_BETA)
        self._seen = self._candidate = self._incumbent = 0

    def observe(self, candidate: bool, incumbent: bool) -> None:
        """Take in one pair: whose episode was good."""
        self._seen += 1
        self._candidate += candidate
        self._incumbent += incumbent
        self._not_worse.observe(int(candidate) - int(incumbent))
        if self._floor:
            self._floor.observe(candidate)

    @property
    def status(self) -> Status:
        """The answer so far."""
        if self._floor and self._floor.broken and self._candidate < self._incumbent:
            return Status.NO
        return self._not_worse.status

    @property
    def is_out_of_reach(self) -> bool:
        """Whether what is left of `cap` pairs could no longer bring a YES."""
        return self._not_worse.is_out_of_reach

    @property
    def capital(self) -> float:
        """What is left of a stake of 1."""
        return self._not_worse.capital

    @property
    def misses(self) -> str:
        """Episodes of both policies that were not good, for people."""
        ours, theirs = self._seen - self._candidate, self._seen - self._incumbent
        return f"in {ours} of {self._seen} episodes against {theirs}"
