"""Convergence: which robots have reached the state that a command wants."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from floop_robot.deploy.commands import CommandResult, Drain, FleetCommand, Hold
from floop_robot.deploy.messages import RobotStatus
from floop_robot.deploy.registry import FLEET

SILENT_S = 3.0
"""Nobody waits for a robot that was not heard for so long."""


class Convergence(msgspec.Struct, frozen=True, kw_only=True):
    """Which of the robots that a command is for have reached the desired state."""

    robots: tuple[RobotStatus, ...]
    """Every known robot."""
    reached: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    """Robots that were not heard lately; nobody waits for them."""


class DesiredState(msgspec.Struct, frozen=True):
    """Which robots a command is for, and what they shall have reached."""

    applies_to: Callable[[RobotStatus], bool]
    is_reached: Callable[[RobotStatus], bool]
    words: tuple[str, str] = ("acting on it", "not yet")
    """What reached and pending mean."""

    def evaluate(self, robots: Iterable[RobotStatus], first: Convergence | None = None) -> Convergence:
        """Compare robots with this state. `first`: the first result, which says which robots are meant or silent."""
        robots = tuple(robots)
        if first is None:
            meant = [robot for robot in robots if self.applies_to(robot)]
            silent = {robot.robot for robot in meant if robot.silent_s > SILENT_S}
            heard = {robot.robot for robot in meant} - silent
        else:
            silent, heard = set(first.silent), {*first.reached, *first.pending}
        reached = {robot.robot for robot in robots if robot.robot in heard and self.is_reached(robot)}
        there, behind, silent_names = (tuple(sorted(names)) for names in (reached, heard - reached, silent))
        return Convergence(robots=robots, reached=there, pending=behind, silent=silent_names)

    def text(self, found: Convergence) -> str:
        """How far the robots are, in words."""
        named = zip((*self.words, "silent"), (found.reached, found.pending, found.silent), strict=True)
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in named if names)


def desired_state(command: FleetCommand, result: CommandResult) -> DesiredState:
    """What robots shall reach after a command: act on its version, be idle, or be allowed to work."""

    def is_meant(robot: RobotStatus) -> bool:
        return command.scope in (FLEET, robot.robot)

    if isinstance(command, Hold):
        return DesiredState(lambda _: False, lambda _: True)
    if isinstance(command, Drain) and command.drain:
        return DesiredState(is_meant, lambda robot: robot.drained and robot.idle, ("idle", "still at work"))
    if isinstance(command, Drain):
        return DesiredState(is_meant, lambda robot: not robot.drained, ("may work", "still drained"))
    version = result.version
    return DesiredState(lambda robot: is_meant(robot) and robot.target == version, lambda r: r.acting >= version)
