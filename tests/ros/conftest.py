"""Every ROS test stays on this machine, and apart from every other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from floop_robot.services.supervision.ros_domain import reserved_domain

if TYPE_CHECKING:
    from tests.support.ros.peer import Peer

# Before anything loads DDS: LOCALHOST keeps discovery off the network.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["FASTDDS_BUILTIN_TRANSPORTS"] = "UDPv4"


@pytest.fixture
def domain() -> Iterator[int]:
    """A ROS_DOMAIN_ID that no other test on this machine uses meanwhile."""
    with reserved_domain() as number:
        yield number


@pytest.fixture
def peer(domain: int) -> Iterator[Peer]:
    """A node of the test's own process."""
    from tests.support.ros.peer import Peer  # there may be no ROS

    found = Peer(domain)
    yield found
    found.close()
