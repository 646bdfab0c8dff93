"""PeerGuard: hangs up on peers that would fill this process's memory.

ZeroMQ bounds messages in its queues, but neither the parts of one message nor bytes, and it parses subscriptions of any
number. So a thread compares, connection by connection, what the kernel has received with what was taken, and what was
answered with what the peer has read. The kernel's counts can't be forged. A peer beyond its limits is cut off: its
socket is shut down beneath ZeroMQ, which then drops what it held of it. An honest peer that was cut off connects again.

Linux only; elsewhere it does nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import logging
import os
import resource
import socket
import stat
import struct
import threading
import time
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Final

import msgspec

from floop_robot.durable.owned_thread import OwnedThread

log = logging.getLogger(__name__)

INTERVAL_S: Final = 0.05
"""Pause between two looks; a peer on the same host sends some 50 MB meanwhile."""
MOST_OF_A_CORE: Final = 0.04
"""With hundreds of connections it looks more rarely, lest it starves the process that it guards; not with too many."""
LEAK_BYTES_S: Final = 32.0
"""What ZeroMQ's own heartbeats may add; an honest peer sends 18 bytes a second."""
HANDSHAKE_BYTES: Final = 512
"""What a connection begins with."""
REFUSALS_PER_S: Final = 20.0
"""So many refused messages a second are forgiven: a bad link damages some."""
HIGH_MEMORY_BYTES: Final = 500 << 20
"""From here on those for whom most is held are cut off, until no more than `LITTLE_BYTES` are held for the rest."""
LITTLE_BYTES: Final = 8 << 20
"""As they came. ZeroMQ takes up to 32 times as much for them: 64 bytes for an empty part, which came as two."""
SAID_EVERY_S: Final = 5.0
TRIMMED_EVERY_S: Final = 5.0
"""How often the allocator is asked for what was freed, while memory is short. 600 MB take it 60 ms."""
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
        self.counts = (0, 0, 0, 0)
        """Bytes that the kernel received, that the peer acknowledged, that were taken, and that were answered."""
        self.unread, self.unsent, self.refused = -float(HANDSHAKE_BYTES), 0.0, 0.0


