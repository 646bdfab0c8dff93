"""WaySearch: finds a way that succeeds, and repeats it.

Whoever learns from tries wants them all alike: many ways succeed, and the mean of two may be none. So ways are repeated
exactly. Ways are infinitely many, and most differ in how often they succeed:

* A new way is tried until it fails, then another new one ("1-failure strategy", Berry et al. 1997, "Bandit problems
  with infinitely many arms"). So most tries go to ways that rarely fail.
* A share of the tries repeats the best way so far. It may be one that failed now and then.

The space may name ways to begin with. Each is tried until it failed some times, not once, since it is more probable.
Then comes the best way at other work: what takes flat boxes often takes flat cylinders, too. Other new ways are
the most promising of many that are drawn, anywhere or near those that did best. Ways near each other do alike. So a way
that was never tried has an estimate, by the tries near it, and an upper bound: a Gaussian process bandit in small
(Srinivas et al. 2010), with counts and a kernel. Before the first success the choice is chance. While few ways
succeeded, the tries that came furthest stand in for them.
"""

from __future__ import annotations

import itertools
from collections import deque

import msgspec
import numpy as np

from floop_robot.explore.search_space import Space, Values
from floop_robot.stats.intervals import beta_lower_bound

MAX_WAYS = 64
"""Ways that are kept; beyond, the worst is given up."""
FEW = 8
"""With fewer ways that succeeded than this, tries that came far stand in for them."""
RECENT = 50
"""Latest tries that one is compared with to tell whether it came far."""
FAR = 0.8
"""Share of these that it must surpass."""
FORGET = 0.97
"""What a way's record keeps with each try of it: about the latest thirty tell whether it still succeeds."""
REPEAT_SHARE = 0.3
"""Share of tries that repeat the best way so far."""
DRAWN = 32
"""Ways that are drawn for a new one; the most promising is taken."""
ANYWHERE_SHARE = 0.3
"""Share of them that are drawn anywhere, once some ways did well; the others are drawn near those."""
PARENTS = 8
"""Best ways near which others are drawn."""
REMEMBERED = 200
"""Latest tries that tell how promising a way is."""
DOUBT = 2.0
"""Tries of average success that count for each way beside those near it."""
FIRST_FAILURES = 3
"""Of a way that the space names, before another one is tried."""
PROVEN = 0.5
"""Worth from which on a way is told to the searches of other work: two successes of two tries."""


class Way(msgspec.Struct):
    """A point and its record; older tries count less (`FORGET`)."""

    point: Values
    successes: float = 0.0
    tries: float = 0.0
    patience: int = 1
    """Failures until another new way is tried."""

    @property
    def worth(self) -> float:
        """Success that it surely has."""
        return beta_lower_bound(self.successes, self.tries)


class WayTry(msgspec.Struct, frozen=True):
    """A way to try."""

    way: Way
    is_new: bool = True
    """Whether it is on trial; False where the best way so far is repeated."""

    @property
    def point(self) -> Values:
        """Where it lies."""
        return self.way.point


class WaySearch:
    """Search of one kind of work: `draw` a point, try it, then tell `outcome`."""

    def __init__(self, space: Space, work: str = "", best: dict[str, Values] | None = None) -> None:
        """`best`: the best way at each kind of work, shared by the searches; `work`: which one this is."""
        self._space, self._work, self._best = space, work, {} if best is None else best
        self._taken: dict[str, Values] = {}
        """The way of each other work that was tried last."""
        self._ways: list[Way] = []
        self._tries: deque[tuple[Values, bool]] = deque(maxlen=REMEMBERED)
        self._stand_ins: deque[Way] = deque(maxlen=FEW)
        self._scores: deque[float] = deque(maxlen=RECENT)
        self._run: Way | None = None
        """The new way that is tried until it fails."""
        self._first = [Way(point, patience=FIRST_FAILURES) for point in reversed(space.first)]

    @property
    def ways(self) -> tuple[Way, ...]:
        """Those that succeeded."""
        return tuple(self._ways)

    def draw(self, rng: np.random.Generator) -> WayTry:
        """What to try next; hand it to `outcome`."""
        if self._ways and rng.random() < REPEAT_SHARE:
            return WayTry(max(self._ways, key=lambda way: way.worth), is_new=False)
        if self._run is None:
            self._run = self._first.pop() if self._first else Way(self._new(rng))
        return WayTry(self._run)

    def outcome(self, tried: WayTry, *, success: bool, score: float = 0.0) -> None:
        """Take in what came of a try; `score` says how far it came."""
        came_far = len(self._scores) >= FEW and score > float(np.quantile(self._scores, FAR))
        self._scores.append(score)
        self._tries.append((tried.point, success))
        way, is_first = tried.way, tried.way.successes == 0.0
        way.successes, way.tries = FORGET * way.successes + success, FORGET * way.tries + 1.0
        if way is self._run and not success:
            way.patience -= 1
            if way.patience == 0:
                self._run = None
        if success and is_first:
            self._ways.append(way)
            if len(self._ways) > MAX_WAYS:
                del self._ways[min(range(MAX_WAYS), key=lambda i: self._ways[i].worth)]
        elif came_far and way.successes == 0.0:
            self._stand_ins.append(way)
        if success and way.worth > PROVEN and way is max(self._ways, key=lambda each: each.worth):
            self._best[self._work] = way.point

    def _new(self, rng: np.random.Generator) -> Values:
        if (point := self._other_best()) is not None:
            return point
        best = sorted(self._ways, key=lambda way: way.worth)[-PARENTS:]
        parents = [*best, *itertools.islice(reversed(self._stand_ins), max(0, FEW - len(best)))]
        drawn = [
            self._space.draw(rng)
            if not parents or rng.random() < ANYWHERE_SHARE
            else self._space.near(parents[int(rng.integers(len(parents)))].point, rng)
            for _ in range(DRAWN)
        ]
        if not any(success for _, success in self._tries):
            return drawn[0]  # by failures alone, what is far from all tries would look best
        return drawn[int(np.argmax(self._promise(np.array(drawn))))]

    def _other_best(self) -> Values | None:
        """What does best at other work and was not tried here yet."""
        for work, point in self._best.items():
            is_own = any(way.point is point for way in self._ways)  # another search may have it from this one
            if work != self._work and not is_own and self._taken.get(work) is not point:
                self._taken[work] = point
                return point
        return None

    def _promise(self, points: Values) -> Values:
        """Success that each point may have, shape (k,): mean and a standard deviation of its beta distribution."""
        tried, outcomes = np.array([point for point, _ in self._tries]), np.array([ok for _, ok in self._tries], float)
        near = self._space.closeness(points, tried)
        average = min(max(float(outcomes.mean()), 0.05), 0.95)
        count = near.sum(axis=1) + DOUBT
        mean = (near @ outcomes + DOUBT * average) / count
        promise: Values = mean + np.sqrt(mean * (1.0 - mean) / (count + 1.0))
        return promise
