"""StallLimit: when an episode is given up, judged by what successful ones were like.

An episode stalls while its return reaches no new maximum. Rewards of floop's tasks rise with progress, so who lost the
object stalls. Where rewards are sparse, successes stall from start to end, and the limit is their length.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

LATEST = 50
"""Latest successful episodes that set the limit."""
ENOUGH = 10
"""Successful episodes before any other is given up."""
MARGIN = 1.5
"""An episode is given up once it stalls so many times as long as nine in ten of the latest successes."""
LEAST_STEPS = 5
"""Stalls up to this long are never given up: successes without any are no reason to end at the first one."""


class StallLimit:
    """Learns from whole episodes how long successful ones stall."""

    def __init__(self) -> None:
        self._longest: deque[int] = deque(maxlen=LATEST)

    @property
    def steps(self) -> float:
        """Longest stall that is allowed; infinite while too little is known."""
        if len(self._longest) < ENOUGH:
            return float("inf")
        # Not the longest of all: one lucky success after a long stall would switch this off.
        return max(float(LEAST_STEPS), MARGIN * float(np.quantile(self._longest, 0.9)))

    def succeeded(self, rewards: list[float]) -> None:
        """Take in the rewards of a successful episode."""
        stall = _Stall()
        self._longest.append(max((stall.add(reward) for reward in rewards), default=0))

    def watch(self) -> Callable[[float], bool]:
        """A watch for one episode: given each reward, whether to give up."""
        limit, stall = self.steps, _Stall()
        return lambda reward: stall.add(reward) > limit


class _Stall:
    """Counts the steps since the return reached its maximum."""

    def __init__(self) -> None:
        self._total = self._best = 0.0
        self._steps = 0

    def add(self, reward: float) -> int:
        self._total += reward
        self._steps = self._steps + 1 if self._total <= self._best else 0
        self._best = max(self._best, self._total)
        return self._steps
