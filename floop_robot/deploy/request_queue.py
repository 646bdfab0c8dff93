"""RequestQueue: the one queue of a fleet manager, for what comes by ZeroMQ and from its own process."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from floop_robot.bundle.delivery import Refusal
from floop_robot.deploy.messages import Reply, Request

MAX_QUEUED = 256
"""A request takes milliseconds. So many in a row mean that the fleet manager is stuck."""


class RequestQueue:
    """Requests in order of arrival. `submit` is for any thread, the rest for the fleet manager's."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Request, Future[Reply]]] = deque()
        self._lock = threading.Lock()
        self.is_closed = False
        """True when the fleet manager has ended."""
        self._awake, self._wake = socket.socketpair()
        self._awake.setblocking(False)
        self._wake.setblocking(False)

    def fileno(self) -> int:
        """For `zmq.Poller`: readable when something was submitted."""
        return self._awake.fileno()

    @property
    def room(self) -> int:
        """How many more requests may wait."""
        return MAX_QUEUED - len(self._waiting)

    def submit(self, request: Request) -> Future[Reply]:
        """Queue a request. Whoever gives up may cancel the future; it is cancelled when the fleet manager ends."""
        future: Future[Reply] = Future()
        with self._lock:
            if self.is_closed:
                future.cancel()
            elif not self.room:
                future.set_result(Refusal(reason=f"not done: {MAX_QUEUED} requests wait already; call again later"))
            else:
                self._waiting.append((request, future))
                with contextlib.suppress(BlockingIOError):  # it is full: the manager wakes anyway
                    self._wake.send(b"\0")
        return future

    def serve_one(self, answer: Callable[[Request], Reply]) -> bool:
        """Answer the oldest request; False if there is none. What `answer` raises is raised, here and to the caller."""
        with contextlib.suppress(BlockingIOError):
            self._awake.recv(4096)
        with self._lock:
            if not self._waiting:
                return False
            request, future = self._waiting.popleft()
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(answer(request))
            except BaseException as error:
                future.set_exception(error)
                raise
        return True

    def close(self) -> None:
        """Cancel what waits, and whatever comes later."""
        with self._lock:
            self.is_closed = True
            waiting, self._waiting = self._waiting, deque()
            self._awake.close()
            self._wake.close()
        for _, future in waiting:
            future.cancel()
