"""Operators' orders as services below `/fleet`: each is one order to the fleet manager, and one look at its robots.

Orders are carried out one after another, those of one kind as they arrive. One that reads a file keeps none of another
kind waiting, and one that waits for robots none at all: whoever pushed something bad can roll it back meanwhile.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from floop_interfaces.srv import DrainRobot, HoldUpdates, PinPolicy, PushPolicy, RollbackPolicy
from floop_robot.bundle import Bundle
from floop_robot.deploy import Drain, Hold, Pin, Push, Resume, Rollback
from floop_robot.deploy.convergence import desired_drain, desired_version
from floop_robot.deploy.registry import FLEET
from floop_robot.robot.operators import OperatorTokens
from floop_robot.ros.fleet.command_queue import (
    BEGIN_S,
    CommandOutcome,
    CommandRequest,
    FleetCommandQueue,
    QueuedCommand,
    QueueFull,
)
from floop_robot.ros.fleet.convergence_watcher import ConvergenceWatcher
from floop_robot.ros.fleet.fleet_convert import done_to_msg, robot_to_msg
from floop_robot.ros.node import topics
from floop_robot.ros.node.async_condition import AsyncCondition
from floop_robot.ros.node.qos import CALLS
from floop_robot.services.import_zip import IMPORT_TIMEOUT_S, bundle_of_zip
from floop_robot.spec.bounds import MAX_INT
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.errors import ConfigError

LONGEST_WAIT_S: Final = 300.0
END_S: Final = 1.0
"""How long queue and watcher together may take to end."""
ENDING: Final = "the fleet manager ends; its audit says whether this was done"


class FleetCommandServices:
    """Serves push, rollback, pin, hold and drain on `node`; a context manager."""

    def __init__(self, node: Node, config: FloopConfig) -> None:
        """Raises `ConfigError` when the token file can't be used."""
        self._config, self._condition = config, AsyncCondition(node)
        self._operators = OperatorTokens(Path(config.operators) if config.operators else None)
        self._watcher = ConvergenceWatcher(config.endpoints.fleet_rpc)
        self._queue = FleetCommandQueue(config.endpoints.fleet_rpc, self._watcher)
        group = ReentrantCallbackGroup()
        for kind, name, make in (
            (PushPolicy, topics.PUSH_POLICY, self._push),
            (RollbackPolicy, topics.ROLLBACK_POLICY, _roll_back),
            (PinPolicy, topics.PIN_POLICY, _pin),
            (HoldUpdates, topics.HOLD_UPDATES, _hold),
            (DrainRobot, topics.DRAIN_ROBOT, _drain),
        ):
            node.create_service(kind, name, self._guarded(make), qos_profile=CALLS, callback_group=group)

    def __enter__(self) -> FleetCommandServices:
        self._watcher.start()
        self._queue.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Whoever still waits is told how far the robots are."""
        until_s = time.monotonic() + END_S
        self._queue.close(until_s)
        self._watcher.close(until_s)
        self._condition.close()

    def _guarded(self, make: Callable[[Any], CommandRequest]) -> Callable[[Any, Any], Awaitable[Any]]:
        """A service that answers what can't be done in one line, before anything is read or run for a stranger."""

        async def serve(request: Any, answer: Any) -> Any:
            answer.message = self._operators.refusal(request.who, request.token)
            if answer.message:
                return answer
            queued = QueuedCommand(make(request), self._condition.notify)
            try:
                self._queue.submit(queued)
            except QueueFull as error:
                answer.message = str(error)
                return answer
            await self._condition.wait_for(lambda: queued.outcome is not None, math.inf)
            self._queue.forget(queued)
            _fill_answer(request, queued.outcome or CommandOutcome(error=ENDING), answer)
            return answer

        return serve

    def _push(self, request: PushPolicy.Request) -> CommandRequest:
        scope = request.scope or FLEET

        def order() -> Push:
            if sum(map(bool, (request.version, request.bundle_path, request.sb3_zip_path))) != 1:
                raise ConfigError("give exactly one of version, bundle_path and sb3_zip_path")
            version = _in_bounds(request.version)
            bundle = b""
            if request.bundle_path:
                bundle = Bundle.load(Path(request.bundle_path)).to_bytes()
            elif request.sb3_zip_path:
                trust = request.trust_sb3_zip
                bundle = bundle_of_zip(Path(request.sb3_zip_path), self._config, trust=trust).to_bytes()
            return Push(version=version, bundle=bundle, scope=scope, **_signed(request))

        return CommandRequest(
            "push",
            order,
            lambda done: desired_version(done.version, scope),
            _limited(request.wait_s),
            begin_s=BEGIN_S + (IMPORT_TIMEOUT_S if request.sb3_zip_path else 0.0),
            reads=bool(request.bundle_path or request.sb3_zip_path),
        )


