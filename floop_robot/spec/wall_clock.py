"""WallClock: stamps for people and reports, from a clock that may be wrong.

A computer without a battery starts in 1970 until it hears of the time, and a mistyped date lies decades ahead. Nothing
that decides may rest on a stamp: order is by key, and durations are of the steady clock.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

YEAR_NS: Final = 31_556_952 * 1_000_000_000
EARLIEST_NS: Final = 50 * YEAR_NS
"""2020: before this floop was written."""
LATEST_NS: Final = 86 * YEAR_NS
"""2056."""
UNKNOWN_NS: Final = 0
"""The stamp of what happened while the clock was implausible."""


def is_plausible(stamp_ns: int) -> bool:
    """Whether a stamp can be true."""
    return EARLIEST_NS <= stamp_ns < LATEST_NS


def wall_clock_ns() -> int:
    """The wall clock, ns; `UNKNOWN_NS` while it is implausible."""
    now_ns = time.time_ns()
    return now_ns if is_plausible(now_ns) else UNKNOWN_NS


class WallClock:
    """Call it for a stamp; it logs one line when the clock becomes implausible, and when it can be believed again."""

    def __init__(self, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._clock_ns = clock_ns
        self._is_plausible = True

    def __call__(self) -> int:
        """A stamp for now."""
        now_ns = self._clock_ns()
        if is_plausible(now_ns) != self._is_plausible:
            self._is_plausible = not self._is_plausible
            if self._is_plausible:
                log.warning("this computer's clock is plausible again; records are stamped with it")
            else:
                year = 1970 + now_ns // YEAR_NS
                log.error(
                    "this computer's clock says year %d: records get no time (stamp_ns 0) until it is set right; "
                    "their order is kept",
                    year,
                )
        return now_ns if self._is_plausible else UNKNOWN_NS
