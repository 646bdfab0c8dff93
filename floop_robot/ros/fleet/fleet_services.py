"""FleetCommandServices: operators' commands as services below `/fleet`. The fleet manager's queue carries them out.

Nothing blocks: a call that reads a file does so in a thread, and then names the version that it was based on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, Final

import msgspec
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from floop_interfaces.srv import DrainRobot, HoldUpdates, PinPolicy, PushPolicy, RollbackPolicy
from floop_robot.bundle import Bundle
from floop_robot.bundle.delivery import Refusal
from floop_robot.deploy import AnyCommand, CommandResult, Drain, Hold, Pin, Push, RequestQueue, Resume, Rollback
from floop_robot.deploy.commands import AnyFleetCommand, GetScopeVersion
from floop_robot.deploy.convergence import desired_state
from floop_robot.deploy.registry import FLEET
from floop_robot.ros.fleet.fleet_convert import result_to_msg, robot_to_msg
from floop_robot.ros.node import topics
from floop_robot.ros.node.async_condition import AsyncCondition
from floop_robot.ros.node.service_calls import create_services
from floop_robot.services.import_zip import IMPORT_TIMEOUT_S, bundle_of_zip
from floop_robot.spec.bounds import MAX_INT
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.errors import CallRefused, FloopError

BEGIN_S: Final = 10.0
"""A command that was not begun within this long is not done; a file is read within it as well."""
MAX_WAIT_S: Final = 300.0
MAX_WAITING: Final = 64
"""Calls that wait for robots: more than operators and their scripts have open."""
MAX_FILE_READERS: Final = 8
"""Threads that read files; one whose disk hangs keeps its thread."""


class FleetCommandServices:
    """Serves push, rollback, pin, hold and drain on `node`; close it before the executor ends."""

    def __init__(self, node: Node, requests: RequestQueue, read: Callable[[PushPolicy.Request], Bundle]) -> None:
        """`requests`: the fleet manager's queue. `read` reads the file that a push names; it may take long."""
        self._requests, self._read, self._condition = requests, read, AsyncCondition(node)
        self._waiting = 0
        """Calls that want to wait for robots."""
        makers: tuple[tuple[Any, str, Callable[[Any], AnyFleetCommand]], ...] = (
            (PushPolicy, topics.PUSH_POLICY, _push),
            (RollbackPolicy, topics.ROLLBACK_POLICY, _roll_back),
            (PinPolicy, topics.PIN_POLICY, _pin),
            (HoldUpdates, topics.HOLD_UPDATES, _hold),
            (DrainRobot, topics.DRAIN_ROBOT, _drain),
        )
        table = [(kind, name, functools.partial(self._serve, make)) for kind, name, make in makers]
        create_services(node, table, ReentrantCallbackGroup())

    def close(self) -> None:
        """Answer whoever still waits."""
        self._condition.close()

    async def _serve(self, make: Callable[[Any], AnyFleetCommand], request: Any, answer: Any) -> Any:
        wait_s = max(0.0, min(getattr(request, "wait_s", 0.0), MAX_WAIT_S))
        if wait_s and self._waiting >= MAX_WAITING:
            answer.message = f"{MAX_WAITING} calls wait for robots already; call with wait_s 0, or later"
            return answer
        self._waiting += wait_s > 0.0
        try:
            command = make(request)
            if isinstance(command, Push) and not command.version:
                command = await self._with_file(command, request)
            done = await self._ask(command)
            await self._fill_in(answer, command, done, wait_s)
        except FloopError as error:
            answer.message = str(error)
        finally:
            self._waiting -= wait_s > 0.0
        return answer

    async def _fill_in(self, answer: Any, command: AnyFleetCommand, done: CommandResult, wait_s: float) -> None:
        """Wait for robots and fill in the answer."""
        desired = desired_state(command, done)
        watch = self._requests.watch(desired, wait_s)
        watch.add_done_callback(lambda _: self._condition.notify())
        await self._condition.wait_for(watch.done, wait_s + BEGIN_S)
        found = watch.result() if watch.done() and not watch.cancelled() else None
        more = desired.text(found) if found else "how far the robots are is not known; `floop status` shows it"
        answer.success, answer.message = True, "; ".join(filter(None, (done.what, more)))
        answer.record = result_to_msg(done)
        answer.robots = [robot_to_msg(robot) for robot in found.robots] if found else []
        if hasattr(answer, "version") and not isinstance(command, Resume):
            answer.version = done.version
        if isinstance(command, Drain):
            answer.idle = bool(command.drain and found and found.reached and not found.pending and not found.silent)

    async def _with_file(self, command: Push, request: PushPolicy.Request) -> Push:
        """The push with the bundle that it names. Nothing is read for a stranger; what changes meanwhile stays."""
        fields = {name: getattr(command, name) for name in GetScopeVersion.__struct_fields__}
        base = await self._ask(GetScopeVersion(**fields))
        bundle = await self._bundle_of(request)
        return msgspec.structs.replace(command, bundle=bundle, if_version=base.version)

    async def _ask(self, command: AnyCommand) -> CommandResult:
        """The fleet manager's answer; raises `CallRefused` when there is none, and then says whether it was done."""
        future = self._requests.submit(command)
        future.add_done_callback(lambda _: self._condition.notify())
        in_time = await self._condition.wait_for(future.done, BEGIN_S)
        if not in_time and not future.cancel() and not future.done():
            raise CallRefused("not known whether this command was carried out, or will be yet; `floop status` shows it")
        try:
            reply = future.result(0.0)
        except CancelledError:
            ends = in_time or self._condition.is_closed
            late = f"could not be begun within {BEGIN_S:g} s; call again later"
            raise CallRefused(f"not done: {'the fleet manager ends' if ends else late}") from None
        except Exception as error:  # raised in the fleet manager's thread as well
            raise CallRefused(f"not known whether this command was carried out: {error}") from None
        if isinstance(reply, CommandResult):
            return reply
        raise CallRefused(reply.reason if isinstance(reply, Refusal) else f"the fleet manager answered {reply}")

    async def _bundle_of(self, request: PushPolicy.Request) -> bytes:
        """The bundle that a push names; raises `FloopError`."""
        if self._condition.running_threads >= MAX_FILE_READERS:
            raise CallRefused(f"not done: {MAX_FILE_READERS} files are being read already; call again later")
        bundles: list[Bundle] = []

        limit_s = BEGIN_S + (IMPORT_TIMEOUT_S if request.sb3_zip_path else 0.0)
        try:
            is_read = await self._condition.run_in_thread(lambda: bundles.append(self._read(request)), limit_s)
        except RuntimeError as error:  # the machine is short of threads
            raise CallRefused(f"not done: its file cannot be read: {error}") from None
        if not is_read:
            late = f"could not read its file within {limit_s:g} s; call again later"
            raise CallRefused(f"not done: {late if self._condition.accepts_work else 'the fleet manager ends'}")
        return bundles[0].to_bytes()


