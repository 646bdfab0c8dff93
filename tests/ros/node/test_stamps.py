"""Headers hold ROS time: the wall clock, or what `/clock` says where `use_sim_time` is set, also in mid-work."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock

from floop_robot.ros.node import stamps
from tests.support.ros.peer import Peer

START_NS = 1_000 * 10**9
LATE_NS = 200_000_000


@pytest.fixture
def clocked(peer: Peer) -> Iterator[Peer]:
    stamps.follow_clock(peer.node.get_clock())
    yield peer
    stamps.follow_clock(None)


def tell(peer: Peer, now_ns: int) -> None:
    publisher = peer.node.create_publisher(Clock, "/clock", 1)

    def told() -> bool:
        publisher.publish(Clock(clock=stamps.to_time(now_ns)))
        return stamps.now_ns() == now_ns

    wait_for(told, 10, "the time on /clock")


def test_stamps_are_those_of_the_clock_that_the_node_follows(clocked: Peer) -> None:
    before = time.time_ns()
    assert before <= stamps.from_time(stamps.header().stamp) <= time.time_ns()
    assert stamps.from_time(stamps.header("base", before).stamp) == before
    assert stamps.to_wall_ns(before) == before

    (done,) = clocked.node.set_parameters([Parameter("use_sim_time", value=True)])
    assert done.successful
    tell(clocked, START_NS)
    assert stamps.from_time(stamps.header().stamp) == START_NS
    assert stamps.from_time_numbers(stamps.now_numbers()) == START_NS
    past = time.time_ns() - LATE_NS
    for found in (
        stamps.from_time(stamps.header("base", past).stamp),
        stamps.from_time_numbers(stamps.time_numbers(past)),
    ):
        assert found == pytest.approx(START_NS - LATE_NS, abs=20_000_000)
    assert stamps.to_wall_ns(START_NS - LATE_NS) == pytest.approx(time.time_ns() - LATE_NS, abs=20_000_000)
    assert stamps.to_wall_ns(0) == 0  # no time at all
    assert stamps.to_ros_ns(0) == 0  # before the simulation began

    clocked.node.set_parameters([Parameter("use_sim_time", value=False)])
    assert stamps.now_ns() >= before
