"""Convergence: which robots have reached the state that a command wants."""

from __future__ import annotations

from floop_robot.deploy.commands import CommandResult, Drain, FleetCommand, Hold, Pin, Push, Rollback
from floop_robot.deploy.messages import RobotStatus
from floop_robot.deploy.registry import FLEET

SILENT_S = 3.0
"""Nobody waits for a robot that was not heard for so long."""
WORDS = {
    None: ("acting on it", "not yet"),
    True: ("idle", "still at work"),
    False: ("may work", "still drained"),
}
"""What reached and pending mean, by `Drain.drain`; None for other commands."""


class Convergence:
    """How far the robots that a command is for have obeyed it, as of the last `look`."""

    def __init__(self, command: FleetCommand, result: CommandResult) -> None:
        self._command, self._version = command, result.version
        self._drain = command.drain if isinstance(command, Drain) else None
        self._heard: frozenset[str] = frozenset()
        self.robots: tuple[RobotStatus, ...] = ()
        """Every known robot."""
        self.reached: tuple[str, ...] = ()
        self.pending: tuple[str, ...] = ()
        self.silent: tuple[str, ...] = ()
        """Robots that were not heard lately; nobody waits for them."""
        self.pinned: dict[str, int] = {}
        """Robots that are pinned, which a command to the fleet does not reach, and their versions."""
        self.held: dict[str, int] = {}
        """Robots that are held and did not follow: what the fleet has now would be an update for them."""

    def look(self, robots: tuple[RobotStatus, ...]) -> bool:
        """Compare robots with what is wanted; True when nobody needs to wait any longer.

        The first look says which robots are meant, and which of these are silent.
        """
        if not self.robots:
            meant = [robot for robot in robots if self._is_meant(robot)]
            self.silent = tuple(robot.robot for robot in meant if robot.silent_s > SILENT_S)
            self._heard = frozenset(robot.robot for robot in meant).difference(self.silent)
        self.robots = robots
        to_fleet = isinstance(self._command, Push | Rollback | Pin) and self._command.scope == FLEET
        own = [each.directive for each in robots if to_fleet and each.directive.fixed not in (0, self._version)]
        self.pinned = {each.scope: each.pin for each in own if each.pin and not each.canary}
        self.held = {each.scope: each.hold for each in own if each.hold}
        heard = [robot for robot in robots if robot.robot in self._heard]
        self.reached = tuple(robot.robot for robot in heard if self._is_reached(robot))
        self.pending = tuple(robot.robot for robot in heard if not self._is_reached(robot))
        return not self.pending

    def text(self) -> str:
        """How far the robots are, in words."""
        stopped = {robot.robot for robot in self.robots if robot.estop}
        pending = tuple(f"{name} (stopped: after a reset)" if name in stopped else name for name in self.pending)
        named = zip((*WORDS[self._drain], "silent"), (self.reached, pending, self.silent), strict=True)
        parts = [f"{what}: {', '.join(names)}" for what, names in named if names]
        for word, robots in (("pinned", self.pinned), ("held", self.held)):
            names = ", ".join(f"{robot} (v{version})" for robot, version in robots.items())
            if names:
                parts.append(f"{word}, so not following: {names}; `floop resume ROBOT` ends that")
        return "; ".join(parts)

    def _is_meant(self, robot: RobotStatus) -> bool:
        if isinstance(self._command, Hold) or self._command.scope not in (FLEET, robot.robot):
            return False
        return self._drain is not None or robot.target == self._version

    def _is_reached(self, robot: RobotStatus) -> bool:
        if self._drain is None:
            return robot.acting >= self._version
        return robot.drained and robot.idle if self._drain else not robot.drained
