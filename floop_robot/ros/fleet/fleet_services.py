"""FleetCommandServices: operators' commands as services below `/fleet`. The fleet manager's queue carries them out.

Nothing blocks: a call that reads a file does so in a thread, and then names the version that it was based on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, Final, TypeVar

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from floop_interfaces.srv import DrainRobot, HoldUpdates, PinPolicy, PushPolicy, RollbackPolicy
from floop_robot.bundle import Bundle
from floop_robot.bundle.delivery import Refusal
from floop_robot.deploy import AnyCommand, CommandResult, Drain, Hold, Pin, Push, RequestQueue, Resume, Rollback
from floop_robot.deploy.commands import GetScopeVersion, ScopeVersion
from floop_robot.deploy.convergence import NO_ROBOTS, Convergence, DesiredState, desired_drain, desired_version
from floop_robot.deploy.messages import Request
from floop_robot.deploy.registry import FLEET
from floop_robot.ros.fleet.fleet_convert import result_to_msg, robot_to_msg
from floop_robot.ros.node import topics
from floop_robot.ros.node.async_condition import AsyncCondition
from floop_robot.ros.node.qos import CALLS
from floop_robot.services.import_zip import IMPORT_TIMEOUT_S, bundle_of_zip
from floop_robot.spec.bounds import MAX_INT
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.errors import FloopError

BEGIN_S: Final = 10.0
"""A command that was not begun within this long is not done; a file is read within it as well."""
MAX_WAIT_S: Final = 300.0
MAX_WAITING: Final = 64
"""Calls that wait for robots: more than operators and their scripts have open."""
MAX_FILE_READERS: Final = 8
"""Threads that read files; one whose disk hangs keeps its thread."""
T = TypeVar("T")


class CallRefused(FloopError):
    """A call that is not carried out."""


class FleetCommandServices:
    """Serves push, rollback, pin, hold and drain on `node`; close it before the executor ends."""

    def __init__(self, node: Node, requests: RequestQueue, read: Callable[[PushPolicy.Request], Bundle]) -> None:
        """`requests`: the fleet manager's queue. `read` reads the file that a push names; it may take long."""
        self._requests, self._read, self._condition = requests, read, AsyncCondition(node)
        self._waiting = 0
        """Calls that want to wait for robots."""
        group = ReentrantCallbackGroup()
        for kind, name, body in (
            (PushPolicy, topics.PUSH_POLICY, self._push),
            (RollbackPolicy, topics.ROLLBACK_POLICY, self._roll_back),
            (PinPolicy, topics.PIN_POLICY, self._pin),
            (HoldUpdates, topics.HOLD_UPDATES, self._hold),
            (DrainRobot, topics.DRAIN_ROBOT, self._drain),
        ):
            node.create_service(kind, name, self._service(body), qos_profile=CALLS, callback_group=group)

    def close(self) -> None:
        """Answer whoever still waits."""
        self._condition.close()

    def _service(self, body: Callable[[Any, Any], Awaitable[None]]) -> Callable[[Any, Any], Awaitable[Any]]:
        """A service that answers with one line what it does not carry out."""

        async def serve(request: Any, answer: Any) -> Any:
            waits = getattr(request, "wait_s", 0.0) > 0.0
            if waits and self._waiting >= MAX_WAITING:
                answer.message = f"{MAX_WAITING} calls wait for robots already; call with wait_s 0, or later"
                return answer
            self._waiting += waits
            try:
                await body(request, answer)
            except FloopError as error:
                answer.message = str(error)
            finally:
                self._waiting -= waits
            return answer

        return serve

    async def _push(self, request: PushPolicy.Request, answer: PushPolicy.Response) -> None:
        if sum(map(bool, (request.version, request.bundle_path, request.sb3_zip_path))) != 1:
            raise CallRefused("give exactly one of version, bundle_path and sb3_zip_path")
        scope, fields = request.scope or FLEET, _fields(request)
        if request.version:
            command = Push(scope=scope, version=_in_bounds(request.version), **fields)
        else:
            # Nothing is read for a stranger; what changes meanwhile is not undone.
            base = await self._ask(GetScopeVersion(scope=scope, **fields), ScopeVersion)
            command = Push(scope=scope, bundle=await self._bundle_of(request), if_version=base.version, **fields)
        await self._carry_out(command, request, answer, lambda done: desired_version(done.version, scope))

    async def _roll_back(self, request: RollbackPolicy.Request, answer: RollbackPolicy.Response) -> None:
        command = Rollback(version=_in_bounds(request.to_version), **_fields(request))
        await self._carry_out(command, request, answer, lambda done: desired_version(done.version, FLEET))

    async def _pin(self, request: PinPolicy.Request, answer: PinPolicy.Response) -> None:
        if not request.scope:
            raise CallRefused(f"scope is empty: name a robot, or {FLEET!r} for all")
        if not request.version:
            await self._carry_out(Resume(scope=request.scope, **_fields(request)), request, answer)
            answer.version = 0
            return
        command = Pin(scope=request.scope, version=_in_bounds(request.version), **_fields(request))
        await self._carry_out(command, request, answer, lambda done: desired_version(done.version, request.scope))

    async def _hold(self, request: HoldUpdates.Request, answer: HoldUpdates.Response) -> None:
        kind = Hold if request.hold else Resume
        await self._carry_out(kind(scope=request.scope or FLEET, **_fields(request)), request, answer)

    async def _drain(self, request: DrainRobot.Request, answer: DrainRobot.Response) -> None:
        if not request.robot:
            raise CallRefused(f"robot is empty: name one, or {FLEET!r} for all")
        command = Drain(scope=request.robot, drain=request.drain, **_fields(request))
        desired = desired_drain(request.drain, request.robot)
        words = ("idle", "still at work") if request.drain else ("may work", "still drained")
        found = await self._carry_out(command, request, answer, lambda _: desired, words)
        answer.idle = bool(request.drain and found and found.reached and not found.pending and not found.silent)

    async def _carry_out(
        self,
        command: AnyCommand,
        request: Any,
        answer: Any,
        desired: Callable[[CommandResult], DesiredState] = lambda _: NO_ROBOTS,
        words: tuple[str, str] = ("acting on it", "not yet"),
    ) -> Convergence | None:
        """Have a command carried out, wait for robots and fill in the answer; returns how far the robots are."""
        done = await self._ask(command, CommandResult)
        wait_s = max(0.0, min(getattr(request, "wait_s", 0.0), MAX_WAIT_S))
        watch = self._requests.watch(desired(done), wait_s)
        watch.add_done_callback(lambda _: self._condition.notify())
        await self._condition.wait_for(watch.done, wait_s + BEGIN_S)
        found = watch.result() if watch.done() else None
        more = found.text(*words) if found else "how far the robots are is not known; `floop status` shows it"
        answer.success, answer.message = True, "; ".join(filter(None, (done.what, more)))
        answer.record = result_to_msg(done)
        answer.robots = [robot_to_msg(robot) for robot in found.robots] if found else []
        if hasattr(answer, "version"):
            answer.version = done.version
        return found

    async def _ask(self, request: Request, kind: type[T]) -> T:
        """The fleet manager's answer; raises `CallRefused` when there is none, and then says whether it was done."""
        future = self._requests.submit(request)
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
        if isinstance(reply, kind):
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


def _in_bounds(version: int) -> int:
    """A version as the fleet manager can be asked for it; raises `CallRefused`."""
    if version > MAX_INT:
        raise CallRefused(f"there is no v{version}: numbers end at {MAX_INT}")
    return version


def _fields(request: Any) -> dict[str, Any]:
    """What every command carries; a call without an id of its own gets a new one."""
    fields = {"who": request.who, "token": request.token, "why": request.why}
    return fields | ({"call_id": request.call_id} if request.call_id else {})
