"""Free ports for a fleet that lives for one experiment. Other fleets have theirs in their configuration."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import time
from collections.abc import Iterator
from typing import Final

from floop_robot.spec.config import ENDPOINT_NAMES
from floop_robot.spec.errors import FloopError

FIRST_PORT: Final = 17_600
LAST_PORT: Final = 23_850
"""Below the ports that belong to ROS domains (`ros_domain`) and those that Linux hands out itself."""
PORT_SPACING: Final = 50
_LOCK: Final = PORT_SPACING - 1
"""Who binds the port this far above a base port owns the base port. The kernel frees it when the owner is killed."""
_RETRY_S: Final = 0.1


@contextlib.contextmanager
def reserved_base_port() -> Iterator[int]:
    """Reserve a base port whose ports are all free; raises `FloopError` when there is none."""
    for base in range(FIRST_PORT, LAST_PORT, PORT_SPACING):
        with socket.socket() as lock:
            try:
                lock.bind(("127.0.0.1", base + _LOCK))
            except OSError:
                continue
            if not any(is_in_use(f"tcp://127.0.0.1:{base + offset}") for offset in range(len(ENDPOINT_NAMES))):
                yield base
                return
    raise FloopError(
        f"found no {len(ENDPOINT_NAMES)} free ports in a row between {FIRST_PORT} and {LAST_PORT}; "
        "stop other fleets on this machine"
    )


def wait_until_free(endpoint: str, timeout_s: float, stop: threading.Event) -> bool:
    """Wait until nobody listens at a TCP endpoint, or until `stop`; False: somebody still does after `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    while is_in_use(endpoint):
        if time.monotonic() > deadline_s:
            return False
        if stop.wait(_RETRY_S):
            break
    return True


def is_in_use(endpoint: str) -> bool:
    """Whether somebody on this machine listens at a TCP endpoint, so that no process could; False for other hosts'."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as ZeroMQ does
        host, port = endpoint.removeprefix("tcp://").rsplit(":", 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
        return False
