"""Effect: what an order has come to on the robots, after waiting for them as long as the caller likes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from floop_robot.deploy.registry import FLEET
from floop_robot.deploy.client import FleetClient
from floop_robot.deploy.messages import RobotStatus

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


class Aim(msgspec.Struct, frozen=True):
    """Where an order wants which robots."""

    is_meant: Callable[[RobotStatus], bool]
    is_there: Callable[[RobotStatus], bool]

    def seen(self, robots: Iterable[RobotStatus], before: Effect | None = None) -> Effect:
        """How far they are. The first look says who is meant and who is silent; later ones are given it as `before`."""
        robots = tuple(robots)
        if before is None:
            meant = [robot for robot in robots if self.is_meant(robot)]
            silent = {robot.robot for robot in meant if robot.silent_s > SILENT_S}
            heard = {robot.robot for robot in meant} - silent
        else:
            silent, heard = set(before.silent), {*before.there, *before.behind}
        there = {robot.robot for robot in robots if robot.robot in heard and self.is_there(robot)}
        return Effect(
            robots=robots,
            there=tuple(sorted(there)),
            behind=tuple(sorted(heard - there)),
            silent=tuple(sorted(silent)),
        )


NOBODY = Aim(lambda _: False, lambda _: True)
"""Of an order that no robot has to do anything for."""


def to_act_on(version: int, scope: str) -> Aim:
    """The robots of `scope` that shall act on `version` do."""

    def is_meant(robot: RobotStatus) -> bool:
        return scope in (FLEET, robot.robot) and robot.target == version

    return Aim(is_meant, lambda robot: robot.acting >= version)


def to_drain(drain: bool, scope: str) -> Aim:
    """The robots of `scope` have ended their episodes and stand; or, with `drain` false, may work again."""

    def is_there(robot: RobotStatus) -> bool:
        return robot.drained and robot.idle if drain else not robot.drained

    return Aim(lambda robot: scope in (FLEET, robot.robot), is_there)


def acting_on(client: FleetClient, version: int, scope: str, wait_s: float) -> Effect:
    """Wait until the robots of `scope` that shall act on `version` do."""
    return _wait(client, to_act_on(version, scope), wait_s)


def drained(client: FleetClient, drain: bool, scope: str, wait_s: float) -> Effect:
    """Wait until the robots of `scope` have ended their episodes and stand; or, with `drain` false, may work again."""
    return _wait(client, to_drain(drain, scope), wait_s)


def _wait(client: FleetClient, aim: Aim, wait_s: float) -> Effect:
    first = aim.seen(client.robots().robots)
    return aim.seen(client.wait_for(first.behind, aim.is_there, wait_s).robots, first)
