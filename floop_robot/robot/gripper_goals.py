"""GripperGoals: when a gripper that is driven by actions gets a new goal.

A gripper command comes in every servo tick, and vendors' action servers take seconds for one goal. Some begin the next
beside it (Franka), some ignore a cancel (xArm). So one goal is under way at a time; one that is no longer wanted is
cancelled, and the newest follows when it has ended.
"""

from __future__ import annotations

import enum
from typing import Final

MIN_CHANGE: Final = 0.05
"""A goal must differ from the last by this share of the stroke: policies never say the same width twice."""
GOAL_TIMEOUT_S: Final = 10.0
"""A goal whose end was not heard of for so long is taken as ended: its server died."""
RETRY_S: Final = 1.0
"""After a goal that was not accepted, or had no server, the next try comes this much later."""


class GoalStep(enum.Enum):
    """What to do now."""

    NOTHING = enum.auto()
    SEND = enum.auto()
    CANCEL = enum.auto()


class GripperGoals:
    """Decides about goals. One thread asks, and tells what came of them."""

    def __init__(self, stroke: float) -> None:
        """`stroke`: difference of the joint's two end positions, rad or m."""
        self._least = MIN_CHANGE * abs(stroke)
        self._goal: float | None = None
        """Position of the goal under way, or of the last one that was accepted."""
        self._is_under_way = self._is_cancelled = False
        self._since_s = self._not_before_s = 0.0

    def step(self, position: float, now_s: float, *, can_cancel: bool = True) -> GoalStep:
        """What to do for a gripper that shall be at `position` (rad or m). SEND and CANCEL count as done."""
        differs = self._goal is None or abs(position - self._goal) > self._least
        if self._is_under_way and now_s - self._since_s < GOAL_TIMEOUT_S:
            if not differs or self._is_cancelled or not can_cancel:
                return GoalStep.NOTHING
            self._is_cancelled = True
            return GoalStep.CANCEL
        if not differs or now_s < self._not_before_s:
            return GoalStep.NOTHING
        self._goal, self._is_under_way, self._is_cancelled, self._since_s = position, True, False, now_s
        return GoalStep.SEND

    def ended(self) -> None:
        """The goal has a result, whatever it is: a gripper that holds something never reaches its position."""
        self._is_under_way = False

    def failed(self, now_s: float) -> None:
        """There is no server, or it did not accept the goal."""
        self._goal, self._is_under_way, self._not_before_s = None, False, now_s + RETRY_S
