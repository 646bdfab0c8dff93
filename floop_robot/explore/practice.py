"""Practice: how explorers try each failing class, and when the policy takes over."""

from __future__ import annotations

from collections import deque

from floop_robot.explore.stall_limit import StallLimit
from floop_robot.explore.success_search import Space, SuccessSearch

POLICY_EPISODES = 20
"""Latest episodes of the policy itself that tell how well it does a class."""


class ClassPractice:
    """What practice with one class of objects taught."""

    def __init__(self, space: Space) -> None:
        self.search = SuccessSearch(space)
        self.stall_limit = StallLimit()
        """Learned from this class only: known tasks rarely stall, first successes at a new class do."""
        self._policy_successes: deque[bool] = deque(maxlen=POLICY_EPISODES)

    def policy_outcome(self, success: bool) -> None:
        """Take in an episode of the policy itself."""
        self._policy_successes.append(success)

    @property
    def policy_success(self) -> float:
        """Share of its latest episodes in which the policy itself succeeded; 0 before the first."""
        latest = self._policy_successes
        return sum(latest) / len(latest) if latest else 0.0
