"""Practice: how explorers try each failing class, and when the policy takes over."""

from __future__ import annotations

from collections import deque

import msgspec
import numpy as np

from floop_robot.explore.stall_limit import StallLimit
from floop_robot.explore.success_search import Space, SuccessSearch
from floop_robot.spec.scenario import Scenario

POLICY_EPISODES = 20
"""Latest episodes of the policy itself that tell how well it does a class."""
SUCCEEDS = 0.9
"""Up to this success of the policy itself tries are needed as much as before; above, less and less.

A policy that was taught by one way does as well as this way. What brings it further is a better one.
"""
HARD_SCENARIOS = 20
"""Latest scenarios that are kept because a try failed at them."""
HARD_SHARE = 0.5
"""Share of tries of a new way at these: there a good way differs most from one that is good by luck.

The best way so far is repeated elsewhere. It would fail again where it failed, and look worse than it is.
"""
SOLVED, UNSOLVABLE = 3, 8
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


class ClassPractice:
    """What practice with one class of objects taught."""

    def __init__(self, space: Space) -> None:
        self.search = SuccessSearch(space)
        self.hard = HardScenarios()
        self.stall_limit = StallLimit()
        """Learned from this class only: known tasks rarely stall, first successes at a new class do."""
        self._policy_successes: deque[bool] = deque(maxlen=POLICY_EPISODES)

    def policy_outcome(self, success: bool) -> None:
        """Take in an episode of the policy itself."""
        self._policy_successes.append(success)

    @property
    def tries_needed(self) -> float:
        """How much tries are needed beside the policy's own episodes, from 1 (it hardly succeeds) to 0 (always)."""
        latest = self._policy_successes
        success = sum(latest) / len(latest) if latest else 0.0
        return min(1.0, (1.0 - success) / (1.0 - SUCCEEDS))
