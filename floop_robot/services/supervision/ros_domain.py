"""Whether ROS is installed, and a ROS domain for each fleet on this machine. Imports no ROS."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
from collections.abc import Iterator, Mapping

from floop_robot.spec.errors import ConfigError, FloopError

FIRST_DOMAIN, LAST_DOMAIN = 1, 101
"""Above 101 the ports of DDS overlap with those that Linux assigns by itself."""
LOCK_PORT = 23_900
"""Who binds this port plus a domain's number owns the domain. The kernel frees it when the owner is killed."""
MAX_ROBOTS = 9
"""Discovery within one machine finds 32 participants: three per robot, the central ones, and some tools."""
LOCAL_ONLY = {
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    # See `ros/node/dds.py`.
    "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4",
}
_RANGE, _LOCALHOST_ONLY = "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY"
_DDS_PORT = 7400
_PORTS_PER_DOMAIN = 250
_FIRST_PARTICIPANT = 10
_PARTICIPANTS = 32
_GUARD, _LIBRARIES = "_ROS_WHEELS_BOOTSTRAP_COMPLETE", "LD_LIBRARY_PATH"


def ros_unavailable_reason() -> str:
    """Say in a few words why no ROS node can run in this Python; empty when one can."""
    for module in ("rclpy", "floop_interfaces"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed"
    return ""


@contextlib.contextmanager
def reserved_domain() -> Iterator[int]:
    """Reserve a domain id that nobody else on this machine uses; raises `FloopError` when there is none."""
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
    raise FloopError(
        f"all ROS domains from {FIRST_DOMAIN} to {LAST_DOMAIN} are taken; stop other fleets on this machine"
    )


def local_environment(domain: int) -> dict[str, str]:
    """Environment variables that keep a fleet on this machine and in its domain."""
    return LOCAL_ONLY | {"ROS_DOMAIN_ID": str(domain)}


def local_only_environment() -> dict[str, str]:
    """Environment variables that keep a fleet on this machine; those that the user has set are left out."""
    return {name: value for name, value in LOCAL_ONLY.items() if name not in os.environ}


def discovery_range(environment: Mapping[str, str]) -> str:
    """How far ROS discovery goes: OFF, LOCALHOST, SUBNET or SYSTEM_DEFAULT, as rcl reads the environment.

    `ROS_LOCALHOST_ONLY=1` (Humble's, exactly "1") wins over the range. rcl takes an unknown word as LOCALHOST.
    """
    if environment.get(_LOCALHOST_ONLY) == "1":
        return "LOCALHOST"
    chosen = environment.get(_RANGE) or "SUBNET"
    return chosen if chosen in ("OFF", "SUBNET", "SYSTEM_DEFAULT") else "LOCALHOST"


def reach_in_words(environment: Mapping[str, str]) -> str:
    """The ROS domain, and how far discovery goes in it."""
    words = {"LOCALHOST": "this machine only", "SUBNET": "the whole subnet", "OFF": "no discovery"}
    reach = discovery_range(environment)
    return f"domain {environment.get('ROS_DOMAIN_ID') or '0'}, {words.get(reach, reach)}"


def check_robots(robots: int) -> None:
    """Raise `ConfigError` when discovery within one machine cannot find so many."""
    if robots > MAX_ROBOTS:
        raise ConfigError(
            f"{robots} robots are too many for one ROS domain on one machine ({MAX_ROBOTS} at most); "
            "start fewer, or the fleet without ROS (--no-ros)"
        )


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Environment for a child process: ROS wheels need both of their variables, or neither."""
    child = dict(environment)
    if _GUARD in child and _LIBRARIES not in child:
        del child[_GUARD]
    return child


def _is_in_use(domain: int) -> bool:
    """Whether somebody is in the domain without our lock, e.g. a node that outlived its fleet."""
    first = _DDS_PORT + domain * _PORTS_PER_DOMAIN + _FIRST_PARTICIPANT
    return any(_is_bound(first + 2 * participant) for participant in range(_PARTICIPANTS))


def _is_bound(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return True
    return False
