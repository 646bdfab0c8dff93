"""FleetCommandServices: operators' commands as services below `/fleet`. The fleet manager's queue carries them out.

Nothing blocks: a call that reads a file does so in a thread, and then names the version that it was based on.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from floop_interfaces.srv import DrainRobot, HoldUpdates, PinPolicy, PushPolicy, RollbackPolicy
from floop_robot.bundle import Bundle
from floop_robot.bundle.delivery import Refusal
from floop_robot.deploy import CommandResult, Drain, Hold, Pin, Push, RequestQueue, Resume, Robots, Rollback
from floop_robot.deploy.commands import AnyFleetCommand, GetScopeVersion
from floop_robot.deploy.convergence import Convergence
from floop_robot.deploy.messages import GetRobots, Reply, Request
from floop_robot.deploy.registry import FLEET
from floop_robot.ros.fleet.fleet_convert import audit_to_msg, robot_to_msg
from floop_robot.ros.node import topics
from floop_robot.ros.node.async_condition import AsyncCondition
from floop_robot.ros.node.service_calls import answering, create_services, signature
from floop_robot.services.import_zip import IMPORT_TIMEOUT_S, bundle_of_zip
from floop_robot.spec.bounds import MAX_INT
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.errors import CallRefused

BEGIN_S: Final = 10.0
"""A command that was not begun within this long after its call is not done; a file is read within it as well."""
MAX_WAIT_S: Final = 300.0
POLL_PERIOD_S: Final = 0.1
"""How often a call looks at the robots that it waits for."""
MAX_WAITING: Final = 64
"""Calls that wait for robots: more than operators and their scripts have open."""
MAX_FILE_READERS: Final = 8
"""Threads that read files; one whose disk hangs keeps its thread."""
T = TypeVar("T", bound=Reply)


class FleetCommandServices:
    """Serves push, rollback, pin, hold and drain on `node`; close it before the executor ends."""

    def __init__(self, node: Node, requests: RequestQueue, read: Callable[[PushPolicy.Request], Bundle]) -> None:
        """`requests`: the fleet manager's queue. `read` reads the file that a push names; it may take long."""
        self._requests, self._read, self._condition = requests, read, AsyncCondition(node)
        self._waiting = 0
        """Calls that want to wait for robots."""
        table = [(kind, name, answering(functools.partial(self._serve, make))) for kind, name, make in COMMANDS]
        create_services(node, table, ReentrantCallbackGroup())

    def close(self) -> None:
        """Answer whoever still waits."""
        self._condition.close()

    async def _serve(self, make: Callable[[Any], AnyFleetCommand], request: Any, answer: Any) -> None:
        wait_s = getattr(request, "wait_s", 0.0)
        if not 0.0 <= wait_s <= MAX_WAIT_S:  # not a number, too
            raise CallRefused(f"not done: wait_s is {wait_s:g}; give seconds from 0 to {MAX_WAIT_S:g}")
        if wait_s and self._waiting >= MAX_WAITING:
            raise CallRefused(f"{MAX_WAITING} calls wait for robots already; call with wait_s 0, or later")
        self._waiting += wait_s > 0.0
        deadline_s = time.monotonic() + _begin_s(request)
        try:
            command = make(request)
            if isinstance(command, Push) and not command.version:
                command = await self._with_file(command, request, deadline_s)
            done = await self._ask(command, CommandResult, deadline_s)
            found = Convergence(command, done)
            how_far = await self._wait_for(found, wait_s)
        finally:
            self._waiting -= wait_s > 0.0
        answer.message = "; ".join(filter(None, (done.what, how_far)))
        answer.record = audit_to_msg(done)
        answer.robots = [robot_to_msg(robot) for robot in found.robots]
        if hasattr(answer, "version") and not isinstance(command, Resume):
            answer.version = done.version
        if isinstance(command, Drain):
            answer.idle = bool(command.drain and found.reached and not found.pending and not found.silent)

    async def _wait_for(self, found: Convergence, wait_s: float) -> str:
        """How far the robots are, in words, once they have obeyed or `wait_s` is over."""
        deadline_s = time.monotonic() + wait_s
        try:
            while True:
                robots = await self._ask(GetRobots(), Robots, time.monotonic() + BEGIN_S)
                if found.look(robots.robots) or time.monotonic() >= deadline_s:
                    return found.text()
                await self._condition.wait_for(lambda: self._is_ending, POLL_PERIOD_S)
        except CallRefused:  # the command was carried out all the same
            if self._is_ending:
                return "the fleet manager ended before it was known how far the robots are"
            return "how far the robots are is not known; `floop status` shows it"

    @property
    def _is_ending(self) -> bool:
        """Whether nobody carries out commands any more."""
        return self._requests.is_closed or self._condition.is_closed

    async def _with_file(self, command: Push, request: PushPolicy.Request, deadline_s: float) -> Push:
        """The push with the bundle that it names. Nothing is read for a stranger; what changes meanwhile stays."""
        asked = GetScopeVersion(scope=command.scope, **signature(request))
        base = await self._ask(asked, CommandResult, deadline_s)
        if self._condition.running_threads >= MAX_FILE_READERS:
            raise CallRefused(f"not done: {MAX_FILE_READERS} files are being read already; call again later")
        bundles: list[Bundle] = []
        left_s = deadline_s - time.monotonic()
        try:
            is_read = await self._condition.run_in_thread(lambda: bundles.append(self._read(request)), left_s)
        except RuntimeError as error:  # the machine is short of threads
            raise CallRefused(f"not done: its file cannot be read: {error}") from None
        if not is_read:
            late = f"could not read its file within {_begin_s(request):g} s; call again later"
            raise CallRefused(f"not done: {late if self._condition.accepts_work else 'the fleet manager ends'}")
        return msgspec.structs.replace(command, bundle=bundles[0].to_bytes(), if_version=base.version)

    async def _ask(self, request: Request, kind: type[T], deadline_s: float) -> T:
        """The fleet manager's answer; raises `CallRefused` when there is none, and then says whether it was done."""
        future = self._requests.submit(request)
        future.add_done_callback(lambda _: self._condition.notify())
        await self._condition.wait_for(future.done, deadline_s - time.monotonic())
        if future.cancel():  # it was not begun; the fleet manager cancels as well, when it ends
            late = f"could not be begun within {BEGIN_S:g} s; call again later"
            raise CallRefused(f"not done: {'the fleet manager ends' if self._is_ending else late}")
        try:
            reply = future.result(0)
        except Exception:  # it takes long, or it has ended the fleet manager
            unknown = "not known whether this command was carried out, or will be yet; `floop status` shows it"
            raise CallRefused(unknown) from None
        if isinstance(reply, kind):
            return reply
        raise CallRefused(reply.reason if isinstance(reply, Refusal) else f"the fleet manager answered {reply}")


