"""TargetSuccesses: how often an explorer succeeded at each failing class, since that class began to fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection


class TargetSuccesses:
    """Counts successes of practice by class; for one thread.

    A class may fail on some robots, or at some sizes, while an explorer's known tasks of it succeed. These don't count.
    """

    def __init__(self, enough: int) -> None:
        """`enough`: successes at a class beyond which they are not scarce."""
        self._enough = enough
        self._failing: frozenset[str] = frozenset()
        self._counts: Counter[str] = Counter()

    @property
    def counts(self) -> dict[str, int]:
        """Successes by failing class; classes without any are left out."""
        return dict(self._counts)

    @property
    def scarce(self) -> bool:
        """Whether a class fails at which there were not enough successes."""
        return any(self._counts[name] < self._enough for name in self._failing)

    def set_failing(self, failing: Collection[str]) -> None:
        """These classes fail now; what is known of others is forgotten, so that they begin anew."""
        self._failing = frozenset(failing)
        for name in set(self._counts) - self._failing:
            del self._counts[name]

    def forget(self, object_class: str) -> None:
        """What was achieved at a class tells nothing any more."""
        self._counts.pop(object_class, None)

    def note(self, object_class: str, success: bool) -> None:
        """An episode of practice ended."""
        if success and object_class in self._failing:
            self._counts[object_class] += 1
