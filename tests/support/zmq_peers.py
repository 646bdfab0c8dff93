"""Peers of a `Listener`: raw ones that say what they like, and honest ones whose words come back."""

from __future__ import annotations

import socket
import struct
import time

import zmq

from floop_robot.transport.listener import Listener
from floop_robot.transport.zmq_sockets import Socket, port_of


def raw_peer(listener: Listener, source: str = "127.0.0.1") -> socket.socket:
    """A connection that has said its half of ZeroMQ's handshake, and says nothing more."""
    link = socket.create_connection(("127.0.0.1", port_of(listener.endpoint)), timeout=5, source_address=(source, 0))
    link.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + bytes(32))
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"
    link.sendall(bytes([4, len(ready)]) + ready)
    return link


def is_closed(link: socket.socket) -> bool:
    """Whether the other end has closed a connection."""
    link.setblocking(False)
    try:
        while link.recv(4096):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def echo(listener: Listener, peer: Socket, word: bytes) -> bool:
    """Whether a word comes back within five seconds."""
    end_s, sent = time.monotonic() + 5.0, False
    while time.monotonic() < end_s:
        if not sent and peer.poll(10, zmq.POLLOUT):
            peer.send(word)
            sent = True
        if frames := listener.receive():
            listener.send(frames)
        if peer.poll(1) and peer.recv() == word:
            return True
    return False


def is_admitted(link: socket.socket) -> bool:
    """Wait until the other end has ended the handshake; False if it hangs up instead."""
    link.settimeout(20)
    heard = b""
    try:
        while b"READY" not in heard and (data := link.recv(4096)):
            heard += data
    except ConnectionError:
        pass
    return b"READY" in heard
