"""RpcClient: one request, one answer, across restarts of the server."""

from __future__ import annotations

import time
import uuid
from typing import Generic, Self, TypeVar

import msgspec
import zmq

from floop_robot.durable.framing import Message, MessageRefused, deframe_message, frame_message
from floop_robot.spec.errors import FloopError
from floop_robot.transport.zmq_sockets import Context, connect_socket, receive

RETRY_S = 1.0
"""Silence after which a request is sent again; every request may be."""
R = TypeVar("R")
T = TypeVar("T")


class Unreachable(FloopError):
    """No server answers."""


class Refused(FloopError):
    """The server can't do what was asked; its reason, in one line."""


class RpcClient(Generic[R]):
    """Asks at an endpoint and waits for the answer; for one thread at a time, a context manager."""

    server, start = "server", "start it"
    """What answers, and what to do when nothing does, in errors."""
    refusal: type = type(None)
    """The reply that is a refusal; it has a `reason`."""

    def __init__(self, endpoint: str, replies: msgspec.msgpack.Decoder[R], timeout_s: float = 5.0) -> None:
        self.endpoint, self._replies, self._timeout_s = endpoint, replies, timeout_s
        self.sent = False
        """Whether the last request went out, so that it may have been carried out although no answer came."""
        self._context: Context = zmq.Context()
        self._socket = connect_socket(self._context, zmq.DEALER, endpoint)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._context.destroy(0)

    def ask(self, request: Message, kind: type[T], timeout_s: float | None = None, *, is_command: bool = False) -> T:
        """The answer to a request, which is of this kind. Raises `Refused` and `Unreachable`.

        `is_command`: when no answer comes, say whether the request may have been carried out.
        """
        timeout_s = timeout_s or self._timeout_s
        reply = self.try_ask(request, (kind, self.refusal), timeout_s)
        if isinstance(reply, kind):
            return reply
        if reply is not None:
            raise Refused(getattr(reply, "reason", ""))
        if is_command and self.sent:
            raise Unreachable(
                f"the {self.server} at {self.endpoint} did not answer within {timeout_s:g} s: not known whether "
                "this command was carried out, or will be yet; `floop status` shows it"
            )
        raise Unreachable(
            f"no {self.server} answers at {self.endpoint} within {timeout_s:g} s; "
            f"{self.start}, or check endpoints in the config"
        )

    def try_ask(self, request: Message, wanted: type | tuple[type, ...], timeout_s: float) -> R | None:
        """The answer, of one of the `wanted` kinds; None when none came in time."""
        request_id, payload = uuid.uuid4().bytes, frame_message(request)
        deadline = time.monotonic() + timeout_s
        send_at, self.sent = 0.0, False
        while (now := time.monotonic()) < deadline:
            if now >= send_at:
                try:
                    self._socket.send_multipart([request_id, payload], zmq.NOBLOCK)
                    send_at, self.sent = now + RETRY_S, True
                except zmq.Again:  # not connected yet
                    send_at = now + 0.02
            if self._socket.poll(int(max(1.0, 1000 * (min(deadline, send_at) - now)))):
                reply = self._receive(request_id)
                if isinstance(reply, wanted):
                    return reply
        return None

    def _receive(self, request_id: bytes) -> R | None:
        frames = receive(self._socket)
        if len(frames) != 2 or frames[0] != request_id:
            return None  # answers a request that was given up
        try:
            return deframe_message(frames[1], self._replies)
        except MessageRefused:
            return None
