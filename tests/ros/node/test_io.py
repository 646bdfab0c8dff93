"""Subscribers take what can be read, whatever else arrives with it."""

from __future__ import annotations

import pytest

from tests.support.ros.skip_reasons import NO_INTERFACES, NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)
pytest.importorskip("floop_interfaces", reason=NO_INTERFACES)

from std_msgs.msg import Bool

from floop_robot.ros.node import topics
from floop_robot.ros.node.io import PolledSubscription, RosSubscriber
from floop_robot.ros.node.qos import EVENTS
from tests.support.ros.peer import Peer


@pytest.mark.parametrize("noise", [b"\x00\x01", b"\x00\x01\x00\x00"])
def test_an_unreadable_message_hides_no_stop_before_it(peer: Peer, noise: bytes) -> None:
    subscriber = RosSubscriber(peer.node, Bool, topics.FLEET_ESTOP, EVENTS, lambda message, _: message.data)
    watcher = PolledSubscription(peer.node, Bool, topics.FLEET_ESTOP, EVENTS)
    sender = peer.node.create_publisher(Bool, topics.FLEET_ESTOP, EVENTS)
    wait_for(lambda: sender.get_subscription_count() == 2, what="both subscriptions")
    sender.publish(Bool(data=True))
    sender.publish(noise)
    arrived = 0

    def both() -> bool:
        nonlocal arrived
        arrived += len(watcher.take())
        return arrived == 2

    wait_for(both, what="the stop and the noise")
    assert wait_for(subscriber.receive, what="the stop")
