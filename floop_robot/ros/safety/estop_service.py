"""EstopService: a robot's `set_estop`, with which anyone stops it and an operator resets the stop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from floop_interfaces import srv
from floop_robot.robot.messages import EstopCommand
from floop_robot.robot.operators import OperatorTokens
from floop_robot.robot.reset_ids import ResetIds
from floop_robot.ros.node import topics
from floop_robot.ros.node.async_condition import AsyncCondition
from floop_robot.ros.node.service_calls import audit_entry, create_services
from floop_robot.ros.safety.estop_commands import EstopCommands
from floop_robot.ros.safety.estop_reset_cache import EstopResetCache
from floop_robot.ros.safety.safety_publisher import NONCE_LIFETIME_S, Nonce, SafetyPublisher
from floop_robot.spec.errors import StorageError

OBEY_TIMEOUT_S: Final = 1.0
"""How long a call waits until the servo loop has obeyed: it does within one period."""
OUTDATED: Final = "the reset is out of date: somebody stopped it since, or the call came late; ask again"
STOPPED_AGAIN: Final = "was stopped again meanwhile"
STOPPED_SINCE: Final = "was reset by this call, and stopped again since"
MISSED: Final = f"has not obeyed within {OBEY_TIMEOUT_S:g} s"
DONE: Final = {True: "is stopped", False: "is reset"}
"""What became of a robot that obeyed a stop (True) or a reset (False)."""
STAYS: Final = {True: "stays stopped", False: "is not stopped, but was not reset by this call"}
"""What a refused reset leaves as it is."""
NOT_ON_DISK: Final = {
    True: "its disk has not recorded that, so that a restart may forget it",
    False: "its disk still says stopped, so that a restart may stop it again",
}
"""What is wrong where that is not on disk."""
LAST_LOOK_S: Final = 0.05
"""A reset that the servo loop took in its last moment has effect after this long."""
END_S: Final = 0.3
"""How long the end waits for calls to be answered."""
MAX_OPEN_CALLS: Final = 64
"""Resets that may wait at a time, and threads that a disk holds up: more than operators and their scripts make."""
FULL: Final = f"{MAX_OPEN_CALLS} calls wait already, or hang at a disk"
ENDING: Final = "safety's process ends"
NOT_NOW: Final = f"has not obeyed: {ENDING}"
HUNG: Final = f"its disk has not answered within {OBEY_TIMEOUT_S:g} s"
TOKENS_UNREADABLE: Final = f"the operators' file cannot be read: {HUNG}"
GIVEN_BEFORE: Final = (
    "this call_id was given before, and may have reset the stop then; look at the stop that holds now, and ask with "
    "another call_id"
)
ID_NOT_STORED: Final = "its call_id cannot be stored ({}); ask without one"
LONGEST_S: Final = 4 * OBEY_TIMEOUT_S
"""After this long every reset is answered: its token, its id and the servo loop get a second each."""

log = logging.getLogger(__name__)


class _Answered(msgspec.Struct, frozen=True):
    """A reset that was answered."""

    response: Any
    stops: int
    """How many stops there had been."""


class EstopService:
    """Serves `set_estop`: anyone stops, an operator resets, and each call with an id has one effect.

    No call waits for another. A reset that is read late would be about the latch as it is then: it could open a stop
    that somebody else made meanwhile.
    """

    def __init__(
        self,
        node: Node,
        robot: str,
        commands: EstopCommands,
        reports: SafetyPublisher,
        tokens: OperatorTokens,
        ids: ResetIds | None = None,
    ) -> None:
        """`ids`: of resets, also of those that an earlier process was asked for."""
        self._robot, self._commands, self._reports, self._tokens = robot, commands, reports, tokens
        self._ids, self._ids_lock = ids or ResetIds(None), threading.Lock()
        self._open = 0
        """Calls that wait."""
        self._condition = AsyncCondition(node)
        self._calls = EstopResetCache[_Answered](self._condition, LONGEST_S)
        reports.listener = self._on_tick
        create_services(node, ((srv.SetEstop, topics.SET_ESTOP, self._serve),), ReentrantCallbackGroup())

    def close(self) -> None:
        """Answer those who wait; while the executor still goes on."""
        self._condition.close()
        deadline_s = time.monotonic() + END_S
        while self._open and time.monotonic() < deadline_s:
            time.sleep(0.01)

    def _on_tick(self) -> None:
        if self._open:
            self._condition.notify()

    async def _serve(self, request: srv.SetEstop.Request, response: srv.SetEstop.Response) -> srv.SetEstop.Response:
        self._open += 1
        try:
            if request.stop:
                command = EstopCommand(stop=True, who=request.who or "unknown", why=request.why)
                return await self._carry_out(command, request, response)
            return await self._reset(request, response, self._reports.find_nonce(request.seal))
        finally:
            self._open -= 1

    async def _reset(
        self, request: srv.SetEstop.Request, response: srv.SetEstop.Response, nonce: Nonce | None
    ) -> srv.SetEstop.Response:
        """`nonce`: what was known of the latch when the call arrived."""
        found, is_new = await self._calls.once(request, lambda: self._judge(request, response, nonce))
        if found is None:
            return self._refuse(OUTDATED, request, response)
        # A stop that is repeated stops again. A reset must not: somebody may have stopped since.
        if not is_new and found.response.success and self._reports.latch.stops != found.stops:
            return self._answer(request, response, False, f"{self._robot} {STOPPED_SINCE}")
        return found.response

    async def _judge(
        self, request: srv.SetEstop.Request, response: srv.SetEstop.Response, nonce: Nonce | None
    ) -> _Answered:
        latch = self._reports.latch
        refusal = (
            FULL if max(self._open, self._condition.running_threads) > MAX_OPEN_CALLS else await self._refusal(request)
        )
        # The next process knows the id, too: a fleet manager may ask it for its caller, with a newer nonce.
        if request.call_id and not refusal:
            refusal = await self._store_id(request.call_id)
        if refusal:
            return _Answered(self._refuse(refusal, request, response), latch.stops)
        if nonce is None or nonce.stops != latch.stops:
            return _Answered(self._refuse(OUTDATED, request, response), latch.stops)
        # Void before the call is answered, and before the finder of the nonce stops waiting for it.
        until_s = min(time.monotonic() + OBEY_TIMEOUT_S, nonce.issued_s + NONCE_LIFETIME_S) - LAST_LOOK_S
        command = EstopCommand(
            stop=False, who=request.who, why=request.why, after_stops=nonce.stops, deadline_s=until_s
        )
        return _Answered(await self._carry_out(command, request, response), nonce.stops)

    async def _store_id(self, call_id: str) -> str:
        """Store the id of a reset; returns why that reset is not carried out, empty when it may be."""

        def store() -> str:
            if not self._ids_lock.acquire(timeout=OBEY_TIMEOUT_S):
                return ID_NOT_STORED.format(HUNG)
            try:
                if call_id in self._ids:
                    return GIVEN_BEFORE
                self._ids.add(call_id)
            except StorageError as error:
                return ID_NOT_STORED.format(error)
            finally:
                self._ids_lock.release()
            return ""

        return await self._run_in_thread(store, ID_NOT_STORED.format(HUNG))

    async def _refusal(self, request: srv.SetEstop.Request) -> str:
        """Why this operator may not reset; the file of tokens is read in a thread, since a disk may hang."""

        def read() -> str:
            return self._tokens.refusal(request.who, request.token)

        return await self._run_in_thread(read, TOKENS_UNREADABLE) if self._tokens.needs_token else read()

    async def _run_in_thread(self, work: Callable[[], str], hung: str) -> str:
        """What `work` returns in a thread of its own, or `hung` when a disk holds it up for 1 s."""
        found = list[str]()
        await self._condition.run_in_thread(lambda: found.append(work()), OBEY_TIMEOUT_S)
        if found:
            return found[0]
        return hung if self._condition.accepts_work else ENDING

    def _refuse(
        self, why: str, request: srv.SetEstop.Request, response: srv.SetEstop.Response
    ) -> srv.SetEstop.Response:
        log.warning("%s: reset refused: %s", self._robot, why)
        is_set = self._reports.latch.is_set
        return self._answer(request, response, False, f"{self._robot} {STAYS[is_set]}: {why}")

    async def _carry_out(
        self, command: EstopCommand, request: srv.SetEstop.Request, response: srv.SetEstop.Response
    ) -> srv.SetEstop.Response:
        latch, before = self._reports.latch, self._reports.latch.stops
        self._commands.send(command)
        obeyed = await self._wait(command, before)
        done = DONE[command.stop]
        if obeyed and not latch.is_saved:
            done += f", but {NOT_ON_DISK[command.stop]}"
        missed = MISSED if self._condition.accepts_work else NOT_NOW
        if not command.stop and latch.stops != command.after_stops:
            missed = STOPPED_AGAIN
        return self._answer(request, response, obeyed, f"{self._robot} {done if obeyed else missed}")

    async def _wait(self, command: EstopCommand, before: int) -> bool:
        """Wait until the servo loop has obeyed and the disk has it; returns the first. `before`: stops before this."""
        latch = self._reports.latch

        def is_obeyed() -> bool:
            return self._reports.message().latched == command.stop and (not command.stop or latch.stops > before)

        def is_done() -> bool:
            return is_obeyed() and latch.is_saved

        def is_void() -> bool:
            return not command.stop and latch.stops != command.after_stops

        await self._condition.wait_for(lambda: is_done() or is_void(), OBEY_TIMEOUT_S)
        return is_done() or (is_obeyed() and not is_void())

    def _answer(
        self, request: srv.SetEstop.Request, response: srv.SetEstop.Response, success: bool, message: str
    ) -> srv.SetEstop.Response:
        response.success, response.message = success, message
        response.states = [self._reports.message()]
        what, why = "stop" if request.stop else "reset", f": {request.why}" if request.why else ""
        response.record = audit_entry(request.who, what, detail=f"{message}{why}")
        return response
