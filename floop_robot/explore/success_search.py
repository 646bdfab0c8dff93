"""SuccessSearch: draws points near those that succeeded, in the manner of the cross-entropy method (Rubinstein 1999).

A share of the points is drawn anywhere, for variety. The others are drawn near earlier ones, their parents:

* Parents are successes. While these are few, the tries that came furthest stand in for them.
* Parents whose children succeed weigh more, so what no longer works is forgotten.
* Parents in crowded places weigh less. Otherwise the few found first would become the parents of all that follow, and
  the search would narrow to a point of a wide region of success.
"""

from __future__ import annotations

from collections import deque

import msgspec
import numpy as np

from floop_robot.explore.search_space import Space, Values

MAX_PARENTS = 64
"""Latest parents that are kept."""
FEW = 8
"""With fewer successes than this, tries that came far stand in for them."""
RECENT = 50
"""Latest tries that one is compared with to tell whether it came far."""
FAR = 0.8
"""Share of these that it must surpass."""
FORGET = 0.9
"""What a parent's count of children keeps with each child: about the latest ten tell whether it still succeeds."""
ANYWHERE_SHARE = 0.2
"""Share of points that are drawn anywhere, once there are parents."""


class _Parent(msgspec.Struct):
    point: Values
    success: bool
    """False for a stand-in."""
    good: float = 1.0
    """Children that succeeded or came far. Older ones count less (`FORGET`), and one counts from the start."""
    children: float = 1.0
    """All children, counted likewise."""


class Try(msgspec.Struct, frozen=True):
    """A point to try, and the parent that it was drawn near; None if it was drawn anywhere."""

    point: Values
    parent: _Parent | None


class SuccessSearch:
    """Search of one kind of work: `draw` a point, try it, then tell `outcome`."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._parents: deque[_Parent] = deque(maxlen=MAX_PARENTS)
        self._scores: deque[float] = deque(maxlen=RECENT)

    @property
    def parents(self) -> tuple[Values, ...]:
        """Points that new ones are drawn near."""
        return tuple(parent.point for parent in self._parents)

    def draw(self, rng: np.random.Generator) -> Try:
        """What to try next; hand it to `outcome`."""
        parent = None
        if self._parents and rng.random() >= ANYWHERE_SHARE:
            parent = self._parents[int(rng.choice(len(self._parents), p=self._weights()))]
        point = self._space.near(parent.point, rng) if parent else self._space.draw(rng)
        return Try(point, parent)

    def outcome(self, tried: Try, *, success: bool, score: float = 0.0) -> None:
        """Take in what came of a try; `score` says how far it came."""
        successes = sum(parent.success for parent in self._parents)
        came_far = successes < FEW and len(self._scores) >= FEW and score > float(np.quantile(self._scores, FAR))
        self._scores.append(score)
        if (parent := tried.parent) is not None:
            parent.good = FORGET * parent.good + (success or came_far)
            parent.children = FORGET * parent.children + 1.0
        if success or came_far:
            self._parents.append(_Parent(tried.point, success))
        if success and successes + 1 == FEW:
            self._parents = deque((parent for parent in self._parents if parent.success), maxlen=MAX_PARENTS)

    def _weights(self) -> Values:
        points = np.stack([parent.point for parent in self._parents])
        crowd = np.array([np.count_nonzero(self._space.are_near(point, points)) for point in points])
        rates = np.array([parent.good / parent.children for parent in self._parents])
        weights = np.maximum(rates, 1e-3) ** 2 / crowd
        total: Values = weights / weights.sum()
        return total
