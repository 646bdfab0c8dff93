"""Convergence: what a command has come to on the robots, after waiting for them as long as the caller likes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from floop_robot.deploy.client import FleetClient
from floop_robot.deploy.messages import RobotStatus
from floop_robot.deploy.registry import FLEET

SILENT_S = 3.0
"""A robot that was not heard for so long is not waited for."""


class Convergence(msgspec.Struct, frozen=True, kw_only=True):
    """Which of the robots that a command is for have come to where it wants them."""

    robots: tuple[RobotStatus, ...]
    """Every known robot."""
    reached: tuple[str, ...]
    pending: tuple[str, ...]
    silent: tuple[str, ...]
    """Those that were not heard lately, so nobody waited for them."""

    def text(self, reached: str, pending: str) -> str:
        """In words: `reached` and `pending` say what it means."""
        named = ((reached, self.reached), (pending, self.pending), ("silent", self.silent))
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in named if names)


class DesiredState(msgspec.Struct, frozen=True):
    """Where a command wants which robots."""

    applies_to: Callable[[RobotStatus], bool]
    is_reached: Callable[[RobotStatus], bool]

    def evaluate(self, robots: Iterable[RobotStatus], before: Convergence | None = None) -> Convergence:
        """How far they are. The first look says who is meant and who is silent; later ones are given it as `before`."""
        robots = tuple(robots)
        if before is None:
            meant = [robot for robot in robots if self.applies_to(robot)]
            silent = {robot.robot for robot in meant if robot.silent_s > SILENT_S}
            heard = {robot.robot for robot in meant} - silent
        else:
            silent, heard = set(before.silent), {*before.reached, *before.pending}
        there = {robot.robot for robot in robots if robot.robot in heard and self.is_reached(robot)}
        return Convergence(
            robots=robots,
            reached=tuple(sorted(there)),
            pending=tuple(sorted(heard - there)),
            silent=tuple(sorted(silent)),
        )


NO_ROBOTS = DesiredState(lambda _: False, lambda _: True)
"""Of a command that no robot has to do anything for."""


def desired_version(version: int, scope: str) -> DesiredState:
    """The robots of `scope` that shall act on `version` do."""

    def applies_to(robot: RobotStatus) -> bool:
        return scope in (FLEET, robot.robot) and robot.target == version

    return DesiredState(applies_to, lambda robot: robot.acting >= version)


def desired_drain(drain: bool, scope: str) -> DesiredState:
    """The robots of `scope` have ended their episodes and stand; or, with `drain` false, may work again."""

    def is_reached(robot: RobotStatus) -> bool:
        return robot.drained and robot.idle if drain else not robot.drained

    return DesiredState(lambda robot: scope in (FLEET, robot.robot), is_reached)


def wait_until_acting(client: FleetClient, version: int, scope: str, wait_s: float) -> Convergence:
    """Wait until the robots of `scope` that shall act on `version` do."""
    return _wait(client, desired_version(version, scope), wait_s)


def wait_until_drained(client: FleetClient, drain: bool, scope: str, wait_s: float) -> Convergence:
    """Wait until the robots of `scope` have ended their episodes and stand; or, with `drain` false, may work again."""
    return _wait(client, desired_drain(drain, scope), wait_s)


def _wait(client: FleetClient, aim: DesiredState, wait_s: float) -> Convergence:
    first = aim.evaluate(client.robots().robots)
    return aim.evaluate(client.wait_for(first.pending, aim.is_reached, wait_s).robots, first)
