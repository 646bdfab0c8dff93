"""AsyncCondition: `notify()` from any thread wakes coroutines of services and actions that wait in the executor.

Without it each service that waits needs a thread, or the executor a timer that wakes it fifty times a second.
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

from floop_robot.ros.node.timers import create_steady_timer

POLL_PERIOD_S: Final = 0.1
"""How often conditions are checked without a notification, and how late a time-out may be."""
END_S: Final = 1.0
"""How long running threads may take to end."""


class _Waiter(msgspec.Struct, frozen=True):
    condition: Callable[[], bool]
    deadline_s: float
    future: Any


class AsyncCondition:
    """`look` is called in the executor's thread after one or more notifications."""

    def __init__(self, node: Node, look: Callable[[], None] = lambda: None) -> None:
        self._look = look
        self._waits: list[_Waiter] = []
        self._threads: list[threading.Thread] = []
        self._threads_lock = threading.Lock()
        self.accepts_work = True
        """False from `close` on: nobody would wait for a thread that starts then."""
        self.is_closed = False
        """True when the node ends: nobody waits any longer."""
        self._guard = node.create_guard_condition(self._answer)
        self._timer = create_steady_timer(POLL_PERIOD_S, node, self._answer)
        self._timer.cancel()  # runs only while somebody waits

    def notify(self) -> None:
        """Check the conditions soon; from any thread, never waits."""
        with contextlib.suppress(Exception):  # the context is gone already: nobody waits
            self._guard.trigger()

    async def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for a condition in a coroutine of the executor; False: it did not come true within `timeout_s` (s).

        The caller's callback group must be reentrant. Otherwise everything else in it waits as well.
        """
        if condition():
            return True
        if self.is_closed:
            return False
        future: Any = Future()
        self._waits.append(_Waiter(condition, time.monotonic() + timeout_s, future))
        self._timer.reset()
        await future
        return bool(future.result())

    @property
    def running_threads(self) -> int:
        """How many threads of `run_in_thread` still run, also those that nobody waits for any longer."""
        with self._threads_lock:
            return sum(map(threading.Thread.is_alive, self._threads))

    async def run_in_thread(self, work: Callable[[], None], timeout_s: float = math.inf) -> bool:
        """Run `work` in a thread of its own and wait for it, as `wait_for` does; raises what it raises.

        False: `work` goes on after `timeout_s`. Or this condition closes: `work` was not begun, or took longer than
        closing waits for.
        """
        done, failure = threading.Event(), list[BaseException]()

        def run() -> None:
            try:
                work()
            except BaseException as error:  # handed to the coroutine
                failure.append(error)
            finally:
                done.set()
                self.notify()

        with self._threads_lock:
            if not self.accepts_work:
                return False
            thread = threading.Thread(target=run, name="async-condition", daemon=True)
            thread.start()
            self._threads = [*filter(threading.Thread.is_alive, self._threads), thread]
        await self.wait_for(done.is_set, timeout_s)
        if failure:
            raise failure[0]
        return done.is_set()

    def close(self) -> None:
        """End all waits, without success; running threads get 1 s to end."""
        deadline_s = time.monotonic() + END_S
        with self._threads_lock:
            self.accepts_work = False
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        self.is_closed = True
        self.notify()

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
