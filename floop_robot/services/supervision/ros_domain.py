"""ROS as its surroundings see it: is it here, and which domain may a fleet have to itself. Imports no ROS."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
from collections.abc import Iterator, Mapping

from floop_robot.spec.errors import ConfigError, FloopError

FIRST_DOMAIN, LAST_DOMAIN = 1, 101
"""Above 101 the ports of DDS run into those that Linux hands out itself."""
LOCK_PORT = 23_900
"""A domain belongs to whoever is bound to this port plus its number; the kernel frees it when its owner is killed."""
MAX_ROBOTS = 9
"""Discovery limited to one machine reaches 32 participants: three per robot, the central ones, and some tools."""
LOCAL_ONLY = {
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    # See `ros/node/dds.py`.
    "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4",
}
_RANGE, _LOCALHOST_ONLY = "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY"
_DDS_PORT = 7400
_PORTS_PER_DOMAIN = 250
_FIRST_PARTICIPANT = 10
_GUARD, _LIBRARIES = "_ROS_WHEELS_BOOTSTRAP_COMPLETE", "LD_LIBRARY_PATH"


def ros_unavailable_reason() -> str:
    """Why no ROS node can run in this Python, in a few words; empty when one can."""
    for module in ("rclpy", "floop_interfaces"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed"
    return ""


@contextlib.contextmanager
def reserved_domain() -> Iterator[int]:
    """A domain id nobody else holds or speaks in; raises `FloopError` when there is none."""
    count = LAST_DOMAIN - FIRST_DOMAIN + 1
    for i in range(count):
        number = FIRST_DOMAIN + (os.getpid() + i) % count
        with socket.socket() as lock:
            try:
                lock.bind(("127.0.0.1", LOCK_PORT + number))
            except OSError:
                continue
            if _is_in_use(number):
                continue
            yield number
            return
    raise FloopError(f"all ROS domains from {FIRST_DOMAIN} to {LAST_DOMAIN} are taken; stop other fleets here")


def local_environment(domain: int) -> dict[str, str]:
    """Environment variables that keep a fleet to this machine and to its domain."""
    return LOCAL_ONLY | {"ROS_DOMAIN_ID": str(domain)}


def local_only_environment() -> dict[str, str]:
    """Environment variables that keep a fleet to this machine, where the environment doesn't say how far it may go."""
    return {name: value for name, value in LOCAL_ONLY.items() if name not in os.environ}


def discovery_range(environment: Mapping[str, str]) -> str:
    """How far ROS looks for others: OFF, LOCALHOST, SUBNET or SYSTEM_DEFAULT, as rcl takes the environment.

    `ROS_LOCALHOST_ONLY=1` (Humble's, exactly "1") goes before the range; a word rcl does not know means LOCALHOST.
    """
    if environment.get(_LOCALHOST_ONLY) == "1":
        return "LOCALHOST"
    asked = environment.get(_RANGE) or "SUBNET"
    return asked if asked in ("OFF", "SUBNET", "SYSTEM_DEFAULT") else "LOCALHOST"


def check_robots(robots: int) -> None:
    """Raises `ConfigError` when discovery within one machine can't reach so many."""
    if robots > MAX_ROBOTS:
        raise ConfigError(
            f"{robots} robots are too many for one ROS domain on one machine ({MAX_ROBOTS} at most); "
            "start fewer, or the fleet without ROS (--no-ros)"
        )


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a child process: ROS wheels need both of their variables, or neither."""
    given = dict(environment)
    if _GUARD in given and _LIBRARIES not in given:
        del given[_GUARD]
    return given


def _is_in_use(domain: int) -> bool:
    # Somebody who does not know about the lock shows by the first participant's port.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("0.0.0.0", _DDS_PORT + domain * _PORTS_PER_DOMAIN + _FIRST_PARTICIPANT))
        except OSError:
            return True
    return False
