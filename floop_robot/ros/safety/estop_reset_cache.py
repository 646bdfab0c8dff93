"""EstopResetCache: a reset that is repeated with its `call_id` is not judged again; it gets the first answer."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar

import msgspec

from floop_robot.ros.node.async_condition import AsyncCondition

MAX_CALLS: Final = 256
"""Calls remembered: one that is repeated after a lost answer comes within seconds."""
REMEMBER_S: Final = 4.0
"""Calls answered this recently are remembered, however many: the nonce that they named may still hold."""

T = TypeVar("T")


class _Answer(msgspec.Struct, frozen=True):
    verdict: Any
    at_s: float
    """Steady clock."""


class EstopResetCache(Generic[T]):
    """Resets of one service, by their id and their caller's name and token: an id answers only its own caller.

    Refusals are remembered as well: a repeat may be about an older stop, and somebody may have stopped since.
    """

    def __init__(self, condition: AsyncCondition, longest_s: float) -> None:
        """`longest_s`: how long one may take to be judged."""
        self._condition, self._longest_s = condition, longest_s
        self._answers: OrderedDict[tuple[str, str, str], _Answer] = OrderedDict()
        self._under_way: set[str] = set()

    async def once(self, request: Any, judge: Callable[[], Awaitable[T]]) -> tuple[T | None, bool]:
        """The verdict on a `SetEstop.Request`, and whether it is a new one; None while the first is still under way."""
        call_id, caller = request.call_id, (request.call_id, request.who, request.token)
        if not call_id:
            return await judge(), True
        while call_id in self._under_way:
            if not await self._condition.wait_for(lambda: call_id not in self._under_way, self._longest_s):
                return None, False
        if (known := self._answers.get(caller)) is not None:
            return known.verdict, False
        self._under_way.add(call_id)
        try:
            verdict = await judge()
            self._store(caller, verdict)
        finally:
            self._under_way.discard(call_id)
        return verdict, True

    def _store(self, caller: tuple[str, str, str], verdict: T) -> None:
        now_s = time.monotonic()
        self._answers[caller] = _Answer(verdict, now_s)
        while len(self._answers) > MAX_CALLS and now_s - next(iter(self._answers.values())).at_s > REMEMBER_S:
            self._answers.popitem(last=False)
