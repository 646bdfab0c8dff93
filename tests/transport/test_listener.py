"""Listener: who was cut off has no say any more, and whoever says nothing keeps nobody out."""

from __future__ import annotations

import fcntl
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from floop_robot.durable.owned_thread import thread_restarts
from floop_robot.transport.listener import Listener
from floop_robot.transport.peer_guard import PeerGuard, PeerLimits
from floop_robot.transport.zmq_sockets import Context, connect_socket, port_of
from tests.support.waiting import wait_for
from tests.support.zmq_peers import echo, is_closed, raw_peer

LIMITS = PeerLimits(unread_bytes=1 << 20, refusals=50, connections=8)


@pytest.fixture
def context() -> Iterator[Context]:
    made: Context = zmq.Context()
    yield made
    made.destroy(0)


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener("tcp://127.0.0.1:*", "the test", LIMITS, queue=100, max_message_bytes=1 << 20)
    yield made
    made.close()


def test_what_a_peer_sent_before_it_was_cut_off_is_dropped(context: Context, listener: Listener) -> None:
    stranger = connect_socket(context, zmq.DEALER, listener.endpoint, queue=100_000)
    assert stranger.poll(5000, zmq.POLLOUT)
    for _ in range(20_000):
        stranger.send(b"junk", zmq.NOBLOCK)
    served = 0
    while not listener.hung_up:
        if frames := listener.receive():
            served += 1
            listener.refuse(frames[0])
            time.sleep(0.0001)
    assert served < 5000
    after = sum(bool(listener.receive()) for _ in range(200))  # each may drop 256
    assert after <= 1  # the one that was being read
    robot = connect_socket(context, zmq.DEALER, listener.endpoint)
    assert echo(listener, robot, b"here I am")


def test_whoever_holds_connections_and_says_nothing_keeps_nobody_out(context: Context, listener: Listener) -> None:
    early = connect_socket(context, zmq.DEALER, listener.endpoint)
    assert echo(listener, early, b"early")
    silent = [raw_peer(listener) for _ in range(LIMITS.connections - 1)]
    late = connect_socket(context, zmq.DEALER, listener.endpoint)
    assert echo(listener, late, b"late")
    wait_for(lambda: any(map(is_closed, silent)), what="the end of one that was silent")
    assert echo(listener, early, b"early again") and echo(listener, late, b"late again")
    assert listener.hung_up == 1
    for link in silent:
        link.close()


def test_what_zeromq_has_closed_is_closed_although_the_guard_watches_it(listener: Listener) -> None:
    link = raw_peer(listener)
    wait_for(lambda: any(file.link for file in listener._guard._files.values()), what="the guard's copy")
    link.sendall(bytes([2]) + struct.pack(">Q", 1 << 40))  # longer than any message
    wait_for(lambda: is_closed(link), what="the end of the connection")
    wait_for(lambda: not any(file.link for file in listener._guard._files.values()), what="the end of the copy")
    link.close()


def test_a_guard_that_failed_guards_again(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    look, left = PeerGuard.look, [3]

    def fails(guard: PeerGuard) -> int:
        if guard is listener._guard and left[0]:
            left[0] -= 1
            raise ZeroDivisionError("nobody foresaw it")
        return look(guard)

    monkeypatch.setattr(PeerGuard, "look", fails)
    link = raw_peer(listener)
    wait_for(lambda: thread_restarts().get(f"peer-guard-{port_of(listener.endpoint)}") == 3, what="the restarts")
    link.setblocking(False)

    def pours() -> bool:
        try:
            link.send(bytes([1, 200]) + bytes(200))  # parts of a message that never ends
        except BlockingIOError:
            pass
        except OSError:
            return True
        return False

    def many() -> bool:
        return any(pours() for _ in range(1000))

    wait_for(many, what="the end of the connection")
    link.close()


def test_a_look_at_open_files_ends_no_lock_on_them(listener: Listener, tmp_path: Path) -> None:
    # SQLite locks its shared memory so; without the lock the next process to open it would cut it short.
    path = tmp_path / "locked"
    guard = PeerGuard(port_of(listener.endpoint), "the test", LIMITS)
    with path.open("w+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        guard.look()
        take = f"import fcntl; fcntl.lockf(open({str(path)!r}, 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        other = subprocess.run([sys.executable, "-c", take], capture_output=True, text=True, check=False)
    guard.close()
    assert other.returncode == 1 and "BlockingIOError" in other.stderr