def read_bundle(request: PushPolicy.Request, config: FloopConfig) -> Bundle:
    """The file that a push names; raises `FloopError`."""
    if request.bundle_path:
        return Bundle.load(Path(request.bundle_path))
    return bundle_of_zip(Path(request.sb3_zip_path), config, trust=request.trust_sb3_zip)


def _push(request: PushPolicy.Request) -> Push:
    if sum(map(bool, (request.version, request.bundle_path, request.sb3_zip_path))) != 1:
        raise CallRefused("give exactly one of version, bundle_path and sb3_zip_path")
    return Push(scope=request.scope or FLEET, version=_in_bounds(request.version), **_fields(request))


def _roll_back(request: RollbackPolicy.Request) -> Rollback:
    return Rollback(version=_in_bounds(request.to_version), **_fields(request))


def _pin(request: PinPolicy.Request) -> Pin | Resume:
    if not request.scope:
        raise CallRefused(f"scope is empty: name a robot, or {FLEET!r} for all")
    if not request.version:
        return Resume(scope=request.scope, **_fields(request))
    return Pin(scope=request.scope, version=_in_bounds(request.version), **_fields(request))


def _hold(request: HoldUpdates.Request) -> Hold | Resume:
    return (Hold if request.hold else Resume)(scope=request.scope or FLEET, **_fields(request))


def _drain(request: DrainRobot.Request) -> Drain:
    if not request.robot:
        raise CallRefused(f"robot is empty: name one, or {FLEET!r} for all")
    return Drain(scope=request.robot, drain=request.drain, **_fields(request))


def _in_bounds(version: int) -> int:
    """A version as the fleet manager can be asked for it; raises `CallRefused`."""
    if version > MAX_INT:
        raise CallRefused(f"there is no v{version}: numbers end at {MAX_INT}")
    return version


def _fields(request: Any) -> dict[str, Any]:
    """What every command carries; a call without an id of its own gets a new one."""
    fields = {"who": request.who, "token": request.token, "why": request.why}
    return fields | ({"call_id": request.call_id} if request.call_id else {})
