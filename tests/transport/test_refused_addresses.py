"""Whoever sends a message of very many parts is cut off, and its address refused for a while; nobody else is."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from floop_robot.durable import owned_thread
from floop_robot.durable.owned_thread import thread_restarts
from floop_robot.transport.listener import HOSTILE_PARTS, REFUSED_S, Listener
from floop_robot.transport.peer_guard import PeerLimits
from floop_robot.transport.zap_handler import MAX_REFUSED, ZapHandler
from floop_robot.transport.zmq_sockets import BindError, Context, Socket, connect_socket, port_of
from tests.support.waiting import wait_for
from tests.support.zmq_peers import echo, is_admitted, is_closed, raw_peer

LIMITS = PeerLimits(unread_bytes=1 << 20)
PARTS = 200_000
HOSTILE_MESSAGE = bytes([1, 0]) * PARTS + bytes([0, 0])
Listen = Callable[[float], Listener]


@pytest.fixture
def context() -> Iterator[Context]:
    made: Context = zmq.Context()
    yield made
    made.destroy(0)


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Starts a listener that refuses for so long."""
    with contextlib.ExitStack() as opened:

        def start(refused_s: float) -> Listener:
            made = Listener(
                "tcp://127.0.0.1:*", "the test", LIMITS, queue=100, max_message_bytes=1 << 20, refused_s=refused_s
            )
            opened.callback(made.close)
            return made

        yield start


def attack(listener: Listener, source: str = "127.0.0.1") -> None:
    """One whole message of very many parts; returns when its sender was cut off."""
    cut = listener.hung_up
    with raw_peer(listener, source) as link:
        assert is_admitted(link)
        link.sendall(HOSTILE_MESSAGE)
        assert listener.socket.poll(20_000)
        assert len(listener.receive()) == 1, "nothing of it is handed on"
        wait_for(lambda: listener.hung_up > cut, what="the end of the connection")


def honest_peer(context: Context, listener: Listener, source: str = "127.0.0.1") -> Socket:
    return connect_socket(context, zmq.DEALER, f"tcp://{source}:0;127.0.0.1:{port_of(listener.endpoint)}")


