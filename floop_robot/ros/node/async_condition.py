"""Bell: other threads ring, the executor's thread looks; coroutines of services and actions wait here for conditions.

Without it every service that waits would need a thread, or the executor a timer that wakes it fifty times a second.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
from rclpy.node import Node
from rclpy.task import Future

from floop_robot.ros.node.timers import every

WAIT_PERIOD_S: Final = 0.1
"""How often conditions are looked at that nobody rings for, and how late a time-out may be."""
END_S: Final = 1.0
"""How long what is done aside may take to end."""


class _Wait(msgspec.Struct, frozen=True):
    condition: Callable[[], bool]
    deadline_s: float
    future: Any


class Bell:
    """`look` is called in the executor's thread after one or more rings."""

    def __init__(self, node: Node, look: Callable[[], None] = lambda: None) -> None:
        self._look = look
        self._waits: list[_Wait] = []
        self._asides: list[threading.Thread] = []
        self._guards_asides = threading.Lock()
        self.takes_more = True
        """False as soon as `close` waits for what is done aside: nobody would wait for what begins then."""
        self.is_closed = False
        """The node ends: nobody waits any longer."""
        self._guard = node.create_guard_condition(self._answer)
        self._timer = every(WAIT_PERIOD_S, node, self._answer)
        self._timer.cancel()  # runs only while somebody waits

    def ring(self) -> None:
        """Have somebody look; from any thread, never waits."""
        with contextlib.suppress(Exception):  # a context that is gone already: nobody is left to look
            self._guard.trigger()

    async def until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for a condition, in a coroutine that the executor runs; False: it did not come true in time or at all.

        The callback group of the caller must be reentrant, or everything else in it waits as well.
        """
        if condition():
            return True
        if self.is_closed:
            return False
        future: Any = Future()
        self._waits.append(_Wait(condition, time.monotonic() + timeout_s, future))
        self._timer.reset()
        await future
        return bool(future.result())

    @property
    def busy(self) -> int:
        """How many threads do something aside, those that nobody waits for any longer among them."""
        with self._guards_asides:
            return sum(map(threading.Thread.is_alive, self._asides))

    async def aside(self, work: Callable[[], None], timeout_s: float = math.inf) -> bool:
        """Have `work` done in a thread of its own and wait for it, as `until` does; raises what it raises.

        False: `work` is not done within `timeout_s`, and goes on; or the bell closes: it was not begun, or took longer
        than closing waits for.
        """
        done, failure = threading.Event(), list[BaseException]()

        def run() -> None:
            try:
                work()
            except BaseException as error:  # handed to the coroutine
                failure.append(error)
            finally:
                done.set()
                self.ring()

        with self._guards_asides:
            if not self.takes_more:
                return False
            thread = threading.Thread(target=run, name="aside", daemon=True)
            thread.start()
            self._asides = [*filter(threading.Thread.is_alive, self._asides), thread]
        await self.until(done.is_set, timeout_s)
        if failure:
            raise failure[0]
        return done.is_set()

    def close(self) -> None:
        """Send everybody who waits on their way, without what they waited for; what is done aside gets 1 s to end."""
        deadline_s = time.monotonic() + END_S
        with self._guards_asides:
            self.takes_more = False
        for thread in self._asides:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        self.is_closed = True
        self.ring()

    def _answer(self) -> None:
        self._look()
        now_s = time.monotonic()
        waiting, self._waits = self._waits, []
        for wait in waiting:
            if wait.condition():
                wait.future.set_result(True)
            elif self.is_closed or now_s >= wait.deadline_s:
                wait.future.set_result(False)
            else:
                self._waits.append(wait)
        if not self._waits:
            self._timer.cancel()