def _begin_s(request: Any) -> float:
    return BEGIN_S + (IMPORT_TIMEOUT_S if getattr(request, "sb3_zip_path", "") else 0.0)


def read_bundle(request: PushPolicy.Request, config: FloopConfig) -> Bundle:
    """The file that a push names; raises `FloopError`."""
    if request.bundle_path:
        return Bundle.load(Path(request.bundle_path))
    return bundle_of_zip(Path(request.sb3_zip_path), config.task, config.robot.model, trust=request.trust_sb3_zip)


def _push(request: PushPolicy.Request) -> AnyFleetCommand:
    if sum(map(bool, (request.version, request.bundle_path, request.sb3_zip_path))) != 1:
        raise CallRefused("give exactly one of version, bundle_path and sb3_zip_path")
    return _command(Push, request, scope=request.scope or FLEET, version=request.version)


def _command(kind: type[AnyFleetCommand], request: Any, **fields: Any) -> AnyFleetCommand:
    """A command with these fields and those that every request has."""
    if not fields.get("scope", FLEET):
        raise CallRefused(f"{'robot' if kind is Drain else 'scope'} is empty: name a robot, or {FLEET!r} for all")
    if fields.get("version", 0) > MAX_INT:
        raise CallRefused(f"there is no v{fields['version']}: numbers end at {MAX_INT}")
    return kind(**signature(request), **fields)


COMMANDS: tuple[tuple[Any, str, Callable[[Any], AnyFleetCommand]], ...] = (
    (PushPolicy, topics.PUSH_POLICY, _push),
    (RollbackPolicy, topics.ROLLBACK_POLICY, lambda r: _command(Rollback, r, version=r.to_version)),
    (PinPolicy, topics.PIN_POLICY, lambda r: _command(Pin, r, scope=r.scope, version=r.version)
     if r.version else _command(Resume, r, scope=r.scope)),
    (HoldUpdates, topics.HOLD_UPDATES, lambda r: _command(Hold if r.hold else Resume, r, scope=r.scope or FLEET)),
    (DrainRobot, topics.DRAIN_ROBOT, lambda r: _command(Drain, r, scope=r.robot, drain=r.drain)),
)  # fmt: skip
"""Service type, name, and the command that a request stands for."""
