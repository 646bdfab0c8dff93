"""PeerGuard: hangs up on peers that would fill this process's memory.

ZeroMQ bounds messages in its queues, but neither the parts of one message nor bytes, and it parses subscriptions of any
number. So a thread compares, connection by connection, what the kernel has received with what was taken, and what was
answered with what the peer has read. The kernel's counts can't be forged. A peer beyond its limits is cut off: its
socket is shut down beneath ZeroMQ, which then drops what it held of it. An honest peer that was cut off connects again.

Linux only; elsewhere it does nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import resource
import socket
import stat
import struct
import threading
import time
from pathlib import Path
from typing import Final

import msgspec

from floop_robot.durable.owned_thread import OwnedThread

log = logging.getLogger(__name__)

INTERVAL_S: Final = 0.05
"""Pause between two looks; a peer on the same host sends some 50 MB meanwhile."""
LEAK_BYTES_S: Final = 32.0
"""What ZeroMQ's own heartbeats may add; an honest peer sends 18 bytes a second."""
HANDSHAKE_BYTES: Final = 512
"""What a connection begins with."""
REFUSALS_PER_S: Final = 20.0
"""So many refused messages a second are forgiven: a bad link damages some."""
HIGH_MEMORY_BYTES: Final = 500 << 20
"""From here on whoever has most unread bytes is cut off, if these are more than `LARGE_BYTES`."""
LARGE_BYTES: Final = 1 << 20
SAID_EVERY_S: Final = 5.0
_TCP_INFO = struct.Struct("<QQ")
_TCP_INFO_OFFSET: Final = 120
"""Of bytes_acked and bytes_received in `struct tcp_info` (Linux 4.1 and later)."""
_SIOCINQ: Final = 0x541B


class PeerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one peer may make this process hold."""

    unread_bytes: int
    """Sent by the peer, and not part of a message that was taken yet."""
    unsent_bytes: int = 1 << 20
    """Answered to the peer, and not received by it yet."""
    refusals: int = 500
    """Messages in a row that were refused, beyond `REFUSALS_PER_S`."""
    connections: int = 512
    """Of all peers together; the latest beyond that are cut off."""


class _Peer:
    """What is known of one connection, by the inode of its socket."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.received = self.acked = self.taken = self.answered = 0
        self.unread, self.unsent, self.refused = -float(HANDSHAKE_BYTES), 0.0, 0.0


