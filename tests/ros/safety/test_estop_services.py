"""The levels that a safety node hears, whatever a publisher offers."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from rclpy.qos import QoSProfile
from std_msgs.msg import Bool

from floop_robot.robot.estop_interface import EstopInterface
from floop_robot.robot.estop_latch import EstopLatch
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import EVENTS, LATCHED, SENSOR
from floop_robot.ros.safety.estop_services import EstopServices
from floop_robot.spec.driver_config import DriverConfig
from tests.support.ros.peer import Peer
from tests.support.ros.robot_rig import ROBOT

HARDWARE = "io/may_move"


@pytest.mark.parametrize("qos", [EVENTS, SENSOR, LATCHED])
def test_the_arms_own_stop_is_heard_inverted_and_before_the_start(peer: Peer, qos: QoSProfile) -> None:
    estop = EstopInterface(EstopLatch())
    publisher = peer.node.create_publisher(Bool, HARDWARE, qos)
    if qos is LATCHED:
        publisher.publish(Bool(data=False))
    driver = DriverConfig(command_topic="commands", hardware_stop_topic=HARDWARE, hardware_stop_inverted=True)
    with closing(EstopServices(peer.node, ROBOT, estop, driver)):
        if qos is not LATCHED:
            wait_for(lambda: publisher.get_subscription_count() >= 1)
            publisher.publish(Bool(data=False))
        wait_for(lambda: estop.inputs.held() == HARDWARE, what="a level that says stop")
        estop.carry_out(lambda command: (estop.latch.stop(command), ""))  # type: ignore[arg-type]
        assert estop.latch.is_set and estop.latch.reason == f"stopped by {HARDWARE}: the input says stop"
        publisher.publish(Bool(data=True))
        wait_for(lambda: not estop.inputs.held(), what="a level that no longer says stop")
        assert estop.latch.is_set


def test_two_levels_at_once_are_both_heard(peer: Peer) -> None:
    estop = EstopInterface(EstopLatch())
    with closing(EstopServices(peer.node, ROBOT, estop, DriverConfig(command_topic="commands"))):
        publisher = peer.node.create_publisher(Bool, topics.ESTOP, EVENTS)
        wait_for(lambda: publisher.get_subscription_count() >= 2)
        publisher.publish(Bool(data=False))
        publisher.publish(Bool(data=True))
        wait_for(lambda: estop.inputs.held() == topics.ESTOP)
