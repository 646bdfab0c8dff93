"""StopCondition: decides when the live part of the demo ends. Pure: no clock, no fleet."""

from __future__ import annotations

SETTLE_S = 12.0
"""After the confirmation, the demo waits at least so long for a new version."""
SETTLE_SHARE = 0.3
"""It waits this share of the time to the improvement, if longer: a slow machine needs longer for the next one, too."""
RESOLVED_S = 3.0
"""It ends only after no task has failed for this long. A gate that was just restarted reports none, hence the wait."""
MAX_SETTLE_S = 240.0
"""The demo ends this long after the improvement in any case, or when the time to it has passed once more.

Where a version of 90 % is to be improved, a trial may take 300 pairs, and it is not always the first one.
"""


class StopCondition:
    """Gets the state of the fleet at each look, with the time in seconds of a steady clock.

    An improvement is a version that showed `tti.IMPROVED_SUCCESS` live; a confirmation asks for more.
    """

    def __init__(self) -> None:
        self._began_s: float | None = None
        self._improved_s: float | None = None
        self.is_confirmed = False
        """Whether a version has been confirmed at any time."""
        self._newest, self._newest_s, self._failed_s = 0, 0.0, 0.0

    @property
    def is_improved(self) -> bool:
        """Whether there has been an improvement at any time."""
        return self._improved_s is not None

    def left_s(self, now_s: float) -> float | None:
        """How long the live part still lasts at most; None before the improvement."""
        if self._began_s is None or self._improved_s is None:
            return None
        return self._improved_s + max(MAX_SETTLE_S, self._improved_s - self._began_s) - now_s

    def reached(self, now_s: float, *, improved: bool, confirmed: bool, production: int, still_fails: bool) -> bool:
        """Whether the live part is over. `production`: version in production, 0 while it is unknown."""
        if self._began_s is None:
            self._began_s = now_s
        if self._improved_s is None:
            if not improved:
                return False
            self._improved_s = self._newest_s = now_s
        if (production and production != self._newest) or (confirmed and not self.is_confirmed):
            self._newest, self._newest_s = production or self._newest, now_s
        self.is_confirmed = self.is_confirmed or confirmed
        if still_fails:
            self._failed_s = now_s
        is_settled = now_s - self._newest_s > max(SETTLE_S, SETTLE_SHARE * (self._improved_s - self._began_s))
        if self.is_confirmed and is_settled and now_s - self._failed_s > RESOLVED_S:
            return True
        left_s = self.left_s(now_s)
        return left_s is not None and left_s < 0.0
