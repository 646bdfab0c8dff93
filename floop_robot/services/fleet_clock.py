"""FleetClock: the stamps of a fleet manager, which its deadlines are measured with."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from floop_robot.spec.local_time import local_time
from floop_robot.spec.wall_clock import EARLIEST_NS, is_plausible

log = logging.getLogger(__name__)

CORRECTION_NS: Final = 2 * 3600 * 1_000_000_000
"""A wall clock that differs by more was set right, or wrong: stamps follow it."""


class FleetClock:
    """Wall-clock nanoseconds at the pace of the steady clock; call it for a stamp.

    They don't go back, not even behind the stamps of an earlier manager, for corrections of up to two hours: none of
    these ends a watch, prolongs one, or makes a stage of the TTI negative. A larger correction is followed, with one
    line in the log, so that no start in a wrong year is stamped for ever. An implausible clock is never followed.
    """

    def __init__(
        self,
        latest_ns: int,
        wall_ns: Callable[[], int] = time.time_ns,
        steady_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`latest_ns`: the newest stamp of an earlier manager; 0 for none."""
        self._wall_ns, self._steady_ns = wall_ns, steady_ns
        self._offset_ns = (latest_ns if is_plausible(latest_ns) else EARLIEST_NS) - steady_ns()
        now_ns = wall_ns()
        if not is_plausible(now_ns):
            log.error("this computer's clock is implausible; until it is set right, stamps go on from the last ones")
        elif latest_ns <= now_ns or not is_plausible(latest_ns):
            self._offset_ns = now_ns - steady_ns()

    def __call__(self) -> int:
        """A stamp for now."""
        now_ns, wall_ns = self._steady_ns() + self._offset_ns, self._wall_ns()
        if abs(wall_ns - now_ns) <= CORRECTION_NS or not is_plausible(wall_ns):
            return now_ns
        log.warning("this computer's clock was set: stamps go from %s to %s", local_time(now_ns), local_time(wall_ns))
        self._offset_ns += wall_ns - now_ns
        return wall_ns
