"""`/fleet/set_estop`: stop many robots at once, or release their latches, and tell what became of each.

No call waits for another: one that asks a robot which is silent keeps no stop waiting.
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
from floop_robot.deploy import AuditNote, FleetClient
from floop_robot.ros.fleet.estop_monitor import EstopMonitor, EstopSnapshot
from floop_robot.ros.fleet.fleet_convert import result_to_msg
from floop_robot.ros.node import topics
from floop_robot.ros.node.async_condition import AsyncCondition
from floop_robot.ros.node.qos import CALLS, EVENTS
from floop_robot.ros.node.service_calls import audit_entry
from floop_robot.ros.node.stamps import header
from floop_robot.ros.safety.estop_reset_cache import EstopResetCache
from floop_robot.ros.safety.estop_service import DONE, OBEY_TIMEOUT_S
from floop_robot.ros.safety.safety_publisher import NONCE_LIFETIME_S
from floop_robot.spec.errors import FloopError, UnknownName

ANSWER_S: Final = 2.0
"""How long robots get to answer."""
RETRY_PERIOD_S: Final = 0.4
"""A call to a safety node that was just killed vanishes: a stop is repeated after this long."""
RELEASE_RETRY_PERIOD_S: Final = OBEY_TIMEOUT_S + 0.2
"""A release only once a robot that got it would have answered: one that is carried out twice discards targets twice."""
AUDIT_S: Final = 1.0
"""How long an answer waits for its entry in the audit."""
MAX_CALLS: Final = 64
"""Calls that wait for robots at a time: more than operators and their scripts make."""
FULL: Final = f"{MAX_CALLS} calls wait for robots already"
LONGEST_S: Final = 2 * (ANSWER_S + NONCE_LIFETIME_S)
"""After so long every release is answered."""
UNDER_WAY: Final = "nothing was done: a release with this call_id is not answered yet"
UNKNOWN: Final = "unknown"
ENDING: Final = "the fleet manager's node ends; what robots were asked, if anything, is on its way"


class _RobotCalls:
    """One question to several robots, repeated until all have answered or the time is up.

    A stop that is repeated stops again; a release names the stop that it releases, so that no number of them opens
    another.
    """

    def __init__(self, request: SetEstop.Request, meant: Sequence[str]) -> None:
        self.request, self.meant = request, tuple(meant)
        self.answers: dict[str, Any] = {}
        self.given_up: dict[str, str] = {}
        """Robots that are asked no more, and why."""
        self.asked_s: dict[str, float] = {}
        """When each robot was last asked."""
        self._calls: list[tuple[Any, Any]] = []
        self._arrived = threading.Condition()

    def ask(self, robot: str, client: Any, seal: int = 0) -> None:
        """Send the question once more."""
        given = {name: getattr(self.request, name) for name in self.request.get_fields_and_field_types()}
        self.asked_s[robot] = time.monotonic()
        future = client.call_async(SetEstop.Request(**(given | {"seal": seal})))
        future.add_done_callback(lambda future: self._keep(robot, future))
        self._calls.append((client, future))

    def _keep(self, robot: str, future: Any) -> None:
        with self._arrived:
            if not future.cancelled() and future.exception() is None and self.is_asked(robot):
                self.answers[robot] = future.result()
            self._arrived.notify()

    def is_asked(self, robot: str) -> bool:
        """Whether it has yet to say what became of it.

        A stop that failed is none: it may be the last word of a process that another one takes over from.
        """
        answer = self.answers.get(robot)
        return robot not in self.given_up and (answer is None or (self.request.stop and not answer.success))

    @property
    def is_over(self) -> bool:
        """Nobody is waited for any longer."""
        return not any(map(self.is_asked, self.meant))

    def wait(self, timeout_s: float) -> None:
        """For answers."""
        with self._arrived:
            self._arrived.wait_for(lambda: self.is_over, timeout_s)

    def end(self) -> None:
        """What is still unanswered is given up."""
        for client, future in self._calls:
            if not future.done():
                client.remove_pending_request(future)

    def failures(self) -> list[str]:
        """Who has not done it, and why."""
        with self._arrived:
            failed = [f"{name}: {found.message}" for name, found in self.answers.items() if not found.success]
            left = [name for name in self.meant if name not in self.answers]
        return failed + [f"{name} {self.given_up.get(name, 'did not answer')}" for name in left]

    def warnings(self) -> list[str]:
        """What those said who have done it, where it is more than that."""
        plain = DONE[self.request.stop]
        with self._arrived:
            done = {name: found.message for name, found in self.answers.items() if found.success}
        return [message for name, message in done.items() if message != f"{name} {plain}"]


class _EstopCall(msgspec.Struct, frozen=True):
    """A call, and what it is about."""

    request: Any
    answer: Any
    meant: tuple[str, ...]
    """Robots."""
    unknown: tuple[str, ...]
    """Names of no robot, in words."""
    snapshot: Mapping[str, EstopSnapshot]


class FleetEstop:
    """Serves on `node`; asks the robots through `robots_node`, which another executor must spin meanwhile.

    A stop goes out on the robots' topics before anything else happens, and needs neither name nor token.
    """

    def __init__(self, node: Node, robots_node: Node, robots: Sequence[str], client: FleetClient) -> None:
        """`client` is this service's alone; it writes the audit."""
        self._condition, self._one_at_a_time = AsyncCondition(node), threading.Lock()
        self._robots, self._client = tuple(robots), client
        self._open = 0
        """Calls that wait."""
        self._is_closing = False
        """Nobody would hear what becomes of a release that a robot is asked for from now on."""
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
            meant = ()  # a release that is not fully understood is none
        if request.stop:
            request.who = request.who or UNKNOWN
            self._say(StopRequest(header=header(), who=request.who, why=request.why), meant)
        call = _EstopCall(request, answer, meant, tuple(unknown), self._estop_monitor.take_snapshot(meant))
        if request.stop:
            return await self._judge(call)
        found, is_new = await self._calls.once(request, lambda: self._judge(call))
        if found is None:
            answer.message = UNDER_WAY
            return answer
        # The robots know whether somebody has stopped them since.
        return await self._judge(call) if found.success and not is_new else found

    async def _judge(self, call: _EstopCall) -> SetEstop.Response:
        if self._open >= MAX_CALLS:
            told = "stops were sent, and nobody waits for the answers" if call.request.stop else "nothing was done"
            call.answer.message = "; ".join([f"{FULL}: {told}", *call.unknown])
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
        asked = self._stop_robots(call) if request.stop else self._release_robots(call)
        found = {name: asked.answers[name] for name in call.meant if name in asked.answers}
        answer.states = [state for each in found.values() for state in each.states]
        warnings, failed = asked.warnings(), [*asked.failures(), *call.unknown]
        done = [name for name, each in found.items() if each.success]
        what = "stopped" if request.stop else "released"
        told = f"{what} {', '.join(done)}" if done else f"{what} none"
        answer.success = not failed
        answer.message = "; ".join([told, *warnings, *failed])
        answer.record = self._audit(request, told, "; ".join([*warnings, *failed]))

    def _say(self, message: StopRequest, meant: Sequence[str]) -> None:
        self._estop_monitor.stopped(meant, message)
        if len(meant) == len(self._robots):
            self._all.publish(message)
        for name in meant:
            self._each[name].publish(message)

    def _stop_robots(self, call: _EstopCall) -> _RobotCalls:
        """Ask again and again: a call to a safety node that was just killed vanishes."""
        asked, deadline_s = _RobotCalls(call.request, call.meant), time.monotonic() + ANSWER_S
        while not asked.is_over and (left_s := deadline_s - time.monotonic()) > 0.0:
            for name in call.meant:
                if asked.is_asked(name) and self._ask[name].service_is_ready():
                    asked.ask(name, self._ask[name])
            asked.wait(min(RETRY_PERIOD_S, left_s))
        asked.end()
        return asked

    def _release_robots(self, call: _EstopCall) -> _RobotCalls:
        """The same, but nobody is released whom somebody stopped since, and nobody is released after the answer.

        So a robot that was asked is waited for until what it was asked is void.
        """
        asked, deadline_s = _RobotCalls(call.request, call.meant), time.monotonic() + ANSWER_S
        while not asked.is_over:
            now_s = time.monotonic()
            if now_s >= max([deadline_s, *(at_s + NONCE_LIFETIME_S for at_s in asked.asked_s.values())]):
                break
            for name in call.meant if now_s < deadline_s and not self._is_closing else ():
                is_due = now_s - asked.asked_s.get(name, -math.inf) >= RELEASE_RETRY_PERIOD_S
                if is_due and asked.is_asked(name) and (why := self._release(asked, name, call.snapshot[name])):
                    asked.given_up[name] = why
            asked.wait(RETRY_PERIOD_S)
        asked.end()
        return asked

    def _release(self, asked: _RobotCalls, name: str, snapshot: EstopSnapshot) -> str:
        def ask(seal: int) -> None:
            if self._ask[name].service_is_ready():
                asked.ask(name, self._ask[name], seal)

        return self._estop_monitor.release(name, snapshot, ask)

    def _audit(self, request: SetEstop.Request, what: str, detail: str) -> Any:
        note = AuditNote(
            call_id=uuid.uuid4().hex,  # what is asked twice is written down twice, also under one id
            who=request.who[:1000] or UNKNOWN,
            why=request.why[:1000],
            what=what[:1000],
            detail=detail[:1000],
        )
        unwritten = audit_entry(request.who, what, detail=request.why)  # a fleet without a manager stops as well
        if not self._one_at_a_time.acquire(timeout=AUDIT_S):
            return unwritten
        try:
            return result_to_msg(self._client.send_command(note))
        except FloopError:
            return unwritten
        finally:
            self._one_at_a_time.release()
