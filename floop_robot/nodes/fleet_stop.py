"""`/fleet/set_estop`: stop many robots at once, or release their latches, and tell what became of each.

No call waits for another: one that asks a robot which is silent keeps no stop waiting.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any, Final

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from floop_interfaces.msg import StopRequest
from floop_interfaces.srv import SetEstop
from floop_robot.nodes import topics
from floop_robot.nodes.bell import Bell
from floop_robot.nodes.calls import audit_entry
from floop_robot.nodes.convert import header
from floop_robot.nodes.fleet_convert import done_to_msg
from floop_robot.nodes.qos import EVENTS
from floop_robot.rollout import FleetClient, Remark
from floop_robot.spec.errors import FloopError, UnknownName

ANSWER_S: Final = 2.0
"""How long robots get to answer."""
AGAIN_S: Final = 0.4
"""A call to a safety node that was just killed vanishes: it is repeated after this long."""
UNKNOWN: Final = "unknown"


class FleetStop:
    """Serves on `node`; asks the robots through `asking`, which another executor must spin meanwhile.

    A stop goes out on the robots' topics before anything else happens, and needs neither name nor token.
    """

    def __init__(self, node: Node, asking: Node, robots: Sequence[str], client: FleetClient) -> None:
        """`client` is this service's alone; it writes the audit."""
        self._bell, self._one_at_a_time = Bell(node), threading.Lock()
        self._stops = 0
        """Stops that were asked for here; a release does not go on after one."""
        self._robots, self._client = tuple(robots), client
        self._all = node.create_publisher(StopRequest, topics.FLEET_ESTOP, EVENTS)
        self._each = {r: node.create_publisher(StopRequest, f"/{r}/{topics.ESTOP}", EVENTS) for r in robots}
        self._ask = {r: asking.create_client(SetEstop, f"/{r}/{topics.SET_ESTOP}") for r in robots}
        group = ReentrantCallbackGroup()
        node.create_service(SetEstop, topics.FLEET_SET_ESTOP, self._serve, callback_group=group)

    async def _serve(self, request: SetEstop.Request, answer: SetEstop.Response) -> SetEstop.Response:
        unknown = [name for name in request.robots if name not in self._robots]
        meant = [name for name in request.robots if name in self._robots] if request.robots else list(self._robots)
        if unknown and not request.stop:
            meant = []  # a release that is not fully understood is none
        if request.stop:
            self._stops += 1
            request.who = request.who or UNKNOWN
            self._say(StopRequest(header=header(), who=request.who, why=request.why), meant)
        request.call_id = request.call_id or uuid.uuid4().hex
        stops = self._stops
        await self._bell.aside(lambda: self._carry_out(request, answer, meant, unknown, stops))
        return answer

    def _carry_out(
        self,
        request: SetEstop.Request,
        answer: SetEstop.Response,
        meant: Sequence[str],
        unknown: Sequence[str],
        stops: int,
    ) -> None:
        answers = self._ask_robots(meant, request, stops)
        answer.states = [state for found in answers.values() for state in found.states]
        failed = [f"{name}: {found.message}" for name, found in answers.items() if not found.success]
        failed += [f"{name} did not answer" for name in meant if name not in answers]
        failed += [str(UnknownName("robot", name, self._robots)) for name in unknown]
        done = [name for name, found in answers.items() if found.success]
        what = "stopped" if request.stop else "released"
        told = f"{what} {', '.join(done)}" if done else f"{what} none"
        answer.success = not failed
        answer.message = "; ".join([told, *failed])
        answer.record = self._audit(request, told, "; ".join(failed))

    def _say(self, message: StopRequest, meant: Sequence[str]) -> None:
        if len(meant) == len(self._robots):
            self._all.publish(message)
        for name in meant:
            self._each[name].publish(message)

    def _ask_robots(self, meant: Sequence[str], request: SetEstop.Request, stops: int) -> dict[str, Any]:
        """Answers by robot, of those that answered in time; calls are repeated meanwhile, with one effect.

        A release asks nobody any more once there were more than `stops` stops: it would undo what came after it.
        """
        answers: dict[str, Any] = {}
        arrived = threading.Condition()

        def keep(name: str, future: Any) -> None:
            with arrived:
                if not future.cancelled() and future.exception() is None:
                    answers[name] = future.result()
                arrived.notify()

        def done() -> bool:
            return len(answers) == len(meant)

        calls: list[tuple[str, Any]] = []
        deadline = time.monotonic() + ANSWER_S
        while not done() and (left_s := deadline - time.monotonic()) > 0.0:
            for name in meant:
                if not request.stop and self._stops != stops:
                    break
                if name not in answers and self._ask[name].service_is_ready():
                    future = self._ask[name].call_async(request)
                    future.add_done_callback(lambda future, name=name: keep(name, future))
                    calls.append((name, future))
            with arrived:
                arrived.wait_for(done, min(AGAIN_S, left_s))
        for name, future in calls:
            if not future.done():
                self._ask[name].remove_pending_request(future)
        with arrived:
            return {name: answers[name] for name in meant if name in answers}

    def _audit(self, request: SetEstop.Request, what: str, failed: str) -> Any:
        remark = Remark(
            call_id=f"estop {request.call_id}"[:1000],
            who=request.who[:1000] or UNKNOWN,
            why=request.why[:1000],
            what=what[:1000],
            detail=failed[:1000],
        )
        try:
            with self._one_at_a_time:
                return done_to_msg(self._client.order(remark))
        except FloopError:
            return audit_entry(request.who, what, detail=request.why)  # a fleet without a manager stops as well
