"""What floop logs is on `/rosout`, with its level and its node's name, and never holds up who logs it."""

from __future__ import annotations

import logging

import pytest

from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from rcl_interfaces.msg import Log
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile

from floop_robot.ros.node.rosout import logging_to
from tests.support.ros.peer import Peer

ROSOUT = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
log = logging.getLogger("floop_robot.anything")


def test_each_level_arrives_as_what_it_is(peer: Peer) -> None:
    heard = peer.listen(Log, "/rosout", ROSOUT)
    node = Node("speaker", namespace="/robot_1", context=peer.context)
    before = logging.getLogger().handlers
    try:
        with logging_to(node):
            for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
                log.log(level, "level %d", level)
        assert logging.getLogger().handlers == before
        wait_for(lambda: "level 50" in [line.msg for line in heard], 10, "the last line")
    finally:
        node.destroy_node()
    found = {(line.name, line.level, line.msg) for line in heard if line.msg.startswith("level")}
    levels = {20: Log.INFO, 30: Log.WARN, 40: Log.ERROR, 50: Log.FATAL}  # debug is below what a node writes
    assert found == {("robot_1.speaker", bytes_or_int(level), f"level {n}") for n, level in levels.items()}


def bytes_or_int(level: bytes | int) -> int:
    return level if isinstance(level, int) else level[0]
