"""Sockets: they are read without waiting, and an endpoint that cannot be bound is one line."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import zmq

from floop_robot.transport.zmq_sockets import BindError, Context, bind_socket, connect_socket, last_endpoint, receive

WAIT_MS = 5_000


@pytest.fixture
def context() -> Iterator[Context]:
    made: Context = zmq.Context()
    yield made
    made.destroy(0)


@pytest.mark.parametrize(("near", "far"), [(zmq.ROUTER, zmq.DEALER), (zmq.DEALER, zmq.ROUTER), (zmq.SUB, zmq.PUB)])
def test_a_socket_that_holds_nothing_is_read_without_waiting(context: Context, near: int, far: int) -> None:
    """Whatever a poll said: between it and now a killed peer's connection can take what it had brought along."""
    other = bind_socket(context, far, "tcp://127.0.0.1:0", "the other side")
    socket = connect_socket(context, near, last_endpoint(other))
    socket.setsockopt(zmq.RCVTIMEO, WAIT_MS)  # so that this test ends where it waits
    began_s = time.monotonic()
    assert receive(socket) == []
    assert time.monotonic() - began_s < 0.0005 * WAIT_MS


def test_what_a_socket_holds_is_read_whole_and_once(context: Context) -> None:
    near = bind_socket(context, zmq.ROUTER, "tcp://127.0.0.1:0", "the near side")
    near.setsockopt(zmq.RCVTIMEO, WAIT_MS)
    far = connect_socket(context, zmq.DEALER, last_endpoint(near))
    far.send_multipart([b"", b"word"])
    assert near.poll(10_000)
    assert receive(near)[1:] == [b"", b"word"]
    assert receive(near) == []


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_an_address_of_another_machine_is_said_to_be_none_of_this_one(context: Context, host: str) -> None:
    with pytest.raises(BindError) as caught:
        bind_socket(context, zmq.ROUTER, f"tcp://{host}:17999", "ingest")
    assert str(caught.value) == (
        f"ingest cannot listen on tcp://{host}:17999: this machine has no such address; change endpoints.host"
    )


def test_a_port_in_use_is_one_line_that_says_what_to_do(context: Context) -> None:
    first = bind_socket(context, zmq.ROUTER, "tcp://127.0.0.1:0", "ingest")
    with pytest.raises(BindError, match=r"another fleet running there\? Stop it or change endpoints\.base_port"):
        bind_socket(context, zmq.ROUTER, last_endpoint(first), "ingest")


def test_a_subscriber_to_the_newest_gets_one_message_for_many(context: Context) -> None:
    publisher = bind_socket(context, zmq.XPUB, "tcp://127.0.0.1:0", "the publisher")
    subscriber = connect_socket(context, zmq.SUB, last_endpoint(publisher), newest_only=True)
    assert publisher.poll(WAIT_MS) and publisher.recv() == b"\1"
    for number in range(100):
        publisher.send(b"%d" % number)
    found: list[bytes] = []
    while found[-1:] != [b"99"] and subscriber.poll(WAIT_MS):
        found.append(subscriber.recv())
    assert found[-1] == b"99" and receive(subscriber) == []
