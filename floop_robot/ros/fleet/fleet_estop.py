"""FleetEstop: stops and resets of a whole fleet as services and topics below `/fleet`, around `FleetStops`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from floop_interfaces import msg, srv
from floop_robot.deploy import AuditNote, RequestQueue
from floop_robot.deploy.fleet_stops import FleetStops, ResetAnswer
from floop_robot.deploy.stop_messages import EstopRef, EstopStatus, PendingStop
from floop_robot.ros.node import topics
from floop_robot.ros.node.async_condition import AsyncCondition
from floop_robot.ros.node.convert import from_message
from floop_robot.ros.node.qos import CALLS, EVENTS, LATCHED, SENSOR
from floop_robot.spec.errors import CallRefused

ANSWER_S: Final = 2.0
"""How long an answer waits for robots."""
MAX_CALLS: Final = 64
"""Calls that wait for robots at a time: more than operators and their scripts make."""
MAX_OPEN_CALLS: Final = 1024
"""Calls to robots that may still be answered."""
FULL: Final = f"{MAX_CALLS} calls wait for robots already; nothing was reset; call again later"
NO_ANSWER: Final = "did not answer; look at it, and ask again"


class RobotEstopClients:
    """Calls the robots' e-stop services and hears their state, on a node that another executor spins."""

    def __init__(self, node: Node, robots: Sequence[str]) -> None:
        self.stops: FleetStops
        self.heard: dict[str, msg.EstopState] = {}
        """The newest state of each robot."""
        own = {r: topics.in_site(node, f"/{r}/") for r in robots}
        self._stop = {r: node.create_client(srv.StopRobot, own[r] + topics.STOP, qos_profile=CALLS) for r in robots}
        self._reset = {
            r: node.create_client(srv.ResetEstop, own[r] + topics.RESET_ESTOP, qos_profile=CALLS) for r in robots
        }
        self._calls: deque[tuple[Any, Any]] = deque()
        """Clients and their calls; nobody waits for the answers of old ones."""
        for r in robots:
            name = own[r] + topics.ESTOP_STATE
            node.create_subscription(msg.EstopState, name, lambda m, r=r: self._hear(r, m), LATCHED)

    def is_ready(self, robot: str) -> bool:
        """As `RobotLink`."""
        return bool(self._stop[robot].service_is_ready())

    def send_stop(self, stop: PendingStop) -> None:
        """As `RobotLink`."""
        request = srv.StopRobot.Request(request_id=stop.request_id, who=stop.who, why=stop.why)
        self._call(self._stop[stop.robot], request, lambda answer: self.stops.answer(stop, answer.success))

    def send_reset(self, ref: EstopRef, who: str, token: str, why: str, answer: ResetAnswer) -> None:
        """As `RobotLink`."""

        def take(done: srv.ResetEstop.Response) -> None:
            if answer.set_running_or_notify_cancel():
                answer.set_result((done.success, done.message))

        request = srv.ResetEstop.Request(stop_id=ref.stop_id, nonce=ref.nonce, who=who, token=token, why=why)
        self._call(self._reset[ref.robot], request, take)

    def _call(self, client: Any, request: Any, take: Callable[[Any], None]) -> None:
        future = client.call_async(request)
        future.add_done_callback(lambda done: None if done.cancelled() or done.exception() else take(done.result()))
        self._calls.append((client, future))
        while len(self._calls) > MAX_OPEN_CALLS:
            old, call = self._calls.popleft()
            old.remove_pending_request(call)

    def _hear(self, robot: str, m: msg.EstopState) -> None:
        self.heard[robot] = m
        self.stops.observe(from_message(EstopStatus, m, robot=robot))


