"""RateLoop: calls a function at a fixed rate in its own thread, with absolute deadlines on the steady clock."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from bisect import bisect_right
from collections.abc import Callable

import msgspec

_SHORTEST_S = 10e-6
_RATIO = 1.15
_BOUNDS = tuple(_SHORTEST_S * _RATIO**i for i in range(100))  # 10 µs to 10 s, 15 % apart


class Timing(msgspec.Struct, frozen=True):
    """Statistics of durations in s. Percentiles are at most 15 % too large, never too small."""

    count: int
    p50_s: float
    p99_s: float
    max_s: float


class Histogram:
    """Counts durations in buckets: constant memory, 1 µs per entry, readable from other threads."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS) + 1)
        self._max_s = 0.0

    def add(self, duration_s: float) -> None:
        """Count one duration in s; negative ones count as 0."""
        self._counts[bisect_right(_BOUNDS, duration_s)] += 1
        if duration_s > self._max_s:
            self._max_s = duration_s

    def timing(self) -> Timing:
        """Statistics so far."""
        counts = list(self._counts)
        total = sum(counts)
        return Timing(total, self._percentile(counts, total, 0.5), self._percentile(counts, total, 0.99), self._max_s)

    def _percentile(self, counts: list[int], total: int, share: float) -> float:
        seen = 0
        for count, bound in zip(counts, _BOUNDS, strict=False):
            seen += count
            if seen >= share * total:
                return min(bound, self._max_s)
        return self._max_s


class Schedule:
    """Deadlines on a fixed grid; a pure function of the times passed in. A missed slot is skipped."""

    def __init__(self, rate_hz: float, start_s: float) -> None:
        self.period_s = 1.0 / rate_hz
        self._start_s = start_s
        self._slot = 0
        self.ticks = 0
        self.missed = 0
        """Slots without a tick, because the previous tick or the machine took longer than a period."""

    @property
    def due_s(self) -> float:
        """When the next tick should begin."""
        return self._start_s + self._slot * self.period_s  # a product, not a sum: no drift

    def begin(self, now_s: float) -> float:
        """Begin a tick; returns how late it is, in s."""
        late_s = max(0.0, now_s - self.due_s)
        skipped = int(late_s / self.period_s)
        self.ticks += 1
        self.missed += skipped
        self._slot += 1 + skipped
        return late_s


class RateStats(msgspec.Struct, frozen=True):
    """How well a loop keeps its rate."""

    ticks: int
    missed_ticks: int
    lateness: Timing
    """From the deadline to the start of the tick."""
    busy: Timing
    """From the start to the end of the tick."""


_HELPER_PRIORITY, _LOOP_PRIORITY = 1, 2
"""The lowest real-time priorities: below drivers and field buses, which are usually tuned."""


class RateLoop:
    """Runs `tick(now_s)` at `rate_hz` until `stop`; use as a context manager or call `start`.

    A tick that raises ends the loop: `failure` holds the exception and `join` raises it, so that the process ends
    instead of idling.

    With `phase_s`, ticks happen at whole periods of the steady clock plus that offset, so that the loops of several
    processes on one host keep their order. Without it, the first tick happens at once.

    A `realtime` loop asks for real-time scheduling (SCHED_RR), and goes on without it where the system refuses. Its
    ticks must be short: they go before everything else on the machine.
    """

    def __init__(
        self,
        rate_hz: float,
        tick: Callable[[float], None],
        name: str,
        phase_s: float | None = None,
        realtime: bool = False,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self.on_failure = on_failure
        """Called in the loop's thread after a tick raised; must not wait."""
        self._rate_hz, self._tick, self._phase_s, self._realtime = rate_hz, tick, phase_s, realtime
        self._schedule = Schedule(rate_hz, 0.0)
        self._lateness, self._busy = Histogram(), Histogram()
        self._stop = False
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin ticking."""
        self._thread.start()

    def stop(self) -> None:
        """Let the current tick end and start no other. Returns at once; `join` waits."""
        self._stop = True

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until the loop has ended; False if it has not after `timeout_s`. Raises what a tick raised."""
        self._thread.join(timeout_s)
        if self.failure is not None:
            raise self.failure
        return not self._thread.is_alive()

    def __enter__(self) -> RateLoop:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join()

    @property
    def missed_ticks(self) -> int:
        """Slots without a tick so far; from any thread."""
        return self._schedule.missed

    def stats(self) -> RateStats:
        """Counts so far; from any thread."""
        schedule = self._schedule
        return RateStats(schedule.ticks, schedule.missed, self._lateness.timing(), self._busy.timing())

    def _start(self, now_s: float) -> float:
        if self._phase_s is None:
            return now_s
        period_s = 1.0 / self._rate_hz
        return math.ceil((now_s - self._phase_s) / period_s) * period_s + self._phase_s

    def _run(self) -> None:
        if self._realtime:
            use_realtime_priority(_LOOP_PRIORITY)
        schedule = self._schedule = Schedule(self._rate_hz, self._start(time.monotonic()))
        try:
            while not self._stop:
                wait_s = schedule.due_s - time.monotonic()
                if wait_s > 0.0:
                    time.sleep(wait_s)
                now_s = time.monotonic()
                self._lateness.add(schedule.begin(now_s))
                self._tick(now_s)
                self._busy.add(time.monotonic() - now_s)
        except BaseException as error:  # raised by `join`
            self.failure = error
            self.on_failure()


def use_realtime_priority(priority: int = _HELPER_PRIORITY) -> None:
    """Give this thread, and threads that it starts later, a low real-time priority (SCHED_RR), above ordinary ones.

    For the other threads of a process with a `realtime` loop. The loop may wait for a thread that holds the
    interpreter's lock or one of DDS; with ordinary priority that thread can wait for a processor for 0.3 s. Without the
    permission nothing changes.
    """
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(priority))
