"""ExplorationRateLimiter: how many rows an explorer may make before the learner shows that it keeps up."""

from __future__ import annotations

PATIENCE_S = 5.0
"""After this long without new weights the same ones are explored again: the rows may be lost with a killed learner."""


class ExplorationRateLimiter:
    """Grants rows for each set of new weights."""

    def __init__(self, rows: int, clock_s: float) -> None:
        """`rows`: the grant; `clock_s`: steady seconds now."""
        self._rows, self._left, self._since_s = rows, 0, clock_s

    def new_weights(self, now_s: float) -> None:
        """Grant rows for new weights, on top of at most one unused grant."""
        self._left = min(self._left, self._rows) + self._rows
        self._since_s = now_s

    def spend(self, rows: int) -> None:
        """Note the rows of an episode."""
        self._left -= rows

    def may_explore(self, now_s: float) -> bool:
        """Whether another episode may begin."""
        if self._left <= 0 and now_s - self._since_s > PATIENCE_S:
            self._left, self._since_s = self._rows, now_s
        return self._left > 0
