"""The fleet manager's sockets: what is no message, a port that is taken, and a disk that is full."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from floop_robot.bundle.delivery import Refusal
from floop_robot.deploy import FleetRequestHandler, FleetServer, LiveBatch
from floop_robot.deploy.messages import REPLIES, GetRobots, Robots
from floop_robot.deploy.registry import Registry
from floop_robot.durable.framing import deframe_message, frame_message
from floop_robot.spec.errors import StorageError
from floop_robot.transport.zmq_sockets import BindError
from tests.support.in_process_fleet import CONFIG, ManagerThread
from tests.support.sample_bundles import IDS, TASK
from tests.support.waiting import wait_for


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ManagerThread]:
    made = ManagerThread(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def peer(manager: ManagerThread) -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(zmq.DEALER) as made:
        made.linger = 0
        made.connect(manager.rpc)
        yield made


def test_what_is_no_message_is_counted_and_the_next_is_answered(
    manager: ManagerThread, peer: zmq.Socket[bytes]
) -> None:
    peer.send_multipart([b"1", b"damaged on the way"])
    peer.send_multipart([b"one frame too many", b"2", frame_message(GetRobots())])
    body = b"\xc1"  # a byte that msgpack never uses
    peer.send_multipart([b"3", zlib.crc32(body).to_bytes(4, "little") + body])
    peer.send_multipart([b"4", frame_message(GetRobots())])
    refused, answered = peer.recv_multipart(), peer.recv_multipart()
    assert refused[0] == b"3" and answered[0] == b"4"
    refusal = deframe_message(refused[1], REPLIES)
    assert isinstance(refusal, Refusal) and "malformed" in refusal.reason and "\n" not in refusal.reason
    assert isinstance(deframe_message(answered[1], REPLIES), Robots)
    with manager.client() as client:
        assert client.status().dropped_messages == 3


def test_a_port_that_is_taken_is_one_line(manager: ManagerThread, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "second.sqlite")
    fleet = FleetRequestHandler(registry, CONFIG, TASK, IDS, time.time_ns)
    with pytest.raises(BindError) as error:
        FleetServer(fleet, "tcp://127.0.0.1:0", manager.rpc)
    assert "\n" not in str(error.value) and manager.rpc.rpartition(":")[2] in str(error.value)
    registry.close()
    with manager.client() as client:
        assert client.status().production == 1


def test_a_full_disk_is_shown_and_does_not_end_the_fleet_manager(manager: ManagerThread) -> None:
    take = manager.feed.take

    def full() -> LiveBatch | None:
        raise StorageError("the disk is full")

    manager.feed.take = full
    with manager.client() as client:
        wait_for(lambda: client.status().trouble == "the disk is full", what="the error in the status")
        manager.feed.take = take
        manager.feed.put(1, [True])
        wait_for(lambda: client.status().trouble == "", what="the end of the error")
        wait_for(lambda: client.status().live[0].classes, what="the episode")
        assert (client.status().production, client.status().trouble) == (1, "")
