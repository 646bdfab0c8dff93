"""GripEstimator: whether fingers hold something, where the gripper does not measure how hard they press.

Fingers that shall close, have room to, and stand still are held apart by something. It is taken for the object where
they are no farther apart than the object is large; the task's rules also look where the object is, and how high.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from floop_robot.robot.controller import GRIP_FORCE_N
from floop_robot.robot.messages import PerceivedObject
from floop_robot.spec.layout import Vector
from floop_robot.spec.robot_model import Gripper

ROOM_M: Final = 0.0015
"""Fingers that are wanted at least this much closer shall close."""
STILL_M: Final = 0.0014
"""Fingers stand that move less than this in a policy step; the slowest grippers move farther."""
OPEN_SHARE: Final = 0.95
"""From this share of their full width on, fingers have not begun to close."""
SIZE_MARGIN_M: Final = 0.01
"""By how much fingers may be farther apart than the perceived object is large."""
CLOSING_STEPS: Final = 2
"""Steps in a row in which the fingers were to close: a command takes a while to act."""


class GripEstimator:
    """Estimates the force of a gripper's fingers, once per policy step."""

    def __init__(self, gripper: Gripper) -> None:
        self._max_width_m = gripper.max_width_m
        self._force_n = min(GRIP_FORCE_N, gripper.max_force_n)
        self.was_needed = False
        """It has taken fingers for holding something: grasps are judged by its rule."""
        self.reset()

    def reset(self) -> None:
        """Another episode begins."""
        self._before_m, self._closing = math.nan, 0

    def force_n(self, width_m: float, previous_action: Sequence[float] | Vector, seen: PerceivedObject | None) -> float:
        """The force of the fingers, N: what a policy asks for while they hold something, else 0.

        `previous_action`: what the last policy step executed; its last number is the width asked for.
        """
        wanted_m = (float(previous_action[-1]) + 1.0) / 2.0 * self._max_width_m
        before_m, self._before_m = self._before_m, width_m
        has_room = wanted_m <= width_m - ROOM_M and width_m < OPEN_SHARE * self._max_width_m
        self._closing = self._closing + 1 if has_room else 0
        stands = abs(width_m - before_m) < STILL_M  # not with NaN
        fits = seen is None or width_m <= math.hypot(seen.size_m[0], seen.size_m[1]) + SIZE_MARGIN_M
        if not (stands and fits and self._closing >= CLOSING_STEPS):
            return 0.0
        self.was_needed = True
        return self._force_n
