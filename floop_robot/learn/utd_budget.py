"""UtdBudget: how many gradient steps the data that has arrived pays for, and how fresh they were when learned from."""

from __future__ import annotations

import time
from collections import deque

import numpy as np
from numpy.typing import NDArray

LATENCY_WINDOW = 20_000
"""Latencies kept for the percentiles: some minutes of a fleet."""


class UtdBudget:
    """An account of gradient steps: arriving rows pay in, updates draw."""

    def __init__(self, max_steps: float) -> None:
        self._owed = 0.0
        self._most = max_steps
        """A learner that was away must not hammer old rows for minutes before it looks at new ones."""

    def add(self, steps: float) -> None:
        """Data arrived that is worth `steps` gradient steps."""
        self._owed = min(self._owed + steps, self._most)

    @property
    def owed(self) -> int:
        """Gradient steps that may be done now."""
        return int(self._owed)

    def spend(self, steps: int) -> None:
        """`steps` were done."""
        self._owed = max(0.0, self._owed - steps)


class LatencyMeter:
    """Time from a transition leaving its control loop to the first gradient step begun when it could be drawn.

    A difference of two wall clocks, the robot's and this host's: valid where both are one, as in a demo on one host. On
    several hosts it is off by what their clocks differ. Rows from the future can't be: they are counted and left out.
    Those that are hours late are not, since a spool holds them for as long as ingest is away. Only reports read it.
    """

    def __init__(self, since_ns: int | None = None) -> None:
        """`since_ns`: when learning began, wall clock; None: now. Rows stamped before are history, not latency."""
        self.implausible = 0
        """Rows left out: stamped later than now, by a clock that differs."""
        self._since_ns = time.time_ns() if since_ns is None else since_ns
        self._waiting: list[NDArray[np.int64]] = []
        self._seconds: deque[float] = deque(maxlen=LATENCY_WINDOW)

    def arrived(self, stamp_ns: NDArray[np.int64]) -> None:
        """Rows entered replay."""
        recent = stamp_ns[stamp_ns > self._since_ns]
        if len(recent):
            self._waiting.append(recent)

    def step_begins(self) -> None:
        """A gradient step begins now."""
        if self._waiting:
            now = time.time_ns()
            for stamps in self._waiting:
                ages = (now - stamps) / 1e9
                plausible = ages[ages >= 0.0]
                self.implausible += len(ages) - len(plausible)
                self._seconds.extend(plausible.tolist())
            self._waiting.clear()

    @property
    def percentiles(self) -> tuple[float, float]:
        """(p50, p99) in seconds; NaN before the first."""
        if not self._seconds:
            return float("nan"), float("nan")
        p50, p99 = np.percentile(np.array(self._seconds), [50, 99])
        return float(p50), float(p99)
