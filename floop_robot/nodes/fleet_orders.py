"""Operators' orders as services below `/fleet`: each is one order to the fleet manager, and one look at its robots.

An order that waits for robots keeps no other waiting: whoever pushed something bad can roll it back meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Final

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from floop_interfaces.srv import DrainRobot, HoldUpdates, PinPolicy, PushPolicy, RollbackPolicy
from floop_robot.bundle import Bundle
from floop_robot.nodes import topics
from floop_robot.nodes.bell import Bell
from floop_robot.nodes.fleet_convert import done_to_msg, robot_to_msg
from floop_robot.processes.import_zip import bundle_of_zip
from floop_robot.registry import FLEET
from floop_robot.robot.operators import OperatorTokens
from floop_robot.rollout import Done, Drain, FleetClient, Hold, Pin, Push, Resume, RobotStatus, Rollback
from floop_robot.rollout.effect import acting_on, drained
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.errors import ConfigError, FloopError

LONGEST_WAIT_S: Final = 300.0
ORDER_TIMEOUT_S: Final = 5.0


class FleetOrders:
    """Serves push, rollback, pin, hold and drain on `node`."""

    def __init__(self, node: Node, config: FloopConfig, stop: threading.Event) -> None:
        """`stop` ends waits. Raises `ConfigError` when the token file can't be used."""
        self._config, self._stop, self._bell = config, stop, Bell(node)
        self._operators = OperatorTokens(Path(config.operators) if config.operators else None)
        group = ReentrantCallbackGroup()
        for kind, name, body in (
            (PushPolicy, topics.PUSH_POLICY, self._push),
            (RollbackPolicy, topics.ROLLBACK_POLICY, self._roll_back),
            (PinPolicy, topics.PIN_POLICY, self._pin),
            (HoldUpdates, topics.HOLD_UPDATES, self._hold),
            (DrainRobot, topics.DRAIN_ROBOT, self._drain),
        ):
            node.create_service(kind, name, self._guarded(body), callback_group=group)

    def _guarded(self, body: Callable[[FleetClient, Any, Any], None]) -> Callable[[Any, Any], Awaitable[Any]]:
        """A service that answers what can't be done in one line, before anything is read or run for a stranger."""

        def carry_out(request: Any, answer: Any) -> None:
            try:
                with FleetClient(self._config.endpoints.fleet_rpc, timeout_s=ORDER_TIMEOUT_S) as client:
                    body(client, request, answer)
            except FloopError as error:
                answer.success, answer.message = False, str(error)

        async def serve(request: Any, answer: Any) -> Any:
            answer.message = self._operators.refusal(request.who, request.token)
            if not answer.message:
                await self._bell.aside(lambda: carry_out(request, answer))
            return answer

        return serve

    def _push(self, client: FleetClient, request: PushPolicy.Request, answer: PushPolicy.Response) -> None:
        scope = request.scope or FLEET
        given = (bool(request.version), bool(request.bundle_path), bool(request.sb3_zip_path))
        if sum(given) != 1:
            raise ConfigError("give exactly one of version, bundle_path and sb3_zip_path")
        bundle = b""
        if request.bundle_path:
            bundle = Bundle.load(Path(request.bundle_path)).to_bytes()
        elif request.sb3_zip_path:
            trust = request.trust_sb3_zip
            bundle = bundle_of_zip(Path(request.sb3_zip_path), self._config, trust=trust).to_bytes()
        order = Push(version=request.version, bundle=bundle, scope=scope, **_signed(request))
        self._publish(client, order, scope, request.wait_s, answer)

    def _roll_back(
        self, client: FleetClient, request: RollbackPolicy.Request, answer: RollbackPolicy.Response
    ) -> None:
        self._publish(client, Rollback(version=request.to_version, **_signed(request)), FLEET, request.wait_s, answer)

    def _pin(self, client: FleetClient, request: PinPolicy.Request, answer: PinPolicy.Response) -> None:
        if not request.scope:
            raise ConfigError(f"scope is empty: name a robot, or {FLEET!r} for all")
        if request.version:
            order = Pin(scope=request.scope, version=request.version, **_signed(request))
            self._publish(client, order, request.scope, request.wait_s, answer)
            return
        done = client.order(Resume(scope=request.scope, **_signed(request)))
        self._tell(done, client.robots().robots, answer)

    def _hold(self, client: FleetClient, request: HoldUpdates.Request, answer: HoldUpdates.Response) -> None:
        kind = Hold if request.hold else Resume
        done = client.order(kind(scope=request.scope or FLEET, **_signed(request)))
        self._tell(done, client.robots().robots, answer)

    def _drain(self, client: FleetClient, request: DrainRobot.Request, answer: DrainRobot.Response) -> None:
        if not request.robot:
            raise ConfigError(f"robot is empty: name one, or {FLEET!r} for all")
        done = client.order(Drain(scope=request.robot, drain=request.drain, **_signed(request)))
        found = drained(client, request.drain, request.robot, _limited(request.wait_s), self._stop)
        answer.idle = bool(request.drain and found.there and not found.behind and not found.silent)
        words = ("idle", "still at work") if request.drain else ("may work", "still drained")
        self._tell(done, found.robots, answer, found.text(*words))

    def _publish(
        self, client: FleetClient, order: Push | Rollback | Pin, scope: str, wait_s: float, answer: Any
    ) -> None:
        """Have a version published, wait for robots to act on it, and tell which do."""
        done = client.order(order)
        answer.version = done.version
        found = acting_on(client, done.version, scope, _limited(wait_s), self._stop)
        self._tell(done, found.robots, answer, found.text("acting on it", "not yet"))

    @staticmethod
    def _tell(done: Done, robots: Iterable[RobotStatus], answer: Any, more: str = "") -> None:
        answer.success, answer.message = True, "; ".join(filter(None, (done.what, more)))
        answer.record = done_to_msg(done)
        answer.robots = [robot_to_msg(robot) for robot in robots]


def _limited(wait_s: float) -> float:
    return max(0.0, min(wait_s, LONGEST_WAIT_S))


def _signed(request: Any) -> dict[str, str]:
    """What every order carries; a call without an id of its own gets a new one."""
    signed = {"who": request.who, "token": request.token, "why": request.why}
    return signed | ({"call_id": request.call_id} if request.call_id else {})
