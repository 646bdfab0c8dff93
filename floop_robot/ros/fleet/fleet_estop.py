"""FleetEstop: `/fleet/set_estop` stops many robots at once, or resets their e-stops. The answer names each robot.

No call waits for another. So a reset of a silent robot delays no stop.
"""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from floop_interfaces.msg import StopRequest
from floop_interfaces.srv import SetEstop
from floop_robot.deploy import AuditNote, CommandResult, RequestQueue
from floop_robot.ros.fleet.estop_monitor import EstopMonitor, EstopSnapshot
from floop_robot.ros.fleet.fleet_convert import audit_to_msg
from floop_robot.ros.node import topics
from floop_robot.ros.node.async_condition import AsyncCondition
from floop_robot.ros.node.qos import CALLS, EVENTS
from floop_robot.ros.node.service_calls import audit_entry
from floop_robot.ros.node.stamps import header
from floop_robot.ros.safety.estop_reset_cache import EstopResetCache
from floop_robot.ros.safety.estop_service import DONE, OBEY_TIMEOUT_S
from floop_robot.ros.safety.safety_publisher import NONCE_LIFETIME_S
from floop_robot.spec.errors import UnknownName

ANSWER_S: Final = 2.0
"""How long robots get to answer."""
RETRY_PERIOD_S: Final = 0.4
"""A stop is repeated after this long: a call to a safety node that was just killed vanishes."""
RESET_RETRY_PERIOD_S: Final = OBEY_TIMEOUT_S + 0.2
"""A reset is repeated only after its robot must have answered: one that is carried out twice discards targets twice."""
AUDIT_TIMEOUT_S: Final = 0.5
"""How long an answer waits for its entry in the audit."""
MAX_CALLS: Final = 64
"""Calls that wait for robots at a time: more than operators and their scripts make."""
FULL: Final = f"{MAX_CALLS} calls wait for robots already"
LONGEST_S: Final = 2 * (ANSWER_S + NONCE_LIFETIME_S)
"""After so long every reset is answered."""
UNDER_WAY: Final = "nothing was done: a reset with this call_id is not answered yet"
UNKNOWN: Final = "unknown"
ENDING: Final = "the fleet manager's node ends; what robots were asked, if anything, is on its way"


class _RobotCalls:
    """One stop or reset for several robots, repeated until all have answered or the time is up.

    A repeated stop stops again. A reset names the stop that it resets, so repeating it resets no other.
    """

    def __init__(self, request: SetEstop.Request, meant: Sequence[str]) -> None:
        self.request, self.meant = request, tuple(meant)
        self.answers: dict[str, Any] = {}
        self.given_up: dict[str, str] = {}
        """Robots that are not asked any more, and why."""
        self.asked_s: dict[str, float] = {}
        """When each robot was last asked."""
        self._calls: list[tuple[Any, Any]] = []
        self._arrived = threading.Condition()

    def ask(self, robot: str, client: Any, nonce: int = 0) -> None:
        """Send the call to a robot, first or again."""
        given = {name: getattr(self.request, name) for name in self.request.get_fields_and_field_types()}
        self.asked_s[robot] = time.monotonic()
        future = client.call_async(SetEstop.Request(**(given | {"seal": nonce})))
        future.add_done_callback(lambda future: self._store_answer(robot, future))
        self._calls.append((client, future))

    def _store_answer(self, robot: str, future: Any) -> None:
        with self._arrived:
            if not future.cancelled() and future.exception() is None and self.is_asked(robot):
                self.answers[robot] = future.result()
            self._arrived.notify()

    def is_asked(self, robot: str) -> bool:
        """Whether the robot still owes an answer.

        A stop that failed does not count: a process that is about to be replaced may have sent it.
        """
        answer = self.answers.get(robot)
        return robot not in self.given_up and (answer is None or (self.request.stop and not answer.success))

    @property
    def is_over(self) -> bool:
        """Whether every robot has answered or was given up."""
        return not any(map(self.is_asked, self.meant))

    def wait(self, timeout_s: float) -> None:
        """Wait for answers."""
        with self._arrived:
            self._arrived.wait_for(lambda: self.is_over, timeout_s)

    def end(self) -> None:
        """Give up what is not answered."""
        for client, future in self._calls:
            if not future.done():
                client.remove_pending_request(future)

    def failures(self) -> list[str]:
        """Robots that did not obey, and why."""
        with self._arrived:
            failed = [f"{name}: {found.message}" for name, found in self.answers.items() if not found.success]
            left = [name for name in self.meant if name not in self.answers]
        return failed + [f"{name} {self.given_up.get(name, 'did not answer')}" for name in left]

    def warnings(self) -> list[str]:
        """Answers of robots that obeyed, where they add something."""
        plain = DONE[self.request.stop]
        with self._arrived:
            done = {name: found.message for name, found in self.answers.items() if found.success}
        return [message for name, message in done.items() if message != f"{name} {plain}"]