class PeerGuard:
    """Watches the connections of one bound TCP port. `took`, `answered` and `refused` are for the socket's thread."""

    def __init__(self, port: int, what: str, limits: PeerLimits) -> None:
        """`what` names the process in the log."""
        self._port, self._what, self._limits = port, what, limits
        self._taken: dict[int, int] = {}
        self._answered: dict[int, int] = {}
        self._refused: dict[int, int] = {}
        self._to_disconnect: dict[int, str] = {}
        self._gone: set[int] = set()
        self._peers: dict[int, _Peer] = {}
        self._looked_s, self._said_s = time.monotonic(), -SAID_EVERY_S
        self.hung_up = 0
        """Peers that were cut off."""
        self._stop = threading.Event()
        raise_open_files_limit()
        self._thread = OwnedThread(self._run, f"peer-guard-{port}", self._stop)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    @staticmethod
    def peer_of(descriptor: int) -> int:
        """The identity of a connection, from the file descriptor that ZeroMQ gives with its messages; 0: unknown."""
        try:
            return os.fstat(descriptor).st_ino if descriptor >= 0 else 0
        except OSError:
            return 0  # it ended, and what it brought is read last

    def took(self, peer: int, size: int) -> None:
        """A message of `size` bytes was taken from the peer."""
        self._taken[peer] = self._taken.get(peer, 0) + size

    def answered(self, peer: int, size: int) -> None:
        """A message was queued for the peer."""
        self._answered[peer] = self._answered.get(peer, 0) + size

    def refused(self, peer: int) -> None:
        """A message of the peer was none."""
        self._refused[peer] = self._refused.get(peer, 0) + 1

    def disconnect(self, peer: int, why: str) -> None:
        """Cut the peer off as soon as may be."""
        if peer:
            self._to_disconnect[peer] = why

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            self.look()

    def look(self) -> None:
        """Count, and cut off who is beyond its limits; the guard's thread does it every `INTERVAL_S`."""
        found = self._connections()
        if found is None:
            return
        now_s = time.monotonic()
        elapsed_s, self._looked_s = now_s - self._looked_s, now_s
        for inode, link in found.items():
            with contextlib.suppress(OSError):
                self._update(inode, link, elapsed_s)
        for inode, why in self._offenders(set(found)).items():
            self._hang_up(inode, found[inode], why)
        for link in found.values():
            link.close()
        self._forget(set(found))

    def _connections(self) -> dict[int, socket.socket] | None:
        """Copies of ZeroMQ's connections of the port, to be closed, by inode; None where there is no /proc."""
        try:
            descriptors = [int(path.name) for path in Path("/proc/self/fd").iterdir()]
        except OSError:
            return None
        found: dict[int, socket.socket] = {}
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                status = os.fstat(descriptor)
                if not stat.S_ISSOCK(status.st_mode):
                    continue
                link = socket.socket(fileno=os.dup(descriptor))
                is_ours = link.family in (socket.AF_INET, socket.AF_INET6) and link.type == socket.SOCK_STREAM
                try:
                    if is_ours and link.getsockname()[1] == self._port and link.getpeername():
                        found[status.st_ino] = link
                        continue
                except OSError:  # it listens, or has ended
                    pass
                link.close()
        return found

    def _update(self, inode: int, link: socket.socket, elapsed_s: float) -> None:
        info = link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_OFFSET + _TCP_INFO.size)
        acked, received = _TCP_INFO.unpack_from(info, _TCP_INFO_OFFSET)
        received -= _in_kernel(link)
        if (peer := self._peers.get(inode)) is None:
            host, port = link.getpeername()[:2]
            peer = self._peers[inode] = _Peer(f"{host}:{port}")
        taken, answered = self._taken.get(inode, 0), self._answered.get(inode, 0)
        leak = LEAK_BYTES_S * elapsed_s
        floor = -float(HANDSHAKE_BYTES)
        peer.unread = max(floor, peer.unread + (received - peer.received) - (taken - peer.taken) - leak)
        peer.unsent = max(0.0, peer.unsent + (answered - peer.answered) - (acked - peer.acked))
        peer.refused = max(0.0, peer.refused + self._refused.pop(inode, 0) - REFUSALS_PER_S * elapsed_s)
        peer.received, peer.acked, peer.taken, peer.answered = received, acked, taken, answered

    def _offenders(self, present: set[int]) -> dict[int, str]:
        limits, found = self._limits, dict[int, str]()
        known = {inode: peer for inode, peer in self._peers.items() if inode in present}  # oldest first
        for inode, peer in known.items():
            if inode in self._to_disconnect:
                found[inode] = self._to_disconnect[inode]
            elif peer.unread > limits.unread_bytes:
                found[inode] = f"it sent {peer.unread / 1e6:.1f} MB that are no message"
            elif peer.unsent > limits.unsent_bytes:
                found[inode] = f"it does not read {peer.unsent / 1e6:.1f} MB that it asked for"
            elif peer.refused > limits.refusals:
                found[inode] = f"{peer.refused:.0f} of its messages in a row were refused"
        for inode in list(known)[limits.connections :]:
            found.setdefault(inode, f"more than {limits.connections} connections")
        if not found and known and _resident_bytes() > HIGH_MEMORY_BYTES:
            largest = max(known, key=lambda inode: known[inode].unread + known[inode].unsent)
            if (size := known[largest].unread + known[largest].unsent) > LARGE_BYTES:
                found[largest] = f"memory is short, and {size / 1e6:.1f} MB are held for it"
        return found

    def _hang_up(self, inode: int, link: socket.socket, why: str) -> None:
        with contextlib.suppress(OSError):
            link.shutdown(socket.SHUT_RDWR)
        self.hung_up += 1
        if (now_s := time.monotonic()) - self._said_s >= SAID_EVERY_S:
            self._said_s = now_s
            log.warning("%s: hung up on %s: %s (%d so far)", self._what, self._peers[inode].name, why, self.hung_up)

    def _forget(self, present: set[int]) -> None:
        """Forget connections that were gone at two looks: what they brought may be taken after their end."""
        counted = self._taken.keys() | self._answered.keys() | self._refused.keys() | self._to_disconnect.keys()
        gone = (set(self._peers) | counted) - present
        for inode in gone & self._gone:
            self._peers.pop(inode, None)
            self._to_disconnect.pop(inode, None)
            for counts in (self._taken, self._answered, self._refused):
                counts.pop(inode, None)
        self._gone = gone


def raise_open_files_limit() -> None:
    """Let this process open as many files as it may: strangers' connections must leave some for the journal."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 8192) if hard != resource.RLIM_INFINITY else 8192
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _in_kernel(link: socket.socket) -> int:
    """Bytes that ZeroMQ has not read from the kernel yet."""
    waiting = bytearray(4)
    fcntl.ioctl(link.fileno(), _SIOCINQ, waiting)
    return int.from_bytes(waiting, "little")


def _resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * resource.getpagesize()
    except OSError:
        return 0
