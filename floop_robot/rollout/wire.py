"""The ZeroMQ sockets of the roll-out, as both sides open them."""

from __future__ import annotations

import zmq

from floop_robot.spec.errors import FloopError

Context = zmq.Context[zmq.Socket[bytes]]
Socket = zmq.Socket[bytes]
TOPIC = b"policy"
LARGEST_MESSAGE = 64 << 20
HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS, HANDSHAKE_MS = 500, 1500, 1500
QUEUE = 100
"""Messages per peer: a peer that is so far behind reads the snapshot when it is back."""


class PortTaken(FloopError):
    """An endpoint that can't be bound."""


def bind(context: Context, kind: int, endpoint: str, what: str) -> Socket:
    """A bound socket; raises `PortTaken` in one line."""
    socket = context.socket(kind)
    _set_common(socket)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        socket.close()
        raise PortTaken(
            f"the fleet manager cannot listen for {what} on {endpoint}: {error}; "
            "is another fleet running there? Stop it or change endpoints.base_port"
        ) from None
    return socket


def connect(context: Context, kind: int, endpoint: str) -> Socket:
    """A socket that connects out and reconnects for ever."""
    socket = context.socket(kind)
    _set_common(socket)
    if kind == zmq.DEALER:
        socket.setsockopt(zmq.IMMEDIATE, 1)  # queue nothing while nobody is there
    if kind == zmq.SUB:
        socket.setsockopt(zmq.SUBSCRIBE, TOPIC)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
    socket.connect(endpoint)
    return socket


def receive(socket: Socket) -> list[bytes]:
    """The frames of the next message, or none, without waiting.

    Also for a socket that a poll found readable: when its peer is killed, a connection goes and takes what it had
    received along, between the poll and now.
    """
    try:
        return socket.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        return []


def last_endpoint(socket: Socket) -> str:
    """What a socket is bound to, with the port that the system chose."""
    endpoint = socket.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(endpoint, bytes)
    return endpoint.rstrip(b"\0").decode()


def _set_common(socket: Socket) -> None:
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_MESSAGE)
    # Half-open peers are seen after 1.5 s with these, not within 15 s without; a wedged handshake likewise.
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.SNDHWM, QUEUE)
    socket.setsockopt(zmq.RCVHWM, QUEUE)
