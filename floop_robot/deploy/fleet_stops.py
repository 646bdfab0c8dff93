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

from floop_robot.deploy.stop_messages import (
    EstopRef,
    EstopReport,
    EstopStatus,
    PendingStop,
    RobotEstop,
)
from floop_robot.durable.files import read_regular, replace_file, sync_folder
from floop_robot.durable.framing import MessageRefused, deframe_message, frame_message
from floop_robot.spec.errors import CallRefused, StorageError, UnknownName

RETRY_S: Final = 0.4
"""A stop is sent again after this long: a call to a process that was just killed vanishes. A disk waits as long."""
HEARD_S: Final = 1.2
"""Only a robot that was heard within this time gets its stop again: what it says shows that it has not obeyed.

So a manager that was frozen or cut off stops no robot that obeyed and was reset meanwhile. Robots speak each second.
"""
TICK_S: Final = 0.05
RECENT_S: Final = 1.0
"""An input that said stop so recently holds still: of several publishers one may say stop, another not."""
MAX_TEXT: Final = 200
"""Characters of a name, a reason or an id that are kept."""
MAX_FILE_BYTES: Final = 16_384
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

    def __init__(self) -> None:
        self.state: EstopStatus | None = None
        self.pending: PendingStop | None = None
        self.saved: PendingStop | None = None
        """What the file holds, by identity."""
        self.sent_s = self.heard_s = -math.inf
        """When its stop was sent and it was heard last, steady clock."""


