"""FleetEstop: stops and resets of a whole fleet as services and topics below `/fleet`, around `FleetStops`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from floop_interfaces import msg, srv
from floop_robot.deploy import AuditNote, RequestQueue
from floop_robot.deploy.fleet_stops import TICK_S, FleetStops, ResetAnswer
from floop_robot.deploy.stop_messages import EstopRef, PendingStop
from floop_robot.ros.node import topics
from floop_robot.ros.node.async_condition import AsyncCondition
from floop_robot.ros.node.convert import from_message, to_message
from floop_robot.ros.node.qos import CALLS, EVENTS, LATCHED, SENSOR
from floop_robot.ros.node.service_calls import create_services
from floop_robot.ros.node.timers import create_steady_timer
from floop_robot.spec.errors import CallRefused
from floop_robot.spec.estop import EstopState, join_texts

ANSWER_S: Final = 2.0
"""How long an answer waits for robots."""
MAX_OPEN_CALLS: Final = 1024
"""Calls to robots that may still be answered."""
MAX_NOTE: Final = 1000
"""Characters of a text in the audit."""
NO_ANSWER: Final = "did not answer; look at it, and ask again"


class FleetEstop:
    """Serves on `node` from `start` to `close`, and is the `RobotLink` of its `stops`, on `robots_node`.

    Stops need neither name nor token, and wait for nothing. Each node needs an executor of its own.
    """

    def __init__(
        self, node: Node, robots_node: Node, robots: Sequence[str], folder: Path, requests: RequestQueue
    ) -> None:
        """`folder` keeps stops; `requests` is the fleet manager's queue, which writes the audit."""
        self.stops = FleetStops(folder, robots, self, self._audit)
        self._requests, self._log, self._condition = requests, node.get_logger(), AsyncCondition(node)
        self._clients: dict[tuple[str, Any], Any] = {}
        self._calls: deque[tuple[Any, Any]] = deque()
        """Clients and their calls; nobody waits for the answers of old ones."""
        for robot in robots:
            own = topics.in_site(node, f"/{robot}/")
            for kind, name in ((srv.StopRobot, topics.STOP), (srv.ResetEstop, topics.RESET_ESTOP)):
                self._clients[robot, kind] = robots_node.create_client(kind, own + name, qos_profile=CALLS)
            robots_node.create_subscription(
                msg.EstopState, own + topics.ESTOP_STATE, partial(self._hear, robot), LATCHED
            )
        create_steady_timer(TICK_S, robots_node, self.stops.tick)
        table = (
            (srv.StopFleet, topics.FLEET_STOP, self._stop),
            (Trigger, topics.FLEET_ESTOP_TRIGGER, self._trigger),
            (srv.ResetFleet, topics.FLEET_RESET_ESTOP, self._reset),
        )
        create_services(node, table, ReentrantCallbackGroup())
        level, hear = (
            topics.in_site(node, topics.FLEET_ESTOP),
            lambda m: self.stops.inputs.set(topics.FLEET_ESTOP, m.data),
        )
        for qos in (EVENTS, SENSOR):  # however reliable a publisher is
            node.create_subscription(Bool, level, hear, qos)

    def start(self) -> None:
        """Write stops to disk from now on."""
        self.stops.writer.start()

    def close(self) -> None:
        """Answer whoever waits; before the executors end."""
        self._condition.close()
        self.stops.writer.close()

    def is_ready(self, robot: str) -> bool:
        """As `RobotLink`."""
        return bool(self._clients[robot, srv.StopRobot].service_is_ready())

    def send_stop(self, stop: PendingStop) -> None:
        """As `RobotLink`."""
        request = to_message(srv.StopRobot.Request, stop)
        self._call(stop.robot, srv.StopRobot, request, lambda answer: self.stops.answer(stop, answer.success))

    def send_reset(self, ref: EstopRef, who: str, token: str, why: str, answer: ResetAnswer) -> None:
        """As `RobotLink`."""

        def take(done: srv.ResetEstop.Response) -> None:
            if answer.set_running_or_notify_cancel():
                answer.set_result((done.success, done.message))

        request = to_message(srv.ResetEstop.Request, ref, who=who, token=token, why=why)
        self._call(ref.robot, srv.ResetEstop, request, take)

    def _call(self, robot: str, kind: Any, request: Any, take: Callable[[Any], None]) -> None:
        def done(future: Any) -> None:
            if not future.cancelled() and not future.exception():
                take(future.result())
                self._condition.notify()

        client = self._clients[robot, kind]
        future = client.call_async(request)
        future.add_done_callback(done)
        self._calls.append((client, future))
        while len(self._calls) > MAX_OPEN_CALLS:
            old, call = self._calls.popleft()
            old.remove_pending_request(call)

    def _hear(self, robot: str, m: msg.EstopState) -> None:
        self.stops.observe(robot, from_message(EstopState, m))
        self._condition.notify()

    async def _stop(self, request: srv.StopFleet.Request, answer: srv.StopFleet.Response) -> srv.StopFleet.Response:
        named, unknown = self.stops.stop(request.robots, request.who, request.why, request.request_id)
        await self._condition.wait_for(lambda: not any(map(self.stops.is_pending, named)), ANSWER_S)
        report = self.stops.report()
        known = [each for each in report.robots if each.robot in named]
        answer.pending = [each.robot for each in known if each.pending]
        answer.success = not answer.pending and not unknown
        answer.states = [to_message(msg.EstopState, each.state, robot=each.robot) for each in known if each.state]
        parts = [f"stopped {', '.join(each.robot for each in known if not each.pending) or 'none'}"]
        if answer.pending:
            kept = "kept, and sent again until obeyed" if report.kept else f"not kept: {report.error}"
            parts.append(f"pending at {', '.join(answer.pending)}: the stop is {kept}")
        answer.message = "; ".join([*parts, *unknown])
        return answer

    async def _trigger(self, _: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        request = srv.StopFleet.Request(who=topics.FLEET_ESTOP_TRIGGER)
        done = await self._stop(request, srv.StopFleet.Response())
        answer.success, answer.message = done.success, done.message
        return answer

    async def _reset(self, request: srv.ResetFleet.Request, answer: srv.ResetFleet.Response) -> Any:
        refs = [from_message(EstopRef, each) for each in request.stops]
        try:
            answers = self.stops.reset(refs, request.who, request.token, request.why)
        except CallRefused as refused:
            answer.message = str(refused)
            return answer
        await self._condition.wait_for(lambda: all(each.done() for each in answers.values()), ANSWER_S)
        for name, each in answers.items():
            success, message = (False, f"{name} {NO_ANSWER}") if each.cancel() else each.result()
            answer.results.append(msg.ResetResult(robot=name, success=success, message=message))
        answer.success = all(each.success for each in answer.results)
        answer.message = "; ".join(each.message for each in answer.results)
        return answer

    def _audit(self, who: str, what: str, why: str) -> None:
        who, what, why = (join_texts("", text, MAX_NOTE) for text in (who or "unknown", what, why))
        self._log.warning(f"{who} {what}: {why}")
        self._requests.submit(AuditNote(who=who, what=what, why=why))
