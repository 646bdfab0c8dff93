"""The stop latch's side to ROS: topics and a service that stop, and the one service that releases."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import structs
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from floop_interfaces import msg, srv
from floop_robot.nodes import topics
from floop_robot.nodes.bell import Bell
from floop_robot.nodes.convert import header, order_from_msg, safety_to_msg, to_time
from floop_robot.nodes.io import Mailbox, RosInlet
from floop_robot.nodes.qos import CALLS, EVENTS, LATCHED, SENSOR
from floop_robot.robot.latch import StopLatch
from floop_robot.robot.messages import SafetyOrder, SafetyState
from floop_robot.robot.operators import OperatorTokens
from floop_robot.robot.release_ids import ReleaseIds
from floop_robot.spec.errors import StorageError

CONFIRM_S: Final = 1.0
"""How often the state of the latch is said again."""
OBEY_S: Final = 1.0
"""How long a call waits until the servo loop has obeyed: it does within one period."""
SEAL_S: Final = 2.0
"""How long a release may name a state of the latch: until the next but one is said."""
OUTDATED: Final = "the release is out of date: somebody stopped it since, or the release came late; ask again"
STOPPED_AGAIN: Final = "was stopped again meanwhile"
STOPPED_SINCE: Final = "was released by this call, and stopped again since"
MISSED: Final = f"has not obeyed within {OBEY_S:g} s"
DONE: Final = {True: "is stopped", False: "is released"}
"""What became of a robot that obeyed a stop (True) or a release (False)."""
UNKEPT: Final = {
    True: "its disk has not taken that down, so that a restart may forget it",
    False: "its disk still says stopped, so that a restart may stop it again",
}
"""What is wrong where that is not on disk."""
LAST_LOOK_S: Final = 0.05
"""A release that the servo loop took in its last moment has effect after so long."""
END_S: Final = 0.3
"""How long the end waits for calls to be answered."""
MOST_OPEN: Final = 64
"""Calls that may wait for a disk at a time: more than operators and their scripts make."""
FULL: Final = f"{MOST_OPEN} calls wait already"
ENDING: Final = "safety's process ends"
GIVEN_BEFORE: Final = (
    "this call_id was given to safety's process before it was started again, and may have released then; "
    "look at the stop that holds now, and ask with another call_id"
)
MOST_CALLS: Final = 256
"""Calls remembered by their id: one that is repeated after a lost answer comes within seconds. Those whose seal may
still hold are remembered in any case."""

log = logging.getLogger(__name__)


class Orders:
    """Stops from both topics, and stops and releases from the service, as the servo loop asks for them."""

    def __init__(self, node: Node) -> None:
        self.mailbox: Mailbox[SafetyOrder] = Mailbox()
        self._topics = [
            RosInlet(node, msg.StopRequest, topic, EVENTS, order_from_msg)
            for topic in (topics.ESTOP, topics.FLEET_ESTOP)
        ]

    def receive(self) -> SafetyOrder | None:
        """The next order, or None. Releases come first: a stop that arrives together with one wins."""
        order = self.mailbox.receive()
        for topic in self._topics:
            order = order or topic.receive()
        return order


class Seal(msgspec.Struct, frozen=True):
    """Names what was said of the latch: how many stops there had been, and when that was."""

    value: int
    stops: int
    said_s: float


class SafetyReports:
    """Publishes `safety_status` in every tick, and `estop_state` when the latch changes and once a second."""

    def __init__(self, node: Node, robot: str, latch: StopLatch, missed: Callable[[], int]) -> None:
        """`missed` counts the servo ticks that were missed."""
        self._robot, self.latch, self._missed = robot, latch, missed
        self._status = node.create_publisher(msg.SafetyStatus, topics.SAFETY_STATUS, SENSOR)
        self._state = node.create_publisher(msg.EstopState, topics.ESTOP_STATE, LATCHED)
        self._told, self._stops, self._due_s = latch.is_set, latch.stops, 0.0
        self._since_ns, self._who, self._why = 0, "", latch.reason
        self.listener: Callable[[], None] = lambda: None
        """Called after every tick, in the servo loop's thread; must not wait."""
        self._first_id = secrets.randbits(62)
        self._seal = Seal(0, 0, 0.0)
        self._older_seal = self._seal

    def send(self, state: SafetyState, /) -> None:
        """Publish."""
        self._status.publish(safety_to_msg(structs.replace(state, missed_ticks=self._missed()), self._robot))
        changed = state.estop != self._told
        if changed:
            order = self.latch.by
            self._told, self._since_ns = state.estop, time.time_ns()
            self._who, self._why = (order.who, order.why) if order else ("", self.latch.reason)
            log.warning("%s: %s by %s %s", self._robot, "stopped" if state.estop else "released", self._who, self._why)
        if changed or self.latch.stops != self._stops or state.mono_s >= self._due_s:
            self._due_s, self._stops = state.mono_s + CONFIRM_S, self.latch.stops
            self._older_seal = self._seal
            self._seal = Seal(secrets.randbits(63) | 1, self._stops, state.mono_s)
            self._state.publish(self.message())
        self.listener()

    def sealed(self, seal: int) -> Seal | None:
        """What `seal` names; None when it was not said, or too long ago. 0 names the latch as it is now.

        From any thread.
        """
        now_s = time.monotonic()
        if seal == 0:
            return Seal(0, self.latch.stops, now_s)
        for known in (self._seal, self._older_seal):
            if known.value == seal and now_s - known.said_s <= SEAL_S:
                return known
        return None

    def message(self) -> msg.EstopState:
        """The latch as it was last told."""
        return msg.EstopState(
            header=header(),
            robot=self._robot,
            latched=self._told,
            since=to_time(self._since_ns),
            who=self._who,
            why=self._why,
            stop_id=self._first_id + self._stops,
            seal=self._seal.value,
        )