class FleetStops:
    """Thread-safe: what is called never waits, but for `save`."""

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
        self._folder, self._link, self._audit, self._clock = folder, link, audit, clock
        self._robots = {name: _Robot() for name in robots}
        self._lock, self._disk_lock = threading.RLock(), threading.Lock()
        self._level, self._level_s = False, -math.inf
        """What the fleet's stop input said last, and when it said stop."""
        self._unreadable, self._unwritable = list[str](), list[str]()
        self.listener: Callable[[], None] = lambda: None
        """Called after every change, from any thread; must not wait."""
        self._unsaved, self._end = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=self._resend, name="stop-sender"),
            threading.Thread(target=self._write, name="stop-writer", daemon=True),  # a disk may hang
        ]
        for name in robots:
            self._load(name)

    @property
    def error(self) -> str:
        """What could not be read when this manager started, or cannot be written now; empty when all is well."""
        return "; ".join([*self._unreadable, *self._unwritable])

    def _load(self, name: str) -> None:
        robot, path = self._robots[name], self._folder / name
        try:
            path.lstat()
            stop = deframe_message(read_regular(path, MAX_FILE_BYTES), _STOPS)
            if stop.robot != name:
                raise StorageError(f"it is about {stop.robot}")
            robot.pending = robot.saved = stop
        except FileNotFoundError:
            pass
        except (StorageError, MessageRefused, OSError) as error:
            found = f"kept stop {path} cannot be read ({error}): {name} is stopped; look at it, and reset it"
            self._unreadable.append(found)
            log.error(found)
            robot.pending = _new_stop(name, "fleet manager", f"cannot read the stop kept for {name}")
            self._unsaved.set()

    def start(self) -> None:
        """Re-send and write in threads of their own, until `close`."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Write what is left, for at most 1 s, and end the threads."""
        self._end.set()
        self._unsaved.set()
        for thread in self._threads:
            thread.join(1.0)

    def stop(
        self, robots: Sequence[str], who: str, why: str, request_id: str = ""
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Send a stop to `robots` (empty: all) now, keep it, and have it written. A repeated id changes nothing.

        It takes the place of one that is pending and tells its reason, too: whoever resets sees both.
        Returns the robots that were meant, and a line for each unknown name.
        """
        named = tuple(name for name in dict.fromkeys(robots or self._robots) if name in self._robots)
        unknown = tuple(str(UnknownName("robot", name, self._robots)) for name in robots if name not in self._robots)
        who, why, request_id = _and("", who) or "unknown", _and("", why), _and("", request_id) or uuid.uuid4().hex
        new = []
        with self._lock:
            for name in named:
                robot = self._robots[name]
                pending = robot.pending
                if pending is None or pending.request_id != request_id:
                    texts = (_and(pending.who, who), _and(pending.why, why)) if pending else (who, why)
                    before = robot.state.stop_id if robot.state else None
                    pending = robot.pending = _new_stop(name, *texts, request_id, before)
                    new.append(name)
                self._send(robot, pending)
        self._unsaved.set()
        if new:
            self._audit(who, f"stopped {', '.join(new)}", why)
        return named, unknown

    def set_level(self, level: bool, who: str) -> None:
        """Take the fleet's stop input: its rising edge stops all robots; false resets nothing."""
        was, self._level = self.is_held, level
        self._level_s = self._clock() if level else self._level_s
        if level and not was:
            self.stop((), who, "the input says stop")

    @property
    def is_held(self) -> bool:
        """Whether the fleet's stop input says stop: no reset is forwarded meanwhile."""
        return self._level or self._clock() - self._level_s < RECENT_S

    def is_pending(self, robot: str) -> bool:
        """Whether this robot, also an unknown one, has a stop that it has not obeyed yet."""
        return robot in self._robots and self._robots[robot].pending is not None

    def is_kept(self) -> bool:
        """Whether every stop that is pending would outlive this process."""
        return all(robot.saved is robot.pending for robot in self._robots.values())

    def report(self) -> EstopReport:
        """Every robot's e-stop, as last heard, and the stop that is pending there."""
        robots = tuple(RobotEstop(name, each.state, each.pending) for name, each in self._robots.items())
        return EstopReport(robots=robots, kept=self.is_kept(), error=self.error)

    def observe(self, state: EstopStatus) -> None:
        """Take what a known robot publishes of its e-stop."""
        with self._lock:
            robot = self._robots[state.robot]
            robot.state, robot.heard_s, stop = state, self._clock(), robot.pending
            if stop and state.request_id == stop.request_id and state.stop_id != stop.before:
                self.answer(stop, state.on_disk or not state.latched)
        self.listener()

    def answer(self, stop: PendingStop, obeyed: bool) -> None:
        """Take a robot's answer to `stop`; `obeyed` says that the stop is on the robot's disk as well."""
        with self._lock:
            if obeyed and self._robots[stop.robot].pending is stop:
                self._robots[stop.robot].pending = None
                self._unsaved.set()
        self.listener()

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
        self._audit(who, f"reset {name}" if success else f"did not reset {name}", f"{message}; {why}".strip("; "))
        self.listener()

    def _refusal(self, given: Sequence[EstopRef]) -> str:
        """Why a robot's reset is not forwarded; empty when it is."""
        ref = given[0]
        if ref.robot not in self._robots:
            return str(UnknownName("robot", ref.robot, self._robots))
        if any(other != ref for other in given):
            return f"{ref.robot} is named with different stops; name the one that you saw"
        if not ref.stop_id or not ref.nonce:
            return f"{ref.robot}: give stop_id and nonce, as its estop_state showed them"
        if (stop := self._robots[ref.robot].pending) is not None:
            return f"{ref.robot} has a stop pending ({stop.who}: {stop.why}); when it has obeyed, look and ask again"
        return f"{ref.robot} stays stopped: the fleet's stop input still says stop" if self.is_held else ""

    def tick(self) -> None:
        """Send again what is due."""
        now_s = self._clock()
        with self._lock:
            for name, robot in self._robots.items():
                is_due = now_s - robot.sent_s >= RETRY_S and now_s - robot.heard_s <= HEARD_S
                if robot.pending is not None and is_due and self._link.is_ready(name):
                    self._send(robot, robot.pending)

    def _send(self, robot: _Robot, stop: PendingStop) -> None:
        robot.sent_s = self._clock()
        self._link.send_stop(stop)

    def save(self) -> None:
        """Make the files what they should be; what fails is told in `error`."""
        failures = []
        with self._disk_lock:
            for name, robot in self._robots.items():
                path, wanted = self._folder / name, robot.pending
                try:
                    if robot.saved is not wanted:
                        self._put(path, wanted)
                    robot.saved = wanted
                except OSError as error:
                    failures.append(f"stop {path} cannot be written or removed: {error.strerror}; make room there")
            self._unwritable = failures
        self.listener()

    def _put(self, path: Path, stop: PendingStop | None) -> None:
        if stop is None:
            path.unlink(missing_ok=True)
            sync_folder(path.parent)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()  # a full disk has room for an empty file, and its existence stops the robot
            replace_file(path, frame_message(stop))

    def _resend(self) -> None:
        while not self._end.wait(TICK_S):
            self.tick()

    def _write(self) -> None:
        while not self._end.is_set():
            self._unsaved.wait()
            self._unsaved.clear()
            self.save()
            if not self.is_kept() and not self._end.wait(RETRY_S):
                self._unsaved.set()
        self.save()


def _and(before: str, text: str) -> str:
    """Both texts, each once, as far as they can be stored."""
    text = text.encode(errors="replace").decode().strip()
    return (before if text in before.split("; ") else f"{before}; {text}".strip("; "))[:MAX_TEXT]


def _new_stop(robot: str, who: str, why: str, request_id: str = "", before: str | None = None) -> PendingStop:
    request_id, now_ns = request_id or uuid.uuid4().hex, time.time_ns()
    return PendingStop(robot=robot, request_id=request_id, who=who, why=why, since_ns=now_ns, before=before)