class _File:
    """An open file of this process, by its descriptor."""

    def __init__(self, inode: int, link: socket.socket | None) -> None:
        self.inode, self.link = inode, link
        """A copy of ZeroMQ's connection; None for everything else."""


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
        self._cut: set[int] = set()
        self._peers: dict[int, _Peer] = {}
        self._files: dict[int, _File] = {}
        self._looked_s, self._said_s, self._trimmed_s = time.monotonic(), -SAID_EVERY_S, -TRIMMED_EVERY_S
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
        for descriptor in list(self._files):
            self._close(descriptor)

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

    def take_cut(self) -> set[int]:
        """Peers that were cut off since the last call."""
        if not self._cut:
            return self._cut
        cut, self._cut = self._cut, set()
        return cut

    def _run(self) -> None:
        pause_s = INTERVAL_S
        while not self._stop.wait(pause_s):
            began_s = time.thread_time()
            is_full = self.look() >= self._limits.connections
            rest_s = (time.thread_time() - began_s) / MOST_OF_A_CORE
            pause_s = INTERVAL_S if is_full else max(INTERVAL_S, rest_s)

    def look(self) -> int:
        """Count, and cut off who is beyond its limits; returns the number of connections."""
        found = self._connections()
        if found is None:
            return 0
        now_s = time.monotonic()
        elapsed_s, self._looked_s = now_s - self._looked_s, now_s
        for inode, link in found.items():
            with contextlib.suppress(OSError):
                self._update(inode, link, elapsed_s)
        for inode, why in self._offenders(found).items():
            self._hang_up(inode, found[inode], why)
        self._forget(set(found))
        return len(found)

    def _connections(self) -> dict[int, socket.socket] | None:
        """Copies of ZeroMQ's connections of the port, by inode; None where there is no /proc.

        Copies are kept, since making them costs more than all else of a look. While one is open, so is its connection:
        what ZeroMQ has closed ends at the next look.
        """
        own = {file.link.fileno() for file in self._files.values() if file.link is not None}
        try:
            names = os.listdir("/proc/self/fd")  # noqa: PTH208  (paths cost more than the look itself)
        except OSError:
            return None
        descriptors = {int(name) for name in names} - own
        for descriptor in self._files.keys() - descriptors:
            self._close(descriptor)
        found: dict[int, socket.socket] = {}
        for descriptor in descriptors:
            try:
                inode, file = os.fstat(descriptor).st_ino, self._files.get(descriptor)
                if file is None or file.inode != inode:
                    self._close(descriptor)
                    file = self._files[descriptor] = self._open(descriptor)
            except OSError:  # closed meanwhile, as what read the folder has been
                self._close(descriptor)
                continue
            if file.link is not None:
                found[file.inode] = file.link
        return found

    def _open(self, descriptor: int) -> _File:
        """What a descriptor is; raises OSError when it was closed.

        Only sockets are copied. Closing a copy of a file would end all locks that this process has on it (fcntl(2)):
        another process that opens the same SQLite database would then cut its shared memory short.
        """
        status = os.fstat(descriptor)
        if not stat.S_ISSOCK(status.st_mode):
            return _File(status.st_ino, None)
        copy = os.dup(descriptor)
        status = os.fstat(copy)  # of the copy: the descriptor may be another file by now
        if not stat.S_ISSOCK(status.st_mode):
            return _File(status.st_ino, None)  # and the copy stays open, see above
        link = socket.socket(fileno=copy)
        with contextlib.suppress(OSError):  # it listens, or has ended
            is_tcp = link.family in (socket.AF_INET, socket.AF_INET6) and link.type == socket.SOCK_STREAM
            if is_tcp and link.getsockname()[1] == self._port and link.getpeername():
                return _File(status.st_ino, link)
        link.close()
        return _File(status.st_ino, None)

    def _close(self, descriptor: int) -> None:
        file = self._files.pop(descriptor, None)
        if file is not None and file.link is not None:
            file.link.close()

    def _update(self, inode: int, link: socket.socket, elapsed_s: float) -> None:
        info = link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_OFFSET + _TCP_INFO.size)
        acked, received = _TCP_INFO.unpack_from(info, _TCP_INFO_OFFSET)
        if (peer := self._peers.get(inode)) is None:
            host, port = link.getpeername()[:2]
            peer = self._peers[inode] = _Peer(f"{host}:{port}")
        was, leak = peer.counts, LEAK_BYTES_S * elapsed_s
        if received != was[0]:
            received -= _in_kernel(link)
        counts = peer.counts = received, acked, self._taken.get(inode, 0), self._answered.get(inode, 0)
        peer.unread = max(-float(HANDSHAKE_BYTES), peer.unread + counts[0] - was[0] - counts[2] + was[2] - leak)
        peer.unsent = max(0.0, peer.unsent + counts[3] - was[3] - counts[1] + was[1])
        peer.refused = max(0.0, peer.refused + self._refused.pop(inode, 0) - REFUSALS_PER_S * elapsed_s)

    def _offenders(self, present: Container[int]) -> dict[int, str]:
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
        for inode in self._beyond(list(known)):
            found.setdefault(inode, f"more than {limits.connections} connections")
        if known and self._is_memory_short():
            held = {inode: max(0.0, peer.unread) + peer.unsent for inode, peer in known.items() if inode not in found}
            for inode in _largest(held):
                found[inode] = f"memory is short, and {held[inode] / 1e6:.1f} MB are held for it"
        return found

    def _is_memory_short(self) -> bool:
        """Freed memory does not count: after an attack the allocator keeps hundreds of megabytes of it."""
        if _resident_bytes() <= HIGH_MEMORY_BYTES:
            return False
        if (now_s := time.monotonic()) - self._trimmed_s < TRIMMED_EVERY_S:
            return True
        self._trimmed_s = now_s
        _trim_memory()
        return _resident_bytes() > HIGH_MEMORY_BYTES

    def _beyond(self, known: list[int]) -> list[int]:
        """Of too many connections, oldest first: those that never sent a message go first, then the latest.

        So whoever holds connections and says nothing keeps no robot out.
        """
        excess = len(known) - self._limits.connections
        silent = [inode for inode in known if inode not in self._taken] if self._taken and excess > 0 else []
        return list(dict.fromkeys([*silent, *reversed(known)]))[: max(0, excess)]

    def _hang_up(self, inode: int, link: socket.socket, why: str) -> None:
        self._cut.add(inode)  # before ZeroMQ closes it: its messages are told by it
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


def _trim_memory() -> None:
    """Give freed memory back to the system, where the C library can."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _largest(held: dict[int, float]) -> Iterator[int]:
    """Those for whom most is held, until little is held for all others together."""
    left = sum(held.values())
    for inode in sorted(held, key=held.__getitem__, reverse=True):
        if left <= LITTLE_BYTES:
            return
        left -= held[inode]
        yield inode


def _resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * resource.getpagesize()
    except OSError:
        return 0