class FleetEstop:
    """Serves on `node` from `start` to `close`. Stops need neither name nor token, and wait for nothing."""

    def __init__(
        self, node: Node, robots_node: Node, robots: Sequence[str], folder: Path, requests: RequestQueue
    ) -> None:
        """`folder` keeps stops; `requests` is the fleet manager's queue, which writes the audit."""
        self._robots = RobotEstopClients(robots_node, robots)
        self.stops = self._robots.stops = FleetStops(folder, robots, self._robots, self._audit)
        self._requests, self._log = requests, node.get_logger()
        self._condition, self._open = AsyncCondition(node), 0
        self.stops.listener = lambda: self._condition.notify() if self._open else None
        group = ReentrantCallbackGroup()
        for kind, name, serve in (
            (srv.StopFleet, topics.FLEET_STOP, self._stop),
            (Trigger, topics.FLEET_ESTOP_TRIGGER, self._trigger),
            (srv.ResetFleet, topics.FLEET_RESET_ESTOP, self._reset),
        ):
            node.create_service(kind, topics.in_site(node, name), serve, qos_profile=CALLS, callback_group=group)
        for qos in (EVENTS, SENSOR):  # however reliable a publisher is
            node.create_subscription(
                Bool,
                topics.in_site(node, topics.FLEET_ESTOP),
                lambda m: self.stops.set_level(m.data, topics.FLEET_ESTOP),
                qos,
            )

    def start(self) -> None:
        """Send again what an earlier manager has kept, from now on."""
        self.stops.start()

    def close(self) -> None:
        """Answer whoever waits; before the executors end."""
        self._condition.close()
        self.stops.close()

    async def _stop(self, request: srv.StopFleet.Request, answer: srv.StopFleet.Response) -> srv.StopFleet.Response:
        named, unknown = self.stops.stop(request.robots, request.who, request.why, request.request_id)
        await self._wait(lambda: not any(map(self.stops.is_pending, named)))
        pending = list(filter(self.stops.is_pending, named))
        answer.success, answer.pending = not pending and not unknown, pending
        answer.states = [self._robots.heard[name] for name in named if name in self._robots.heard]
        stopped = [name for name in named if name not in pending]
        answer.message = "; ".join([f"stopped {', '.join(stopped) or 'none'}", *self._left(pending), *unknown])
        return answer

    def _left(self, pending: Sequence[str]) -> Iterable[str]:
        if pending:
            kept = "kept, and sent again until obeyed" if self.stops.is_kept() else f"not kept: {self.stops.error}"
            yield f"pending at {', '.join(pending)}: the stop is {kept}"

    async def _trigger(self, _: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        request = srv.StopFleet.Request(who=topics.FLEET_ESTOP_TRIGGER)
        done = await self._stop(request, srv.StopFleet.Response())
        answer.success, answer.message = done.success, done.message
        return answer

    async def _reset(self, request: srv.ResetFleet.Request, answer: srv.ResetFleet.Response) -> Any:
        refs = [EstopRef(robot=m.robot, stop_id=m.stop_id, nonce=m.nonce) for m in request.stops]
        try:
            if self._open >= MAX_CALLS:
                raise CallRefused(FULL)
            answers = self.stops.reset(refs, request.who, request.token, request.why)
        except CallRefused as refused:
            answer.message = str(refused)
            return answer
        await self._wait(lambda: all(each.done() for each in answers.values()))
        for name, each in answers.items():
            success, message = (False, f"{name} {NO_ANSWER}") if each.cancel() else each.result()
            answer.results.append(msg.ResetResult(robot=name, success=success, message=message))
        answer.success = all(each.success for each in answer.results)
        answer.message = "; ".join(each.message for each in answer.results)
        return answer

    async def _wait(self, condition: Callable[[], bool]) -> None:
        if self._open < MAX_CALLS:
            self._open += 1
            try:
                await self._condition.wait_for(condition, ANSWER_S)
            finally:
                self._open -= 1

    def _audit(self, who: str, what: str, why: str) -> None:
        self._log.warning(f"{who or 'unknown'} {what}: {why}")
        self._requests.submit(AuditNote(who=who or "unknown", what=what[:1000], why=why[:1000]))
