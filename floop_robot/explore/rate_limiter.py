"""ExplorationRateLimiter: how many rows an explorer may make before the learner shows that it keeps up."""

from __future__ import annotations

from collections.abc import Callable

PATIENCE_S = 5.0
"""After this long without new weights the same ones are explored again: the rows may be lost with a killed learner."""


class ExplorationRateLimiter:
    """Grants rows for each set of new weights."""

    def __init__(self, rows: int, clock: Callable[[], float]) -> None:
        """`rows`: the grant; `clock`: steady seconds."""
        self._rows, self._clock = rows, clock
        self._left, self._since_s = 0, clock()

    def new_weights(self) -> None:
        """Grant rows for new weights, on top of at most one unused grant."""
        self._left = min(self._left, self._rows) + self._rows
        self._since_s = self._clock()

    def spend(self, rows: int) -> None:
        """Note the rows of an episode."""
        self._left -= rows

    def may_explore(self) -> bool:
        """Whether another episode may begin."""
        if self._left <= 0 and self._clock() - self._since_s > PATIENCE_S:
            self._left, self._since_s = self._rows, self._clock()
        return self._left > 0