class _Answered(msgspec.Struct, frozen=True):
    """A release that was answered."""

    response: Any
    stops: int
    """How many stops there had been."""
    at_s: float
    """Steady clock."""


class EstopService:
    """Serves `set_estop`: anyone stops, an operator releases, and each call with an id has one effect.

    No call waits for another. A release that was read only when those before it were answered would be taken for one of
    the latch as it is then, and open it to whoever was stopped by somebody else meanwhile.
    """

    def __init__(
        self,
        node: Node,
        robot: str,
        orders: Orders,
        reports: SafetyReports,
        tokens: OperatorTokens,
        ids: ReleaseIds | None = None,
    ) -> None:
        """`ids`: of releases, also of those that an earlier process was asked for."""
        self._robot, self._orders, self._reports, self._tokens = robot, orders, reports, tokens
        self._ids, self._one_at_a_time = ids or ReleaseIds(None), threading.Lock()
        self._done: OrderedDict[str, _Answered] = OrderedDict()
        """Releases by the id of their call."""
        self._under_way: set[str] = set()
        """Ids of releases that are not answered yet."""
        self._open = 0
        """Calls that wait."""
        self._bell = Bell(node)
        reports.listener = self._ticked
        self._service = node.create_service(
            srv.SetEstop,
            topics.SET_ESTOP,
            self._serve,
            qos_profile=CALLS,
            callback_group=ReentrantCallbackGroup(),
        )

    def close(self) -> None:
        """Answer whoever waits; while the executor still goes on."""
        self._bell.close()
        deadline_s = time.monotonic() + END_S
        while self._open and time.monotonic() < deadline_s:
            time.sleep(0.01)

    def _ticked(self) -> None:
        if self._open:
            self._bell.ring()

    async def _serve(self, request: srv.SetEstop.Request, response: srv.SetEstop.Response) -> srv.SetEstop.Response:
        self._open += 1
        try:
            if request.stop:
                order = SafetyOrder(stop=True, who=request.who or "unknown", why=request.why)
                return await self._carry_out(order, request, response)
            return await self._release(request, response, self._reports.sealed(request.seal))
        finally:
            self._open -= 1

    async def _release(
        self, request: srv.SetEstop.Request, response: srv.SetEstop.Response, seal: Seal | None
    ) -> srv.SetEstop.Response:
        """`seal`: what was known of the latch when the call arrived."""
        if request.call_id in self._under_way:  # repeated before it was answered: it shall hear what became of it
            await self._bell.until(lambda: request.call_id not in self._under_way, 2 * OBEY_S)
            if request.call_id in self._under_way:
                return self._refuse(OUTDATED, request, response)
        if request.call_id:
            self._under_way.add(request.call_id)
        try:
            return await self._judge(request, response, seal)
        finally:
            self._under_way.discard(request.call_id)

    async def _judge(
        self, request: srv.SetEstop.Request, response: srv.SetEstop.Response, seal: Seal | None
    ) -> srv.SetEstop.Response:
        latch = self._reports.latch
        if refusal := await self._refusal(request):
            return self._refuse(refusal, request, response)
        # A stop that is repeated stops again. A release must not: somebody may have stopped since.
        if request.call_id in self._done:
            answered = self._done[request.call_id]
            if latch.stops == answered.stops or not answered.response.success:
                return answered.response
            return self._answer(request, response, False, f"{self._robot} {STOPPED_SINCE}")
        # A seal is this process's own. Without one, a call that is repeated to a successor must be known there.
        if request.call_id and not request.seal and (refusal := await self._unnoted(request.call_id)):
            return self._remember(request, self._refuse(refusal, request, response), latch.stops)
        if seal is None or seal.stops != latch.stops:
            return self._remember(request, self._refuse(OUTDATED, request, response), latch.stops)
        # Void before the call is answered, and before whoever found the seal stops waiting for it.
        until_s = min(time.monotonic() + OBEY_S, seal.said_s + SEAL_S) - LAST_LOOK_S
        order = SafetyOrder(stop=False, who=request.who, why=request.why, after=seal.stops, until_s=until_s)
        return self._remember(request, await self._carry_out(order, request, response), seal.stops)

    async def _unnoted(self, call_id: str) -> str:
        """Have the id of a release taken down; why that release is not carried out, empty when it may be."""
        found = [ENDING]

        def note() -> None:
            with self._one_at_a_time:
                if call_id in self._ids:
                    found[0] = GIVEN_BEFORE
                    return
                try:
                    self._ids.add(call_id)
                except StorageError as error:
                    found[0] = f"its call_id cannot be taken down ({error}); ask without one"
                else:
                    found[0] = ""  # only now: whoever stops waiting before must not take it for noted

        if self._open > MOST_OPEN:
            return FULL
        await self._bell.aside(note)
        return found[0]

    async def _refusal(self, request: srv.SetEstop.Request) -> str:
        """Why this operator may not release; the file of tokens is read aside, since a disk may hang."""
        found = [ENDING]

        def ask() -> None:
            found[0] = self._tokens.refusal(request.who, request.token)

        if not self._tokens.needs_token:
            ask()
        elif self._open > MOST_OPEN:
            found[0] = FULL
        else:
            await self._bell.aside(ask)
        return found[0]

    def _remember(self, request: srv.SetEstop.Request, response: srv.SetEstop.Response, stops: int) -> Any:
        """Also one that failed or came too late: whoever repeats it may have told its caller so by then."""
        now_s = time.monotonic()
        if request.call_id:
            self._done[request.call_id] = _Answered(response, stops, now_s)
        while len(self._done) > MOST_CALLS and now_s - next(iter(self._done.values())).at_s > SEAL_S:
            self._done.popitem(last=False)
        return response

    def _refuse(
        self, why: str, request: srv.SetEstop.Request, response: srv.SetEstop.Response
    ) -> srv.SetEstop.Response:
        log.warning("%s: release refused: %s", self._robot, why)
        return self._answer(request, response, False, f"{self._robot} stays stopped: {why}")

    async def _carry_out(
        self, order: SafetyOrder, request: srv.SetEstop.Request, response: srv.SetEstop.Response
    ) -> srv.SetEstop.Response:
        latch, before = self._reports.latch, self._reports.latch.stops
        self._orders.mailbox.send(order)
        obeyed = await self._wait(order, before)
        done = DONE[order.stop]
        if obeyed and not latch.is_kept:
            done += f", but {UNKEPT[order.stop]}"
        missed = STOPPED_AGAIN if not order.stop and latch.stops != order.after else MISSED
        return self._answer(request, response, obeyed, f"{self._robot} {done if obeyed else missed}")

    async def _wait(self, order: SafetyOrder, before: int) -> bool:
        """Until the servo loop has obeyed and the disk has it; tells the first. `before`: stops before this order."""
        latch = self._reports.latch

        def is_obeyed() -> bool:
            return self._reports.message().latched == order.stop and (not order.stop or latch.stops > before)

        def is_done() -> bool:
            return is_obeyed() and latch.is_kept

        def is_void() -> bool:
            return not order.stop and latch.stops != order.after

        await self._bell.until(lambda: is_done() or is_void(), OBEY_S)
        return is_done() or (is_obeyed() and not is_void())

    def _answer(
        self, request: srv.SetEstop.Request, response: srv.SetEstop.Response, success: bool, message: str
    ) -> srv.SetEstop.Response:
        response.success, response.message = success, message
        response.states = [self._reports.message()]
        response.record = msg.AuditEntry(
            stamp=to_time(time.time_ns()),
            who=request.who,
            what="stop" if request.stop else "release",
            detail=f"{message}{': ' + request.why if request.why else ''}",
        )
        return response
