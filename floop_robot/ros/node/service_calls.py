"""Calls of operators at a robot: who may make them, what is answered, and that a repeated one has one effect."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final

from floop_interfaces.msg import AuditEntry
from floop_robot.ros.node.stamps import to_time

MAX_CACHED_ANSWERS: Final = 256
"""Answers kept for callers that repeat themselves: they do so within seconds."""


def audit_entry(who: str, what: str, *, version: int = 0, detail: str = "") -> AuditEntry:
    """Who did what, now, at a node that has no registry."""
    return AuditEntry(stamp=to_time(time.time_ns()), who=who, what=what, version=version, detail=detail)


class CallRefused(Exception):
    """A call is not carried out; the text is the answer's message."""


class IdempotentCalls:
    """Wraps the bodies of services: refusals become answers, and a `call_id` seen before gets its answer again."""

    def __init__(self, authorize: Callable[[str, str], str]) -> None:
        """`authorize(who, token)` says in one line why a caller is refused; empty when it is not."""
        self._authorize = authorize
        self._answers: OrderedDict[tuple[str, str], Any] = OrderedDict()

    async def handle(self, name: str, body: Callable[[Any, Any], Awaitable[None]], request: Any, answer: Any) -> Any:
        """Run `body(request, answer)`, which raises `CallRefused` or fills in a success; only successes are kept."""
        known = self._answers.get((name, request.call_id)) if request.call_id else None
        if known is not None:
            return known
        if refusal := self._authorize(request.who, request.token):
            answer.message = refusal
            return answer
        try:
            await body(request, answer)
        except CallRefused as refused:
            answer.message = str(refused)
            return answer
        answer.success = True
        if request.call_id:
            self._answers[name, request.call_id] = answer
            while len(self._answers) > MAX_CACHED_ANSWERS:
                self._answers.popitem(last=False)
        return answer
