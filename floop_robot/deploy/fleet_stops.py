"""FleetStops: the stops that a fleet manager has heard. Each is kept on disk and sent again until its robot has obeyed.

A robot has obeyed when it answers so, or when its state names this stop (`request_id`) under another `stop_id` than
before. Another `stop_id` alone proves nothing: a robot that was started again, or stopped by somebody else, has one.

A file `RUN_DIR/stops/ROBOT` is a pending stop. One that cannot be read stops its robot, since somebody had stopped it.
Resets are forwarded once and kept nowhere, so that no restart and no delay repeats one.
"""

from __future__ import annotations

import functools
import logging
import math
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final, Protocol

import msgspec

from floop_robot.deploy.stop_messages import EstopRef, EstopReport, PendingStop, RobotEstop
from floop_robot.durable.framing import deframe_message, frame_message
from floop_robot.durable.stop_file import StopFile, StopFileWriter
from floop_robot.spec.errors import CallRefused, StorageError, UnknownName
from floop_robot.spec.estop import EstopState, StopInputs, join_texts, short_id

RETRY_S: Final = 0.4
"""A stop is sent again after this long: a call to a process that was just killed vanishes."""
HEARD_S: Final = 1.2
"""Only a robot that was heard within this time gets its stop again: what it says shows that it has not obeyed.

So a manager that was frozen or cut off stops no robot that obeyed and was reset meanwhile. Robots speak each second.
"""
TICK_S: Final = 0.05
"""How often `FleetStops.tick` is called."""
MAX_TEXT: Final = 200
"""Characters of a name or a reason that are kept."""
MAX_REFS: Final = 256
"""Stops in one reset: a fleet has no more robots."""

log = logging.getLogger(__name__)
_STOPS: Final = msgspec.msgpack.Decoder(PendingStop)

ResetAnswer = Future[tuple[bool, str]]
"""Whether a robot was reset, and a message."""


class RobotLink(Protocol):
    """How the manager reaches its robots. No call waits."""

    def is_ready(self, robot: str) -> bool:
        """Whether a call would reach the robot now, as far as is known."""
        ...

    def send_stop(self, stop: PendingStop) -> None:
        """Ask the robot to stop; its answer goes to `FleetStops.answer`."""
        ...

    def send_reset(self, ref: EstopRef, who: str, token: str, why: str, answer: ResetAnswer) -> None:
        """Ask the robot once for a reset; `answer` gets what it says, if that comes before somebody cancels it."""
        ...


class _Robot:
    """What is known of one robot."""

    def __init__(self, path: Path) -> None:
        self.state: EstopState | None = None
        self.file = StopFile[PendingStop | None](path, None, lambda stop: frame_message(stop) if stop else b"")
        """Its value is the stop that is pending."""
        self.sent_s = self.heard_s = -math.inf
        """When its stop was sent and it was heard last, steady clock."""


