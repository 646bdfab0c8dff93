"""Every ROS test stays on this machine, and apart from every other."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from floop_robot.services.supervision.ros_domain import reserved_domain

# Before anything loads DDS: LOCALHOST keeps discovery off the network.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["FASTDDS_BUILTIN_TRANSPORTS"] = "UDPv4"


@pytest.fixture
def domain() -> Iterator[int]:
    """A ROS_DOMAIN_ID that no other test on this machine uses meanwhile."""
    with reserved_domain() as number:
        yield number
