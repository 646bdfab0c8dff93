"""EffortWatch: joint efforts beyond the description's limits, for longer than a contact's first peak."""

from __future__ import annotations

import math
from typing import Final

from floop_robot.robot.messages import RobotState
from floop_robot.spec.robot_model import RobotModel

EFFORT_S: Final = 0.1
"""How long an effort must stay beyond its limit: peaks of starting, braking and touching are shorter."""
EFFORT_STATES: Final = 3
"""And in how many states in a row."""


class EffortWatch:
    """Watches the efforts that the driver reports. Unknown ones (NaN, or none at all) are within limits."""

    def __init__(self, model: RobotModel) -> None:
        self._names, self._limits = model.joint_names, model.limits.effort_nm
        self._count, self._since_s = 0, 0.0
        self.unknown: tuple[str, ...] | None = None
        """Joints whose effort has a limit, but was unknown in the last state; None before the first."""

    def excess(self, state: RobotState) -> str:
        """Why the arm must stop, or an empty text."""
        if not self._limits:
            return ""
        known = state.effort_nm or (math.nan,) * len(self._names)
        self.unknown = tuple([name for name, x in zip(self._names, known, strict=False) if x != x])
        i = self._beyond(state)
        if i is None:
            self._count = 0
            return ""
        self._count += 1
        if self._count == 1:
            self._since_s = state.mono_s
        past_s = state.mono_s - self._since_s
        if self._count < EFFORT_STATES or past_s < EFFORT_S - 1e-6:
            return ""
        self._count = 0
        limit, found = self._limits[i], state.effort_nm[i]
        span = f"its range is {-limit:g} to {limit:g} N·m"
        return f"effort of {self._names[i]} is {found:.4g} N·m for {past_s:.2g} s, {span}"

    def _beyond(self, state: RobotState) -> int | None:
        if len(state.effort_nm) != len(self._limits):
            return None
        for i, (effort, limit) in enumerate(zip(state.effort_nm, self._limits, strict=True)):
            if abs(effort) > limit:
                return i
        return None
