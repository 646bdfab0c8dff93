"""What computing costs in virtual time: nothing, or the time of a few cores that processes share."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec

SLICE_S: Final = 0.1
"""Virtual time between two looks at what the processes have made for each other."""
_WEIGHT_STEP: Final = 1.25
"""A nice value one higher divides a process's weight by so much (`sched_prio_to_weight` of Linux)."""

Work = Mapping[str, Callable[[], bool]]
"""By process: does a piece of its work, or returns False when there is nothing to do now."""


class VirtualCores(Protocol):
    """Lets processes work in virtual time."""

    slice_s: float
    """Virtual seconds of a slice; a whole number of them makes a second."""

    def run(self, work: Work) -> None:
        """Let the processes work for a slice."""


class FreeCores:
    """Computing takes no time: each process does all there is to do, one after the other."""

    slice_s = 1.0

    def run(self, work: Work) -> None:
        """Let the processes work for a slice."""
        for piece in work.values():
            while piece():
                pass


class _Process(msgspec.Struct):
    busy_until_s: list[float]
    """Virtual time at which the last piece of each of its threads ends."""
    used_s: float = 0.0
    """CPU seconds, divided by its weight when it used them."""


class SharedCores:
    """A few cores, shared as Linux shares them: whoever had least for its weight goes first.

    A piece of work costs the CPU time that it takes on this machine. A process has one thread, or as many as it is
    given; they share its weight, as the processes of one session do. What idle cores could have done is lost; a piece
    that takes longer than its slice is paid for in the next ones.
    """

    slice_s = SLICE_S

    def __init__(
        self,
        cores: float,
        nice: Callable[[str], int],
        clock_s: Callable[[], float] = time.process_time,
        threads: Mapping[str, int] | None = None,
    ) -> None:
        """`nice`: nice value of a process now; `clock_s`: CPU seconds spent so far; `threads`: where not 1."""
        self._cores, self._nice, self._clock_s, self._threads = cores, nice, clock_s, threads or {}
        self._now_s = self._busy_until_s = 0.0
        self._processes: dict[str, _Process] = {}

    def run(self, work: Work) -> None:
        """Let the processes work for a slice."""
        self._now_s += self.slice_s
        idle: set[str] = set()
        while self._busy_until_s < self._now_s and (name := self._next(work, idle)):
            began_s = self._clock_s()
            if not work[name]():
                idle.add(name)
            self._charge(name, self._clock_s() - began_s)
        self._busy_until_s = max(self._busy_until_s, self._now_s)
        least = min((self._processes[name].used_s for name in work if name not in idle), default=0.0)
        for name in idle:  # who had nothing to do is not owed for it
            self._processes[name].used_s = max(self._processes[name].used_s, least)

    def _next(self, work: Work, idle: set[str]) -> str:
        """The process that goes next; empty when none can."""
        ready = [
            (process.used_s, name)
            for name in work
            if name not in idle and min((process := self._process(name)).busy_until_s) < self._now_s
        ]
        return min(ready)[1] if ready else ""

    def _process(self, name: str) -> _Process:
        if name not in self._processes:
            self._processes[name] = _Process([0.0] * self._threads.get(name, 1))
        return self._processes[name]

    def _charge(self, name: str, cost_s: float) -> None:
        process, began_s = self._processes[name], self._now_s - self.slice_s
        self._busy_until_s = max(self._busy_until_s, began_s) + cost_s / self._cores
        thread = process.busy_until_s.index(min(process.busy_until_s))
        process.busy_until_s[thread] = max(process.busy_until_s[thread], began_s) + cost_s
        process.used_s += cost_s * _WEIGHT_STEP ** self._nice(name)