class FleetStops:
    """Thread-safe; nothing waits. Files are written once `writer` is started, and stops sent again by `tick`."""

    def __init__(
        self,
        folder: Path,
        robots: Sequence[str],
        link: RobotLink,
        audit: Callable[[str, str, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read what an earlier manager has kept in `folder`; raises for nothing that it finds there.

        `audit(who, what, why)` writes down what was done, and never waits.
        """
        self._link, self._audit, self._clock = link, audit, clock
        self._robots = {name: _Robot(folder / name) for name in robots}
        self._lock, self._unreadable = threading.RLock(), list[str]()
        self.inputs = StopInputs(lambda who, why: self.stop((), who, why), clock)
        """The fleet's; while one is true, no reset is forwarded."""
        self.writer = StopFileWriter({f"stop {each.file.path}": each.file for each in self._robots.values()})
        """To be started, and closed."""
        for name, robot in self._robots.items():
            if problem := robot.file.load(functools.partial(_decode, name)):
                problem = f"kept stop {robot.file.path} cannot be read ({problem}): {name} is stopped"
                self._unreadable.append(f"{problem}; look at it, and reset it")
                log.error(problem)
                robot.file.value = PendingStop(
                    robot=name,
                    request_id=uuid.uuid4().hex,
                    who="fleet manager",
                    why=f"cannot read the stop kept for {name}",
                )

    @property
    def error(self) -> str:
        """What could not be read when this manager started, or cannot be written now; empty when all is well."""
        return "; ".join(filter(None, [*self._unreadable, self.writer.error]))

    def stop(
        self, robots: Sequence[str], who: str, why: str, request_id: str = ""
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Send a stop to `robots` (empty: all) now, keep it, and have it written. A repeated id changes nothing.

        It takes the place of one that is pending and tells its reason, too: whoever resets sees both.
        Returns the robots that were meant, and a line for each unknown name.
        """
        named = tuple(name for name in dict.fromkeys(robots or self._robots) if name in self._robots)
        unknown = tuple(str(UnknownName("robot", name, self._robots)) for name in robots if name not in self._robots)
        who, why = join_texts("", who, MAX_TEXT) or "unknown", join_texts("", why, MAX_TEXT)
        request_id = short_id(request_id) or uuid.uuid4().hex
        new = []
        with self._lock:
            for name in named:
                robot = self._robots[name]
                pending = robot.file.value
                if pending is None or pending.request_id != request_id:
                    pending = robot.file.value = PendingStop(
                        robot=name,
                        request_id=request_id,
                        who=join_texts(pending.who if pending else "", who, MAX_TEXT),
                        why=join_texts(pending.why if pending else "", why, MAX_TEXT),
                        before=robot.state.stop_id if robot.state else None,
                    )
                    new.append(name)
                self._send(robot, pending)
        self.writer.save_changes()
        if new:
            self._audit(who, f"stopped {', '.join(new)}", why)
        return named, unknown

    def is_pending(self, robot: str) -> bool:
        """Whether this robot, also an unknown one, has a stop that it has not obeyed yet."""
        return robot in self._robots and self._robots[robot].file.value is not None

    def is_kept(self) -> bool:
        """Whether every stop that is pending would outlive this process."""
        return all(robot.file.is_saved for robot in self._robots.values())

    def report(self) -> EstopReport:
        """Every robot's e-stop, as last heard, and the stop that is pending there."""
        robots = tuple(RobotEstop(name, each.state, each.file.value) for name, each in self._robots.items())
        return EstopReport(robots=robots, kept=self.is_kept(), error=self.error)

    def observe(self, name: str, state: EstopState) -> None:
        """Take what a known robot publishes of its e-stop."""
        with self._lock:
            robot = self._robots[name]
            robot.state, robot.heard_s, stop = state, self._clock(), robot.file.value
            if stop and state.request_id == stop.request_id and state.stop_id != stop.before:
                # An open latch with this id may also be of an earlier stop that had it: before tells, if it is known.
                self.answer(stop, state.on_disk if state.latched else stop.before is not None)

    def answer(self, stop: PendingStop, obeyed: bool) -> None:
        """Take a robot's answer to `stop`; `obeyed` says that the stop is on the robot's disk as well."""
        with self._lock:
            file = self._robots[stop.robot].file
            if obeyed and file.value is stop:
                file.value = None
        self.writer.save_changes()

    def reset(self, refs: Sequence[EstopRef], who: str, token: str, why: str) -> dict[str, ResetAnswer]:
        """Forward a reset to each robot once. Raises `CallRefused` for a list that is empty or too long.

        Whoever gives up cancels the answers that are not there.
        """
        if not 0 < len(refs) <= MAX_REFS:
            raise CallRefused(f"{len(refs)} stops; name robot, stop_id and nonce of those you saw, 1 to {MAX_REFS}")
        answers = {ref.robot: ResetAnswer() for ref in refs}
        for name, answer in answers.items():
            answer.add_done_callback(functools.partial(self._end_reset, name, who, why))
            with self._lock:  # no stop is heard between this look and the call
                given = [ref for ref in refs if ref.robot == name]
                if refusal := self._refusal(given):
                    answer.set_result((False, refusal))
                else:
                    self._link.send_reset(given[0], who, token, why, answer)
        return answers

    def _end_reset(self, name: str, who: str, why: str, answer: ResetAnswer) -> None:
        success, message = (False, "no answer") if answer.cancelled() else answer.result()
        detail = "" if success else message.removeprefix(f"{name}: ")
        self._audit(who, f"reset {name}" if success else f"did not reset {name}", f"{detail}; {why}".strip("; "))

    def _refusal(self, given: Sequence[EstopRef]) -> str:
        """Why a robot's reset is not forwarded; empty when it is."""
        ref = given[0]
        if ref.robot not in self._robots:
            return str(UnknownName("robot", ref.robot, self._robots))
        if any(other != ref for other in given):
            return f"{ref.robot} is named with different stops; name the one that you saw"
        if not ref.stop_id or not ref.nonce:
            return f"{ref.robot}: give stop_id and nonce, as its estop_state showed them"
        if (stop := self._robots[ref.robot].file.value) is not None:
            return f"{ref.robot} has a stop pending ({stop.who}: {stop.why}); when it has obeyed, look and ask again"
        held = f"{ref.robot} stays stopped: the fleet's stop input still says stop"
        return held if self.inputs.held() else ""

    def tick(self) -> None:
        """Send again what is due."""
        now_s = self._clock()
        with self._lock:
            for name, robot in self._robots.items():
                is_due = now_s - robot.sent_s >= RETRY_S and now_s - robot.heard_s <= HEARD_S
                if (stop := robot.file.value) and is_due and self._link.is_ready(name):
                    self._send(robot, stop)

    def _send(self, robot: _Robot, stop: PendingStop) -> None:
        robot.sent_s = self._clock()
        self._link.send_stop(stop)


def _decode(name: str, data: bytes) -> PendingStop:
    stop = deframe_message(data, _STOPS)
    if stop.robot != name:
        raise StorageError(f"it is about {stop.robot}")
    return stop
