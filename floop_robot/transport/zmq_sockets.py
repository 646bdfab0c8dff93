"""ZeroMQ sockets as every link between hosts opens them, and how they are read.

Links within one host (`robot/ipc.py`) need none of these times: there a lost peer is noticed at once.
"""

from __future__ import annotations

import errno
from typing import Final

import zmq

from floop_robot.spec.errors import FloopError

Context = zmq.Context[zmq.Socket[bytes]]
Socket = zmq.Socket[bytes]

HEARTBEAT_MS: Final = 500
HEARTBEAT_TIMEOUT_MS: Final = 1500
HANDSHAKE_MS: Final = 1500
"""With these times half-open peers and stuck handshakes are noticed after 1.5 s, without them not within 15 s."""
SILENCE_MS: Final = 2000
"""The other end drops a connection after this silence; a client's heartbeats tell it so."""
QUEUE: Final = 1000
"""Messages per peer; windows and credits keep honest peers far below."""
MAX_MESSAGE_BYTES: Final = 64 << 20
"""A peer that sends more in one message is hung up on."""


class BindError(FloopError):
    """An endpoint that can't be bound."""


def bind_socket(
    context: Context,
    kind: int,
    endpoint: str,
    what: str,
    *,
    queue: int = QUEUE,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    zap_domain: str = "",
) -> Socket:
    """A bound socket; raises `BindError` in one line, where `what` says who can't listen.

    With a finite queue of what it receives, libzmq 4.3.5 aborts (`!_io_error`) when a peer asks faster than it is
    served and closes: the next heartbeat, its own or a ping that the peer had sent, is answered on a connection that is
    gone. So the queue has no end, and `peer_guard` bounds what waits, in bytes. The clients' heartbeats show half-open
    connections. `queue` bounds answers that wait, in messages per peer. With `zap_domain` the context's `ZapHandler` is
    asked about each connection.
    """
    socket = _socket(context, kind, queue, max_message_bytes)
    socket.setsockopt(zmq.RCVHWM, 0)
    if zap_domain:
        socket.setsockopt_string(zmq.ZAP_DOMAIN, zap_domain)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        socket.close()
        cure = f"{error}; is another fleet running there? Stop it or change endpoints.base_port"
        if error.errno in (errno.ENODEV, errno.EADDRNOTAVAIL, errno.EINVAL):
            cure = "this machine has no such address; change endpoints.host"
        raise BindError(f"{what} cannot listen on {endpoint}: {cure}") from None
    return socket


def connect_socket(
    context: Context, kind: int, endpoint: str, *, queue: int = QUEUE, topic: bytes = b"", newest_only: bool = False
) -> Socket:
    """A socket that connects out and reconnects for ever; a DEALER queues nothing while nobody is there.

    With `newest_only` a message takes the place of one that was not read yet; for messages of one frame.
    """
    socket = _socket(context, kind, queue, MAX_MESSAGE_BYTES)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TTL, SILENCE_MS)
    if newest_only:
        socket.setsockopt(zmq.CONFLATE, 1)  # before connect, or it has no effect
    if kind == zmq.DEALER:
        socket.setsockopt(zmq.IMMEDIATE, 1)
    if kind == zmq.SUB:
        socket.setsockopt(zmq.SUBSCRIBE, topic)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
    socket.connect(endpoint)
    return socket


def receive(socket: Socket) -> list[bytes]:
    """The frames of the next message, or none, without waiting.

    A poll is no promise: when a peer is killed, its connection and the received message vanish, even after a poll.
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


def port_of(endpoint: str) -> int:
    """The port of a TCP endpoint; 0 for another."""
    number = endpoint.rpartition(":")[2]
    return int(number) if endpoint.startswith("tcp://") and number.isdigit() else 0


def _socket(context: Context, kind: int, queue: int, max_message_bytes: int) -> Socket:
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, max_message_bytes)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.SNDHWM, queue)
    socket.setsockopt(zmq.RCVHWM, queue)
    return socket
