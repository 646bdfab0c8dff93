"""Listener: a bound ROUTER socket that no peer can fill, abort or starve."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from typing import Final

import zmq

from floop_robot.transport.pass_over import pass_over
from floop_robot.transport.peer_guard import PeerGuard, PeerLimits
from floop_robot.transport.zap_handler import DOMAIN, ZapHandler
from floop_robot.transport.zmq_sockets import Context, Socket, bind_socket, last_endpoint, port_of

MAX_PARTS: Final = 4
"""Of a message, with the peer's identity; no request of floop has more. Of others only the identity is given on."""
HOSTILE_PARTS: Final = 64
"""Whoever sends a message of more parts is cut off, and its address refused for a while."""
REFUSED_S: Final = 60.0
"""No honest peer ever sends such a message."""
MAX_PEERS: Final = 4096
"""Peers whose connection is remembered for answers to them."""
_DROPPED_AT_ONCE: Final = 256
"""Messages of peers that were cut off; a millisecond's work."""
MAX_SUBSCRIPTION_BYTES: Final = 256
SUBSCRIBERS: Final = PeerLimits(unread_bytes=64 * 1024)
"""A subscriber sends its subscription and heartbeats, and nothing else."""
_SHORT_FRAME: Final = 255
"""Longest frame whose length takes one byte on the wire."""


class Listener:
    """A ROUTER socket and the guard of its peers; for one thread. Poll `socket`, and use nothing else of it."""

    def __init__(
        self,
        endpoint: str,
        what: str,
        limits: PeerLimits,
        *,
        queue: int,
        max_message_bytes: int,
        refused_s: float = REFUSED_S,
    ) -> None:
        """Raises `BindError`. `queue`: answers that wait per peer. `max_message_bytes`: of one part."""
        self._zap = ZapHandler(what, refused_s)
        try:
            self.socket: Socket = bind_socket(
                self._zap.context,
                zmq.ROUTER,
                endpoint,
                what,
                queue=queue,
                max_message_bytes=max_message_bytes,
                zap_domain=DOMAIN,
            )
        except BaseException:
            self._zap.close()
            raise
        self.endpoint = last_endpoint(self.socket)
        """Where it listens (with the port that was found, if 0 was asked for)."""
        self._guard = PeerGuard(port_of(self.endpoint), what, limits)
        self._peers: OrderedDict[bytes, int] = OrderedDict()  # heard last comes last
        self._cut: OrderedDict[bytes, None] = OrderedDict()

    @property
    def hung_up(self) -> int:
        """Peers that were cut off."""
        return self._guard.hung_up

    def close(self) -> None:
        """Stop listening."""
        self._guard.close()
        self.socket.close(0)
        self._zap.close()

    def receive(self) -> list[bytes]:
        """The frames of the next message, the peer's identity first, or none; never waits.

        What a peer had sent before it was cut off is dropped: serving that would keep all others waiting.
        """
        if cut := self._guard.take_cut():
            self._cut.update(dict.fromkeys(identity for identity, peer in self._peers.items() if peer in cut))
            while len(self._cut) > MAX_PEERS:
                self._cut.popitem(last=False)
        for _ in range(_DROPPED_AT_ONCE):
            frames = self._read()
            if not frames or frames[0] not in self._cut:
                return frames
        return []

    def _read(self) -> list[bytes]:
        try:
            first = self.socket.recv(zmq.NOBLOCK, copy=False)  # of a message all parts are there, or none
        except zmq.Again:
            return []
        identity, peer = first.bytes, self._guard.peer_of(_descriptor(first))
        if peer or identity not in self._peers:
            self._peers[identity] = peer
        self._peers.move_to_end(identity)
        while len(self._peers) > MAX_PEERS:
            self._peers.popitem(last=False)
        frames, parts, size, part = [identity], 1, 0, first
        while part.more and parts <= HOSTILE_PARTS:
            part = self.socket.recv(zmq.NOBLOCK, copy=False)
            parts += 1
            size += _wire_size(len(part))
            if parts <= MAX_PARTS:
                frames.append(part.bytes)
        self._guard.took(peer, size)
        if parts > HOSTILE_PARTS:
            why = f"a message of it had more than {HOSTILE_PARTS} parts"
            self._guard.disconnect(peer, why)
            if address := _address(first):
                self._zap.refuse(address, why)
            if part.more:
                pass_over(self.socket)
        return frames if parts <= MAX_PARTS else [identity]

    def send(self, frames: list[bytes]) -> None:
        """Answer a peer without waiting; dropped when it went away, or does not read."""
        with contextlib.suppress(zmq.ZMQError):
            self.socket.send_multipart(frames, zmq.NOBLOCK)
            self._guard.answered(self._peers.get(frames[0], 0), sum(map(len, frames[1:])))

    def refuse(self, identity: bytes) -> None:
        """A message of this peer was no message of floop; who sends many in a row is cut off."""
        self._guard.refused(self._peers.get(identity, 0))


class Publisher:
    """A bound PUB socket and the guard of its subscribers; for one thread."""

    def __init__(self, context: Context, endpoint: str, what: str, *, queue: int) -> None:
        """Raises `BindError`. `queue`: messages that wait for a subscriber that is slow; it misses later ones."""
        self._socket = bind_socket(
            context, zmq.PUB, endpoint, what, queue=queue, max_message_bytes=MAX_SUBSCRIPTION_BYTES
        )
        self.endpoint = last_endpoint(self._socket)
        """Where it is bound."""
        self._guard = PeerGuard(port_of(self.endpoint), what, SUBSCRIBERS)

    def close(self) -> None:
        """Stop publishing."""
        self._guard.close()
        self._socket.close(0)

    def send(self, frames: list[bytes]) -> None:
        """Send to every subscriber, without waiting."""
        self._socket.send_multipart(frames, zmq.NOBLOCK)


def _descriptor(frame: zmq.Frame) -> int:
    try:
        return int(frame.get(zmq.SRCFD))
    except (zmq.ZMQError, ValueError, TypeError):
        return -1


def _address(frame: zmq.Frame) -> str:
    """Of the peer, as ZAP names it; empty where ZeroMQ knows none."""
    try:
        return str(frame.get("Peer-Address"))
    except zmq.ZMQError:
        return ""


def _wire_size(length: int) -> int:
    return length + (2 if length <= _SHORT_FRAME else 9)
