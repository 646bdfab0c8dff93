"""Domain ids for tests that run side by side."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

FIRST, LAST = 1, 101
"""Above 101 the ports of DDS run into those that Linux hands out itself."""
LOCK_PORT = 23900
"""A domain belongs to whoever is bound to this port plus its number; the kernel frees it when a test is killed."""


@contextlib.contextmanager
def reserved_domain() -> Iterator[int]:
    """A domain id nobody else holds."""
    count = LAST - FIRST + 1
    for i in range(count):
        number = FIRST + (os.getpid() + i) % count
        with socket.socket() as lock:
            try:
                lock.bind(("127.0.0.1", LOCK_PORT + number))
            except OSError:
                continue
            yield number
            return
    raise RuntimeError(f"all {count} ROS domains are taken; which tests still run?")
