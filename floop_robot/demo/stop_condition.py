"""StopCondition: when there is nothing more to wait for in an experiment. Pure: no clock, no fleet."""

from __future__ import annotations

SETTLE_S = 12.0
"""After the confirmation the loop goes on: so long without a new version …"""
RESOLVED_S = 3.0
"""… and so long without work that is reported as failing is the end; a gate that was just restarted reports none."""
MAX_SETTLE_S = 100.0
"""The end in any case, after the confirmation."""


class StopCondition:
    """Told of the fleet again and again, with the time (s, of a steady clock)."""

    def __init__(self) -> None:
        self._confirmed_s: float | None = None
        self._newest, self._newest_s, self._failed_s = 0, 0.0, 0.0

    @property
    def is_confirmed(self) -> bool:
        """Whether an improvement was confirmed; that stays so."""
        return self._confirmed_s is not None

    def reached(self, now_s: float, *, confirmed: bool, production: int, still_fails: bool) -> bool:
        """Whether it is over. `production`: the version in production; 0: it is not known just now."""
        if self._confirmed_s is None:
            if not confirmed:
                return False
            self._confirmed_s = self._newest_s = now_s
        if production and production != self._newest:
            self._newest, self._newest_s = production, now_s
        if still_fails:
            self._failed_s = now_s
        is_settled = now_s - self._newest_s > SETTLE_S and now_s - self._failed_s > RESOLVED_S
        return is_settled or now_s - self._confirmed_s > MAX_SETTLE_S