def test_the_sender_is_refused_and_all_others_are_served(
    context: Context, listen: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    listener = listen(REFUSED_S)
    early = honest_peer(context, listener)
    assert echo(listener, early, b"early")
    with caplog.at_level(logging.WARNING, "floop_robot.transport.zap_handler"):
        attack(listener)
    assert [record.getMessage() for record in caplog.records if "no new" in record.message] == [
        "the test: no new connections from 127.0.0.1 for 60 s: a message of it had more than 64 parts"
    ]
    with raw_peer(listener) as again:
        with contextlib.suppress(ConnectionError, TimeoutError):
            again.sendall(HOSTILE_MESSAGE)
        assert not is_admitted(again)
        wait_for(lambda: is_closed(again), what="the end of the second connection")
    assert listener.receive() == [], "what it sent was not even parsed"
    assert echo(listener, early, b"the same address, connected before"), "it stays"
    other = honest_peer(context, listener, "127.0.0.2")
    assert echo(listener, other, b"another address")
    assert listener.hung_up == 1


def test_a_refused_peer_tries_again_and_gets_in_after_the_time(context: Context, listen: Listen) -> None:
    listener = listen(2.0)
    attack(listener)
    robot = connect_socket(context, zmq.DEALER, "inproc://nothing-yet")  # watched before it connects
    robot.disconnect("inproc://nothing-yet")
    events = robot.get_monitor_socket()
    robot.connect(listener.endpoint)
    was_refused = wait_for(lambda: seen(events, zmq.Event.HANDSHAKE_FAILED_NO_DETAIL), what="a refusal")
    assert was_refused and not robot.poll(0, zmq.POLLOUT)
    wait_for(lambda: echo(listener, robot, b"here I am"), what="the end of the refusal")
    robot.disable_monitor()


def seen(events: Socket, event: zmq.Event) -> bool:
    while events.poll(0):
        if recv_monitor_message(events)["event"] == event:
            return True
    return False


def test_a_sender_that_has_gone_already_is_refused(listen: Listen) -> None:
    listener = listen(REFUSED_S)
    with raw_peer(listener) as link:
        assert is_admitted(link)
        link.sendall(HOSTILE_MESSAGE)
        assert listener.socket.poll(20_000)
    wait_for(lambda: not any(file.link for file in listener._guard._files.values()), what="the end of the connection")
    assert len(listener.receive()) <= 1
    with raw_peer(listener) as again:
        assert not is_admitted(again)


@pytest.mark.parametrize("parts", [2, HOSTILE_PARTS - 1])
def test_messages_of_fewer_parts_cost_nobody_the_address(listen: Listen, parts: int) -> None:
    listener = listen(REFUSED_S)
    with raw_peer(listener) as link:
        assert is_admitted(link)
        link.sendall(bytes([1, 0]) * (parts - 1) + bytes([0, 0]))
        assert listener.socket.poll(20_000) and listener.receive()
        with raw_peer(listener) as another:
            assert is_admitted(another)
    assert listener.hung_up == 0


def test_an_address_is_refused_at_one_port_only(listen: Listen) -> None:
    attacked, quiet = listen(REFUSED_S), listen(REFUSED_S)
    attack(attacked)
    with raw_peer(quiet) as link:
        assert is_admitted(link)


def test_of_ever_new_addresses_the_latest_are_remembered() -> None:
    handler = ZapHandler("the test", REFUSED_S)
    for number in range(MAX_REFUSED + 10):
        handler.refuse(f"10.0.{number >> 8}.{number & 255}", "why not")
    handler.refuse("10.0.0.10", "again, so it is the latest")
    handler.refuse("10.1.0.0", "so the oldest goes")
    assert len(handler._refused_until) == MAX_REFUSED
    assert "10.0.0.10" in handler._refused_until and "10.0.0.11" not in handler._refused_until
    handler.close()


def test_a_handler_that_failed_answers_again(context: Context, listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, left = ZapHandler._answer, [2]

    def fails(handler: ZapHandler, frames: list[bytes]) -> None:
        if left[0]:
            left[0] -= 1
            raise ZeroDivisionError("nobody foresaw it")
        answer(handler, frames)

    monkeypatch.setattr(ZapHandler, "_answer", fails)
    before = thread_restarts().get("zap-handler", 0)
    listener = listen(REFUSED_S)
    robot = honest_peer(context, listener)
    wait_for(lambda: echo(listener, robot, b"here I am"), what="the handler's return")
    assert thread_restarts().get("zap-handler", 0) == before + 2


def test_a_handler_that_failed_last_can_be_closed(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(handler: ZapHandler, frames: list[bytes]) -> None:
        raise ZeroDivisionError("nobody foresaw it")

    monkeypatch.setattr(ZapHandler, "_answer", fails)
    monkeypatch.setattr(owned_thread, "FIRST_BACKOFF_S", 3600.0)
    before = thread_restarts().get("zap-handler", 0)
    listener = listen(REFUSED_S)
    with raw_peer(listener):
        wait_for(lambda: thread_restarts().get("zap-handler", 0) > before, what="the failure")
    closing = threading.Thread(target=listener.close, daemon=True)
    closing.start()
    closing.join(20)
    assert not closing.is_alive()


def test_listeners_close_while_peers_connect(context: Context) -> None:
    for _ in range(20):
        made = Listener("tcp://127.0.0.1:*", "the test", LIMITS, queue=100, max_message_bytes=1 << 20)
        peers = [raw_peer(made) for _ in range(10)]
        made.close()
        for peer in peers:
            wait_for(partial(is_closed, peer), what="the end of the connection")
            peer.close()


def test_a_port_that_is_taken_leaves_no_thread_behind(listen: Listen) -> None:
    taken = listen(REFUSED_S).endpoint
    before = threading.active_count()
    with pytest.raises(BindError):
        Listener(taken, "the test", LIMITS, queue=100, max_message_bytes=1 << 20)
    assert threading.active_count() == before
