"""DDS without shared memory: a sender must not wait for its receivers.

On one host Fast DDS chooses shared memory. There a sender takes a lock in the memory of each receiver. A receiver that
waited for a processor while it held the lock has stopped the servo loop for 0.3 s; a frozen one would stop it for as
long as it is frozen. Each killed process also leaves half a megabyte behind. UDP has neither problem.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import sys
import time
from collections.abc import Iterator
from typing import Final

from floop_robot.services.supervision.ros_domain import discovery_range

_TRANSPORTS: Final = "FASTDDS_BUILTIN_TRANSPORTS"
SMALLEST_SEGMENT_BYTES: Final = 16_384
"""Far below a segment of Fast DDS (0.5 MB), far above what else is written while a node is made."""
_SHM_MESSAGES = re.compile(rb"RTPS_TRANSPORT_SHM|RTPS_MSG_OUT|Unable to Register SHM Transport")
_LAST_SHM_MESSAGE = b"Unable to Register SHM Transport"
LOG_DELAY_S: Final = 0.3
"""Longest time that the log thread of Fast DDS takes to write a message."""


def prefer_udp() -> None:
    """Ask for UDP alone, before ROS is initialised, unless the environment says otherwise."""
    os.environ.setdefault(_TRANSPORTS, "UDPv4")


@contextlib.contextmanager
def without_shared_memory() -> Iterator[None]:
    """Have a DDS participant that is made meanwhile use UDP alone, also in the discovery range LOCALHOST.

    In that range ROS (rmw_fastrtps) adds shared memory whatever the environment says. A process that may not write so
    large a file gets none: Fast DDS goes on with UDP. Its warnings about that are left out.
    """
    asked = discovery_range(os.environ), os.environ.get(_TRANSPORTS)
    if asked != ("LOCALHOST", "UDPv4") or sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with _without_shm_warnings():
        resource.setrlimit(resource.RLIMIT_FSIZE, (SMALLEST_SEGMENT_BYTES, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def _without_shm_warnings() -> Iterator[None]:
    """Send output to standard error meanwhile, without the lines about shared memory.

    Fast DDS of Jazzy writes its warnings to standard output.
    """
    streams = _standard_streams()
    if not streams:
        yield
        return
    reader, writer = os.pipe()
    for number in streams:
        os.dup2(writer, number)
    os.close(writer)
    try:
        yield
    finally:
        output = _read(reader)
        for number, before in streams.items():
            os.dup2(before, number)
            os.close(before)
        output += _read(reader, 0.0)
        os.close(reader)
        lines = [line for line in output.splitlines(keepends=True) if not _SHM_MESSAGES.search(line)]
        if lines and 2 in streams:
            with contextlib.suppress(OSError):  # nobody reads it any more
                os.write(2, b"".join(lines))


def _standard_streams() -> dict[int, int]:
    """Copies of standard output and error, flushed, by number; without closed ones, as some daemons leave them.

    Where Python began with a closed stream, its number may belong to any file by now.
    """
    streams = {}
    for number, first, now in ((1, sys.__stdout__, sys.stdout), (2, sys.__stderr__, sys.stderr)):
        if now is not None:
            with contextlib.suppress(OSError, ValueError):  # ValueError: closed
                now.flush()
        if first is not None and not first.closed:
            with contextlib.suppress(OSError):
                streams[number] = os.dup(number)
    return streams


def _read(reader: int, timeout_s: float = LOG_DELAY_S) -> bytes:
    output, deadline_s = b"", time.monotonic() + timeout_s
    while select.select([reader], [], [], max(0.0, deadline_s - time.monotonic()))[0]:
        found = os.read(reader, 65_536)
        output += found
        if not found or (_LAST_SHM_MESSAGE in output and output.endswith((b"\n", b"\x1b[m"))):
            break
    return output
