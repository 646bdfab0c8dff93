"""Practice: how explorers try each failing class, and when the policy takes over."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

import msgspec
import numpy as np

from floop_robot.explore.search_space import Space, Values
from floop_robot.explore.stall_limit import StallLimit
from floop_robot.explore.success_search import SuccessSearch
from floop_robot.explore.way_search import WaySearch
from floop_robot.spec.scenario import Scenario

POLICY_EPISODES = 20
"""Latest episodes of the policy itself that tell how well it does a class."""
SUCCEEDS = 0.9
"""One way: up to this success of the policy itself, all tries are needed that there is a share for; above, fewer.

A policy that was taught by one way does as well as this way. What brings it further is a better one.
"""
HARD_SCENARIOS = 20
"""Latest scenarios that are kept because a try failed at them."""
HARD_SHARE = 0.5
"""Share of tries of a new way at these: there a good way differs most from one that is good by luck.

The best way so far is repeated elsewhere. It would fail again where it failed, and look worse than it is.
"""
SOLVED, UNSOLVABLE = 3, 4
"""A scenario is no longer kept after so many successes, or so many failures."""


class HardScenarios:
    """Scenarios at which tries failed lately (prioritized replay of levels, Jiang et al. 2021)."""

    def __init__(self) -> None:
        self._kept: deque[_Hard] = deque(maxlen=HARD_SCENARIOS)

    def draw(self, fresh: Scenario, rng: np.random.Generator) -> Scenario:
        """A scenario for a try: one of those kept, or the fresh one."""
        if not self._kept or rng.random() >= HARD_SHARE:
            return fresh
        return self._kept[int(rng.integers(len(self._kept)))].scenario

    def outcome(self, scenario: Scenario, success: bool) -> None:
        """Take in what came of a try."""
        kept = next((each for each in self._kept if each.scenario is scenario), None)
        if kept is None:
            if not success:
                self._kept.append(_Hard(scenario))
            return
        kept.successes += success
        kept.failures += not success
        if kept.successes >= SOLVED or kept.failures >= UNSOLVABLE:
            self._kept = deque((each for each in self._kept if each is not kept), maxlen=HARD_SCENARIOS)


class _Hard(msgspec.Struct):
    scenario: Scenario
    successes: int = 0
    failures: int = 1


class PlannedTry(NamedTuple):
    """A try to make."""

    point: Values
    """What is tried: a point of the `Space`."""
    scenario: Scenario
    tell: Callable[[bool, float], None]
    """Takes what came of it: success, and how far it came."""


class ClassPractice(Protocol):
    """What practice with one class of objects taught."""

    policy_outcomes: PolicyOutcomes
    stall_limit: StallLimit
    """Learned from this class only: known tasks rarely stall, first successes at a new class do."""

    @property
    def tries_needed(self) -> float:
        """How much tries are needed beside the policy's own episodes, from 1 (it hardly succeeds) to 0 (always)."""
        ...

    def plan(self, fresh: Scenario, rng: np.random.Generator) -> PlannedTry:
        """What to try next, in a fresh scenario or another one."""
        ...

    def forget_scenarios(self) -> None:
        """The robots' worlds are known to be others now."""
        ...


class PolicyOutcomes:
    """How the policy itself did of late."""

    def __init__(self) -> None:
        self._latest: deque[bool] = deque(maxlen=POLICY_EPISODES)

    def add(self, success: bool) -> None:
        """Take in an episode."""
        self._latest.append(success)

    @property
    def success(self) -> float:
        """Share of its latest episodes that succeeded; 0 before the first."""
        return sum(self._latest) / len(self._latest) if self._latest else 0.0


class VariedPractice:
    """For critics, which learn from variety: each try is another one."""

    def __init__(self, space: Space) -> None:
        self.policy_outcomes, self.stall_limit = PolicyOutcomes(), StallLimit()
        self.search = SuccessSearch(space)

    @property
    def tries_needed(self) -> float:
        """The less, the more the policy succeeds."""
        return 1.0 - self.policy_outcomes.success

    def plan(self, fresh: Scenario, rng: np.random.Generator) -> PlannedTry:
        """Another try, in the fresh scenario."""
        tried = self.search.draw(rng)
        return PlannedTry(
            tried.point, fresh, lambda success, score: self.search.outcome(tried, success=success, score=score)
        )

    def forget_scenarios(self) -> None:
        """It keeps none."""


class OneWayPractice:
    """For cloning, whose examples should be alike: tries repeat the way that succeeds best."""

    def __init__(self, space: Space, name: str = "", best: dict[str, Values] | None = None) -> None:
        """`best`: the best way at each class, shared with the practice of other classes; `name`: this one."""
        self.policy_outcomes, self.stall_limit = PolicyOutcomes(), StallLimit()
        self.search, self.hard = WaySearch(space, name, best), HardScenarios()

    @property
    def tries_needed(self) -> float:
        """As much as there is a share for, until the policy hardly fails."""
        return min(1.0, (1.0 - self.policy_outcomes.success) / (1.0 - SUCCEEDS))

    def plan(self, fresh: Scenario, rng: np.random.Generator) -> PlannedTry:
        """A new way, half of the time where tries failed; or the best one, in the fresh scenario."""
        tried = self.search.draw(rng)
        scenario = self.hard.draw(fresh, rng) if tried.is_new else fresh

        def tell(success: bool, score: float) -> None:
            self.search.outcome(tried, success=success, score=score)
            self.hard.outcome(scenario, success)

        return PlannedTry(tried.point, scenario, tell)

    def forget_scenarios(self) -> None:
        """Begin anew with those where tries fail."""
        self.hard = HardScenarios()
