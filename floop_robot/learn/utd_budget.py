"""UtdBudget and LatencyMeter: gradient steps that arriving rows pay for, and the age of rows at their first one."""

from __future__ import annotations

import time
from collections import deque

import numpy as np
from numpy.typing import NDArray

LATENCY_WINDOW = 20_000
"""Latencies kept for the percentiles: some minutes of a fleet."""


class UtdBudget:
    """An account of gradient steps: rows add to it, updates spend it."""

    def __init__(self, max_steps: float) -> None:
        self._owed = 0.0
        self._most = max_steps
        """Arrears beyond it are forgotten: a learner that was down must not train for long before it reads new rows."""

    def add(self, steps: float) -> None:
        """Data arrived that is worth `steps` gradient steps."""
        self._owed = min(self._owed + steps, self._most)

    @property
    def owed(self) -> int:
        """Gradient steps that may be done now."""
        return int(self._owed)

    @property
    def exact(self) -> float:
        """The account with its fraction of a step."""
        return self._owed

    def spend(self, steps: int) -> None:
        """`steps` were done."""
        self._owed = max(0.0, self._owed - steps)


class LatencyMeter:
    """Time from a transition's stamp to the first gradient step that can draw it.

    It is a difference of two wall clocks, the robot's and this host's. On several hosts it errs by what they differ.
    Rows from the future are counted and left out. Rows that are hours late count: a spool holds them while ingest is
    down. Only reports read it.
    """

    def __init__(self, since_ns: int | None = None) -> None:
        """Rows stamped before `since_ns` (wall clock; None: now) are left out."""
        self.implausible = 0
        """Rows left out because they are stamped in the future."""
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
