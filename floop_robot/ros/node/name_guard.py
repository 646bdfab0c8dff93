"""NameGuard: ends the later one of two hosts that have one robot's name in one ROS domain.

Both would speak and listen on the same topics, so the policy of one would move the arm of the other.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from rclpy.node import Node

from floop_interfaces import msg
from floop_robot.bundle.delivery import RobotHost
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import LATCHED
from floop_robot.ros.node.timers import create_steady_timer
from floop_robot.spec.errors import FloopError

PERIOD_S: Final = 1.0
TIE_S: Final = 0.1
"""Uptimes that differ by less are equal: a message takes as long on its way. Then the smaller identity stays."""

log = logging.getLogger(__name__)


class NameTaken(FloopError):
    """Another host has this robot's name."""


class NameGuard:
    """Says which host this is, and hears others; in the node's executor."""

    def __init__(self, node: Node, robot: str, host: RobotHost, on_refused: Callable[[], None]) -> None:
        """`on_refused` is called when this host is the second one; then `check` raises."""
        self._robot, self._host, self._on_refused = robot, host, on_refused
        self._refusal = ""
        self._heard: set[str] = set()
        self._began_s = time.monotonic()
        self._publisher = node.create_publisher(msg.RobotHost, topics.ROBOT_HOST, LATCHED)
        node.create_subscription(msg.RobotHost, topics.ROBOT_HOST, self._hear, LATCHED)
        self._timer = create_steady_timer(PERIOD_S, node, self._publish)
        self._publish()

    def check(self) -> None:
        """Raise `NameTaken` if this host is the second one."""
        if self._refusal:
            raise NameTaken(self._refusal)

    def _publish(self) -> None:
        uptime_s = time.monotonic() - self._began_s
        self._publisher.publish(
            msg.RobotHost(robot=self._robot, host_id=self._host.id, host=self._host.name, uptime_s=uptime_s)
        )

    def _hear(self, other: Any) -> None:
        if other.host_id == self._host.id or self._refusal:
            return
        older_s = other.uptime_s - (time.monotonic() - self._began_s)
        if older_s > TIE_S or (abs(older_s) <= TIE_S and other.host_id < self._host.id):
            self._refusal = (
                f"{self._robot} is served in this ROS domain already, by {other.host}; set another ROS_DOMAIN_ID "
                "for the second fleet, stop the other, or give this robot another name and namespace"
            )
            self._on_refused()
        elif other.host_id not in self._heard and len(self._heard) < 100:
            self._heard.add(other.host_id)
            log.warning("a second %s, on %s, is in this ROS domain; it is refused", self._robot, other.host)
