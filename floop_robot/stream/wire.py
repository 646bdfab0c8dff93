"""ZeroMQ sockets as every link of floop opens them."""

from __future__ import annotations

import zmq

from floop_robot.spec.errors import FloopError
from floop_robot.stream.codec import MAX_BLOCK_BYTES

HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS = 500, 1500
HANDSHAKE_MS = 1500
QUEUE = 1000
"""Messages per peer; windows and credits keep honest peers far below."""


def client_socket(context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> zmq.Socket[bytes]:
    """A DEALER that connects out, reconnects for ever, and queues nothing while there is no connection."""
    socket = context.socket(zmq.DEALER)
    _set_common(socket)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
    socket.connect(endpoint)
    return socket


def server_socket(context: zmq.Context[zmq.Socket[bytes]], endpoint: str, what: str) -> zmq.Socket[bytes]:
    """A ROUTER bound to `endpoint`; raises `PortError` in one line when that can't be."""
    socket = context.socket(zmq.ROUTER)
    _set_common(socket)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_BLOCK_BYTES + 1024)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        socket.close()
        raise PortError(f"{what} cannot listen on {endpoint}: {error}; is another fleet running there?") from None
    return socket


def receive(socket: zmq.Socket[bytes]) -> list[bytes]:
    """The frames of the next message, or none, without waiting.

    Also for a socket that a poll found readable: when its peer is killed, a connection goes and takes what it had
    received along, between the poll and now.
    """
    try:
        return socket.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        return []


class PortError(FloopError):
    """An endpoint that can't be bound."""


def _set_common(socket: zmq.Socket[bytes]) -> None:
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.SNDHWM, QUEUE)
    socket.setsockopt(zmq.RCVHWM, QUEUE)
