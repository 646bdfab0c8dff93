"""Convergence: which robots have reached the state that a command wants, and waiting until they have."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future

import msgspec

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

    def text(self, reached: str, pending: str) -> str:
        """In words: `reached` and `pending` say what it means."""
        named = ((reached, self.reached), (pending, self.pending), ("silent", self.silent))
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in named if names)


class DesiredState(msgspec.Struct, frozen=True):
    """Which robots a command is for, and what they shall have reached."""

    applies_to: Callable[[RobotStatus], bool]
    is_reached: Callable[[RobotStatus], bool]

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
        return Convergence(
            robots=robots,
            reached=tuple(sorted(reached)),
            pending=tuple(sorted(heard - reached)),
            silent=tuple(sorted(silent)),
        )


NO_ROBOTS = DesiredState(lambda _: False, lambda _: True)
"""For a command after which no robot has to do anything."""


def desired_version(version: int, scope: str) -> DesiredState:
    """Every robot of `scope` whose target is `version` acts on it."""
    return DesiredState(
        lambda robot: scope in (FLEET, robot.robot) and robot.target == version, lambda robot: robot.acting >= version
    )


def desired_drain(drain: bool, scope: str) -> DesiredState:
    """Every robot of `scope` has ended its episode and is idle; or, with `drain` false, may work again."""
    return DesiredState(
        lambda robot: scope in (FLEET, robot.robot),
        lambda robot: robot.drained and robot.idle if drain else not robot.drained,
    )


class _Wait(msgspec.Struct):
    desired: DesiredState
    deadline_s: float
    """By `time.monotonic`."""
    future: Future[Convergence]
    first: Convergence | None = None


class ConvergenceWatcher:
    """Waits for robots on behalf of everybody; the fleet manager's loop calls `tick`. How many wait, callers bound."""

    def __init__(self) -> None:
        self._waits: list[_Wait] = []
        self._lock = threading.Lock()

    def watch(self, desired: DesiredState, wait_s: float) -> Future[Convergence]:
        """How far the robots are once they are there or `wait_s` is over; from any thread."""
        future: Future[Convergence] = Future()
        with self._lock:
            self._waits.append(_Wait(desired, time.monotonic() + wait_s, future))
        return future

    def tick(self, look: Callable[[], tuple[RobotStatus, ...]]) -> None:
        """Answer those whose wait is over; `look` is called once, if anybody waits."""
        with self._lock:
            waits = tuple(self._waits)
        if not waits:
            return
        robots, over = look(), []
        for wait in waits:
            found = wait.desired.evaluate(robots, wait.first)
            wait.first = wait.first or found
            if not found.pending or time.monotonic() >= wait.deadline_s:
                over.append(wait)
                wait.future.set_result(found)
        with self._lock:
            self._waits = [wait for wait in self._waits if not any(wait is each for each in over)]
