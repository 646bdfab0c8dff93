"""FollowingError: notices an arm that does not go where it is commanded, as after a stop that its driver hides."""

from __future__ import annotations

from collections import deque

import msgspec

from floop_robot.robot.messages import Joints
from floop_robot.spec.driver_config import FOLLOWING_ERROR_RAD, FOLLOWING_ERROR_S


class FollowingErrorSettings(msgspec.Struct, frozen=True):
    """When an arm counts as one that does not follow."""

    limit_rad: float = FOLLOWING_ERROR_RAD
    window_s: float = FOLLOWING_ERROR_S


class FollowingError:
    """A joint does not follow when each command of the last `window_s` lay beyond it, on one side, by `limit_rad`.

    So a lag shorter than the window is no error, however fast the arm moves: it is where it was commanded to be.
    """

    def __init__(self, joint_names: tuple[str, ...], servo_rate_hz: float, settings: FollowingErrorSettings) -> None:
        self._names, self._settings = joint_names, settings
        self._ticks = max(1, round(settings.window_s * servo_rate_hz))
        self._commands: deque[Joints] = deque(maxlen=self._ticks)

    def clear(self) -> None:
        """Begin anew: nothing is commanded, or the command begins anew where the arm is."""
        self._commands.clear()

    def check(self, commanded: Joints, measured: Joints) -> str:
        """Take one servo tick, rad; returns what is wrong in one line, empty if nothing is."""
        self._commands.append(commanded)
        limit, window_s = self._settings.limit_rad, self._settings.window_s
        for i, (wanted, found) in enumerate(zip(commanded, measured, strict=True)):
            if len(self._commands) == self._ticks and abs(wanted - found) > limit:
                side = 1.0 if wanted > found else -1.0
                if all((each[i] - found) * side > limit for each in self._commands):
                    return (
                        f"joint {self._names[i]} does not follow: it is {abs(wanted - found):.2f} rad from its "
                        f"command, and was more than {limit:g} rad from each of the last {window_s:g} s"
                    )
        return ""
