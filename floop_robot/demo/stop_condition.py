"""StopCondition: decides when the live part of the demo ends. Pure: no clock, no fleet."""

from __future__ import annotations

SETTLE_S = 12.0
"""After the confirmation, the demo ends when no new version was published for this long …"""
SETTLE_SHARE = 0.3
"""… or for this share of the time to the confirmation: a slow machine needs longer for the next version, too …"""
RESOLVED_S = 3.0
"""… and no tasks were failing for this long. A gate that has just been restarted reports none, hence the wait."""
MAX_SETTLE_S = 100.0
"""The demo ends this long after the confirmation in any case, or when the time to it has passed once more."""


class StopCondition:
    """Gets the state of the fleet at each look, with the time in seconds of a steady clock."""

    def __init__(self) -> None:
        self._began_s: float | None = None
        self._confirmed_s: float | None = None
        self._newest, self._newest_s, self._failed_s = 0, 0.0, 0.0

    @property
    def is_confirmed(self) -> bool:
        """Whether an improvement has been confirmed at any time."""
        return self._confirmed_s is not None

    def reached(self, now_s: float, *, confirmed: bool, production: int, still_fails: bool) -> bool:
        """Whether the live part is over. `production`: version in production, 0 while it is unknown."""
        if self._began_s is None:
            self._began_s = now_s
        if self._confirmed_s is None:
            if not confirmed:
                return False
            self._confirmed_s = self._newest_s = now_s
        if production and production != self._newest:
            self._newest, self._newest_s = production, now_s
        if still_fails:
            self._failed_s = now_s
        took_s = self._confirmed_s - self._began_s
        is_settled = now_s - self._newest_s > max(SETTLE_S, SETTLE_SHARE * took_s)
        if is_settled and now_s - self._failed_s > RESOLVED_S:
            return True
        return now_s - self._confirmed_s > max(MAX_SETTLE_S, took_s)
