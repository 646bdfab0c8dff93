"""Services of nodes: registered from a table; who may call, what is answered, and that a repeat has one effect."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from rclpy.callback_groups import CallbackGroup, ReentrantCallbackGroup
from rclpy.node import Node

from floop_interfaces.msg import AuditEntry
from floop_robot.ros.node.qos import CALLS
from floop_robot.ros.node.stamps import to_time
from floop_robot.ros.node.topics import in_site
from floop_robot.spec.errors import FloopError

log = logging.getLogger(__name__)

MAX_CACHED_ANSWERS: Final = 256
"""Answers kept for callers that repeat themselves: they do so within seconds."""
NO_EPISODE: Final = "episode 0 is none; numbers begin at 1"


def create_services(
    node: Node, table: Iterable[tuple[Any, str, Callable[[Any, Any], Any]]], group: CallbackGroup | None = None
) -> None:
    """Serve every `(service type, name, handler)` of the table; the node holds the services."""
    for kind, name, handler in table:
        node.create_service(kind, in_site(node, name), handler, qos_profile=CALLS, callback_group=group)


def audit_entry(who: str, what: str, *, version: int = 0, detail: str = "") -> AuditEntry:
    """Who did what, now, at a node that has no registry."""
    return AuditEntry(stamp=to_time(time.time_ns()), who=who, what=what, version=version, detail=detail)


def signature(request: Any) -> dict[str, Any]:
    """Fields of every command, as a call has them. A call without an id leaves it to the command to make one."""
    given = {name: getattr(request, name, "") for name in ("who", "token", "why", "call_id")}
    return given if given["call_id"] else {name: given[name] for name in ("who", "token", "why")}


def _log_refusal(request: Any, why: str) -> None:
    call = type(request).__qualname__.removesuffix("_Request")
    log.warning("%s by %s refused: %s", call, getattr(request, "who", "") or "nobody", why)


def answering(body: Callable[[Any, Any], Awaitable[None]]) -> Callable[[Any, Any], Awaitable[Any]]:
    """A handler that answers whatever becomes of `body(request, answer)`: a call without an answer waits for ever.

    What `body` raises is a refusal; without that, the answer is a success.
    """

    async def handle(request: Any, answer: Any) -> Any:
        try:
            await body(request, answer)
            answer.success = True
        except FloopError as refused:
            answer.message = str(refused)
            _log_refusal(request, answer.message)
        except Exception:
            log.exception("%s failed", type(request).__qualname__)
            answer.message = "a fault of the program; the log of this node has it"
        return answer

    return handle


class IdempotentServices:
    """Serves a table of commands: refusals become answers, and a `call_id` seen before gets its answer again.

    A body is a coroutine `body(request, answer)`: it raises a `FloopError` or fills in a success. It runs in the
    executor's thread, and one that waits doesn't keep the others waiting.
    """

    def __init__(
        self,
        node: Node,
        table: Iterable[tuple[Any, str, Callable[[Any, Any], Awaitable[None]]]],
        authorize: Callable[[str, str], str],
    ) -> None:
        """`authorize(who, token)` says in one line why a caller is refused; empty when it is not."""
        self._authorize = authorize
        self._answers: OrderedDict[tuple[str, str], Any] = OrderedDict()
        wrapped = [(kind, name, self._handler(name, body)) for kind, name, body in table]
        create_services(node, wrapped, ReentrantCallbackGroup())

    def _handler(self, name: str, body: Callable[[Any, Any], Awaitable[None]]) -> Callable[[Any, Any], Awaitable[Any]]:
        answered = answering(body)

        async def handle(request: Any, answer: Any) -> Any:
            known = self._answers.get((name, request.call_id)) if request.call_id else None
            if known is not None:
                return known
            if refusal := self._authorize(request.who, request.token):
                answer.message = refusal
                _log_refusal(request, refusal)
            elif (await answered(request, answer)).success:
                self._store(name, request.call_id, answer)
            return answer

        return handle

    def _store(self, name: str, call_id: str, answer: Any) -> None:
        """Keep a success; a refused call may be repeated with better luck."""
        if call_id:
            self._answers[name, call_id] = answer
        while len(self._answers) > MAX_CACHED_ANSWERS:
            self._answers.popitem(last=False)
