"""Quality of service by kind of topic, as in docs/ros_interfaces.md."""

from __future__ import annotations

from typing import Final

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

SENSOR: Final = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Measurements: a lost one is worth nothing when the next is there."""
LATEST: Final = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""A subscriber to streams, also reliable ones, who needs the newest message alone: no time for what it replaces."""
COMMAND: Final = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
"""Commands: all arrive, and only the newest counts."""
LATCHED: Final = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
"""States that last: a late joiner gets the present one."""
EVENTS: Final = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
"""Things that happen once, each of which counts."""
AUDIT: Final = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
"""The audit trail: bursts of entries."""
CALLS: Final = QoSProfile(depth=128, reliability=ReliabilityPolicy.RELIABLE)
"""Calls and answers of services: more than ever wait at one node. ROS's own depth is 10; further calls to a node that
is kept from reading, and further answers given at once, would be lost silently."""