def _roll_back(request: RollbackPolicy.Request) -> CommandRequest:
    return CommandRequest(
        "rollback",
        lambda: Rollback(version=_in_bounds(request.to_version), **_signed(request)),
        lambda done: desired_version(done.version, FLEET),
        _limited(request.wait_s),
    )


def _pin(request: PinPolicy.Request) -> CommandRequest:
    def order() -> Pin | Resume:
        if not request.scope:
            raise ConfigError(f"scope is empty: name a robot, or {FLEET!r} for all")
        if not request.version:
            return Resume(scope=request.scope, **_signed(request))
        return Pin(scope=request.scope, version=_in_bounds(request.version), **_signed(request))

    if not request.version:
        return CommandRequest("pin", order)
    return CommandRequest(
        "pin",
        order,
        lambda done: desired_version(done.version, request.scope),
        _limited(request.wait_s),
    )


def _hold(request: HoldUpdates.Request) -> CommandRequest:
    kind = Hold if request.hold else Resume
    return CommandRequest("hold", lambda: kind(scope=request.scope or FLEET, **_signed(request)))


def _drain(request: DrainRobot.Request) -> CommandRequest:
    def order() -> Drain:
        if not request.robot:
            raise ConfigError(f"robot is empty: name one, or {FLEET!r} for all")
        return Drain(scope=request.robot, drain=request.drain, **_signed(request))

    return CommandRequest(
        "drain", order, lambda _: desired_drain(request.drain, request.robot), _limited(request.wait_s)
    )


def _in_bounds(version: int) -> int:
    """A version as the fleet manager can be asked for it; raises `ConfigError`."""
    if version > MAX_INT:
        raise ConfigError(f"there is no v{version}: numbers end at {MAX_INT}")
    return version


def _fill_answer(request: Any, outcome: CommandOutcome, answer: Any) -> None:
    """Fill in the answer."""
    done, effect = outcome.done, outcome.effect
    if done is None:
        answer.message = outcome.error
        return
    words = ("acting on it", "not yet")
    if isinstance(request, DrainRobot.Request):
        words = ("idle", "still at work") if request.drain else ("may work", "still drained")
        answer.idle = bool(request.drain and effect and effect.reached and not effect.pending and not effect.silent)
    elif hasattr(answer, "version") and not _ends_pin(request):
        answer.version = done.version
    more = effect.text(*words) if effect else outcome.error
    answer.success, answer.message = True, "; ".join(filter(None, (done.what, more)))
    answer.record = done_to_msg(done)
    answer.robots = [robot_to_msg(robot) for robot in effect.robots] if effect else []


def _ends_pin(request: Any) -> bool:
    return isinstance(request, PinPolicy.Request) and not request.version


def _limited(wait_s: float) -> float:
    return max(0.0, min(wait_s, LONGEST_WAIT_S))


def _signed(request: Any) -> dict[str, Any]:
    """What every order carries; a call without an id of its own gets a new one."""
    signed = {"who": request.who, "token": request.token, "why": request.why}
    return signed | ({"call_id": request.call_id} if request.call_id else {})