class _EstopCall(msgspec.Struct, frozen=True):
    """A call and the robots that it is for."""

    request: Any
    answer: Any
    meant: tuple[str, ...]
    """Robots."""
    unknown: tuple[str, ...]
    """One line for each name that is no robot's."""
    snapshot: Mapping[str, EstopSnapshot]


class FleetEstop:
    """Serves on `node`; calls robots through `robots_node`, which another executor must spin.

    A stop is published on the robots' topics before anything else happens. It needs neither name nor token.
    """

    def __init__(self, node: Node, robots_node: Node, robots: Sequence[str], requests: RequestQueue) -> None:
        """`requests`: the fleet manager's queue; it writes the audit."""
        self._condition, self._requests, self._robots = AsyncCondition(node), requests, tuple(robots)
        self._open = 0
        """Calls that wait."""
        self._is_closing = False
        """No robot is asked for a reset any more: nobody would get its answer."""
        self._calls = EstopResetCache[SetEstop.Response](self._condition, LONGEST_S)
        self._estop_monitor = EstopMonitor(robots_node, self._robots)
        self._all = node.create_publisher(StopRequest, topics.FLEET_ESTOP, EVENTS)
        self._each = {r: node.create_publisher(StopRequest, f"/{r}/{topics.ESTOP}", EVENTS) for r in robots}
        self._ask = {
            r: robots_node.create_client(SetEstop, f"/{r}/{topics.SET_ESTOP}", qos_profile=CALLS) for r in robots
        }
        group = ReentrantCallbackGroup()
        node.create_service(SetEstop, topics.FLEET_SET_ESTOP, self._serve, qos_profile=CALLS, callback_group=group)

    async def _serve(self, request: SetEstop.Request, answer: SetEstop.Response) -> SetEstop.Response:
        unknown = [str(UnknownName("robot", name, self._robots)) for name in request.robots if name not in self._robots]
        named = tuple(dict.fromkeys(name for name in request.robots if name in self._robots))
        meant = named if request.robots else self._robots
        if unknown and not request.stop:
            meant = ()  # a reset with an unknown name resets nothing
        if request.stop:
            request.who = request.who or UNKNOWN
            self._publish(StopRequest(header=header(), who=request.who, why=request.why), meant)
        call = _EstopCall(request, answer, meant, tuple(unknown), self._estop_monitor.take_snapshot(meant))
        if request.stop:
            return await self._decide(call)
        found, is_new = await self._calls.once(request, lambda: self._decide(call))
        if found is None:
            answer.message = UNDER_WAY
            return answer
        # The robots know whether somebody stopped them since.
        return await self._decide(call) if found.success and not is_new else found

    async def _decide(self, call: _EstopCall) -> SetEstop.Response:
        if self._open >= MAX_CALLS:
            done = "stops were sent, and nobody waits for the answers" if call.request.stop else "nothing was done"
            call.answer.message = "; ".join([f"{FULL}: {done}", *call.unknown])
            return call.answer
        self._open += 1
        try:
            if not await self._condition.run_in_thread(lambda: self._carry_out(call)):
                call.answer.message = ENDING
        finally:
            self._open -= 1
        return call.answer

    def close(self) -> None:
        """Answer whoever waits; before the executors end."""
        self._is_closing = True
        self._condition.close()

    def _carry_out(self, call: _EstopCall) -> None:
        request, answer = call.request, call.answer
        asked = self._stop_robots(call) if request.stop else self._reset_robots(call)
        found = {name: asked.answers[name] for name in call.meant if name in asked.answers}
        answer.states = [state for each in found.values() for state in each.states]
        warnings, failed = asked.warnings(), [*asked.failures(), *call.unknown]
        done = [name for name, each in found.items() if each.success]
        verb = "stopped" if request.stop else "reset"
        what = f"{verb} {', '.join(done)}" if done else f"{verb} none"
        answer.success = not failed
        answer.message = "; ".join([what, *warnings, *failed])
        answer.record = self._audit(request, what, "; ".join([*warnings, *failed]))

    def _publish(self, message: StopRequest, meant: Sequence[str]) -> None:
        self._estop_monitor.count_stop(meant, message)
        if len(meant) == len(self._robots):
            self._all.publish(message)
        for name in meant:
            self._each[name].publish(message)

    def _stop_robots(self, call: _EstopCall) -> _RobotCalls:
        """Ask until robots obey: a call to a safety node that was just killed vanishes."""
        asked, deadline_s = _RobotCalls(call.request, call.meant), time.monotonic() + ANSWER_S
        while not asked.is_over and (left_s := deadline_s - time.monotonic()) > 0.0:
            for name in call.meant:
                if asked.is_asked(name) and self._ask[name].service_is_ready():
                    asked.ask(name, self._ask[name])
            asked.wait(min(RETRY_PERIOD_S, left_s))
        asked.end()
        return asked

    def _reset_robots(self, call: _EstopCall) -> _RobotCalls:
        """Reset robots that nobody stopped since the call, and none after the answer.

        So the answer waits until the nonce of every reset that was sent is void.
        """
        asked, deadline_s = _RobotCalls(call.request, call.meant), time.monotonic() + ANSWER_S
        while not asked.is_over:
            now_s = time.monotonic()
            if now_s >= max([deadline_s, *(at_s + NONCE_LIFETIME_S for at_s in asked.asked_s.values())]):
                break
            for name in call.meant if now_s < deadline_s and not self._is_closing else ():
                is_due = now_s - asked.asked_s.get(name, -math.inf) >= RESET_RETRY_PERIOD_S
                if is_due and asked.is_asked(name) and (why := self._reset(asked, name, call.snapshot[name])):
                    asked.given_up[name] = why
            asked.wait(RETRY_PERIOD_S)
        asked.end()
        return asked

    def _reset(self, asked: _RobotCalls, name: str, snapshot: EstopSnapshot) -> str:
        def ask(nonce: int) -> None:
            if self._ask[name].service_is_ready():
                asked.ask(name, self._ask[name], nonce)

        return self._estop_monitor.reset(name, snapshot, ask)

    def _audit(self, request: SetEstop.Request, what: str, detail: str) -> Any:
        note = AuditNote(
            call_id=uuid.uuid4().hex,  # a call that is repeated is audited again
            who=request.who[:1000] or UNKNOWN,
            why=request.why[:1000],
            what=what[:1000],
            detail=detail[:1000],
        )
        unwritten = audit_entry(request.who, what, detail=request.why)  # a fleet without a manager stops as well
        written = self._requests.submit(note)  # not cancelled: a fleet manager that is busy writes it later
        try:
            reply = written.result(AUDIT_TIMEOUT_S)
        except Exception:  # too late, or the fleet manager ends
            return unwritten
        return audit_to_msg(reply) if isinstance(reply, CommandResult) else unwritten
