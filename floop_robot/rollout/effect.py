"""Effect: what an order has come to on the robots, after waiting for them as long as the caller likes."""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec

from floop_robot.registry import FLEET
from floop_robot.rollout.client import FleetClient
from floop_robot.rollout.messages import RobotStatus

SILENT_S = 3.0
"""A robot that was not heard for so long is not waited for."""


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """Which of the robots that an order is for have come to where it wants them."""

    robots: tuple[RobotStatus, ...]
    """Every known robot."""
    there: tuple[str, ...]
    behind: tuple[str, ...]
    silent: tuple[str, ...]
    """Those that were not heard lately, so nobody waited for them."""

    def text(self, there: str, behind: str) -> str:
        """In words: `there` and `behind` say what it means."""
        named = ((there, self.there), (behind, self.behind), ("silent", self.silent))
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in named if names)


def acting_on(
    client: FleetClient, version: int, scope: str, wait_s: float, stop: threading.Event | None = None
) -> Effect:
    """Wait until the robots of `scope` that shall act on `version` do."""

    def is_meant(robot: RobotStatus) -> bool:
        return scope in (FLEET, robot.robot) and robot.target == version

    return _wait(client, is_meant, lambda robot: robot.acting >= version, wait_s, stop)


def drained(
    client: FleetClient, drain: bool, scope: str, wait_s: float, stop: threading.Event | None = None
) -> Effect:
    """Wait until the robots of `scope` have ended their episodes and stand; or, with `drain` false, may work again."""

    def is_there(robot: RobotStatus) -> bool:
        return robot.drained and robot.idle if drain else not robot.drained

    return _wait(client, lambda robot: scope in (FLEET, robot.robot), is_there, wait_s, stop)


def _wait(
    client: FleetClient,
    is_meant: Callable[[RobotStatus], bool],
    is_there: Callable[[RobotStatus], bool],
    wait_s: float,
    stop: threading.Event | None,
) -> Effect:
    meant = [robot for robot in client.robots().robots if is_meant(robot)]
    silent = {robot.robot for robot in meant if robot.silent_s > SILENT_S}
    heard = {robot.robot for robot in meant} - silent
    found = client.wait_for(heard, is_there, wait_s, stop).robots
    there = {robot.robot for robot in found if robot.robot in heard and is_there(robot)}
    return Effect(
        robots=found,
        there=tuple(sorted(there)),
        behind=tuple(sorted(heard - there)),
        silent=tuple(sorted(silent)),
    )
