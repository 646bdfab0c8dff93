"""PeerGuard with little memory left: those for whom most is held go, and freed memory is not held against anybody."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator

import pytest

from floop_robot.transport import peer_guard
from floop_robot.transport.listener import Listener
from floop_robot.transport.peer_guard import PeerGuard, PeerLimits
from tests.support.waiting import wait_for
from tests.support.zmq_peers import is_admitted, is_closed, raw_peer

LIMITS = PeerLimits(unread_bytes=1 << 20)
MB = 1 << 20


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener("tcp://127.0.0.1:*", "the test", LIMITS, queue=100, max_message_bytes=MB)
    yield made
    made.close()


def part(size: int) -> bytes:
    """Of a message that goes on."""
    return bytes([3]) + struct.pack(">Q", size) + bytes(size)


def test_the_largest_go_until_little_is_held(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [100_000, 400_000, 200_000, 50_000]
    links = [raw_peer(listener) for _ in sizes]
    for link, size in zip(links, sizes, strict=True):
        assert is_admitted(link)
        link.sendall(part(size))
    guard = listener._guard
    wait_for(lambda: sum(peer.unread for peer in guard._peers.values()) > 740_000, what="all that was sent")
    assert listener.hung_up == 0
    monkeypatch.setattr(peer_guard, "LITTLE_BYTES", 200_000)
    monkeypatch.setattr(peer_guard, "HIGH_MEMORY_BYTES", 0)
    wait_for(lambda: listener.hung_up == 2, what="the end of two connections")
    for _ in range(3):
        guard.look()
    assert [is_closed(link) for link in links] == [False, True, True, False]
    for link in links:
        link.close()


def test_one_look_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_guard, "INTERVAL_S", 3600.0)  # only this test looks
    monkeypatch.setattr(peer_guard, "LITTLE_BYTES", MB // 4)
    monkeypatch.setattr(peer_guard, "HIGH_MEMORY_BYTES", 0)
    guard = PeerGuard(0, "the test", LIMITS)
    for number, unread in enumerate((0.1, 0.9, 2.0, 0.8)):  # the third goes for what it sent alone
        peer = guard._peers[number] = peer_guard._Peer(str(number))
        peer.unread = unread * MB
    assert sorted(guard._offenders(range(4))) == [1, 2, 3]
    guard.close()


def test_memory_that_was_freed_is_not_short(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_trim"):
        pytest.skip("this C library gives nothing back when asked")
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    before = peer_guard._resident_bytes()
    blocks = [libc.malloc(60_000) for _ in range(4000)]
    for block in blocks:
        ctypes.memset(block, 1, 60_000)
    last = libc.malloc(60_000)  # what is freed below it stays in the process
    monkeypatch.setattr(peer_guard, "HIGH_MEMORY_BYTES", before + 100 * MB)
    monkeypatch.setattr(peer_guard, "TRIMMED_EVERY_S", 0.0)
    guard = listener._guard
    assert guard._is_memory_short(), "it is in use"
    for block in blocks:
        libc.free(block)
    assert not guard._is_memory_short()
    libc.free(last)
