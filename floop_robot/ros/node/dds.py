"""DDS without shared memory: whoever sends must not wait for whoever receives.

Over shared memory (Fast DDS's choice on one host) a sender takes a lock that lies in the memory of each receiver. A
receiver that waits for a processor while it holds it stopped the servo loop for 0.3 s, and one that is frozen or at a
breakpoint would stop it for as long; each process that is killed leaves half a megabyte behind. UDP has none of this.
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
"""Far below what Fast DDS asks for (0.5 MB), and far above what else is written while a node is made."""
_SHM_MESSAGES = re.compile(rb"RTPS_TRANSPORT_SHM|RTPS_MSG_OUT|Unable to Register SHM Transport")
_LAST_SHM_MESSAGE = b"Unable to Register SHM Transport"
LOG_DELAY_S: Final = 0.3
"""Longest time that Fast DDS, which has a thread for what it says, takes to say it."""


def prefer_udp() -> None:
    """Ask for UDP alone, before ROS is initialised, unless the environment says otherwise."""
    os.environ.setdefault(_TRANSPORTS, "UDPv4")


@contextlib.contextmanager
def without_shared_memory() -> Iterator[None]:
    """A DDS participant that is made meanwhile uses UDP alone in the range LOCALHOST, too.

    There ROS (rmw_fastrtps) adds shared memory whatever the environment says. A process that may not write so large a
    file gets none; Fast DDS then goes on with UDP, and what it says about it is left out.
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
    """What is said meanwhile goes to standard error (Jazzy's Fast DDS speaks on the other), but for shared memory."""
    kept = _standard_streams()
    if not kept:
        yield
        return
    reader, writer = os.pipe()
    for number in kept:
        os.dup2(writer, number)
    os.close(writer)
    try:
        yield
    finally:
        said = _read(reader)
        for number, before in kept.items():
            os.dup2(before, number)
            os.close(before)
        said += _read(reader, 0.0)
        os.close(reader)
        lines = [line for line in said.splitlines(keepends=True) if not _SHM_MESSAGES.search(line)]
        if lines and 2 in kept:
            with contextlib.suppress(OSError):  # nobody reads it any more
                os.write(2, b"".join(lines))


def _standard_streams() -> dict[int, int]:
    """Copies of standard output and error, flushed, by number; without those that are closed, as under some daemons.

    Where Python began with a closed one, its number may belong to any file by now.
    """
    kept = {}
    for number, first, now in ((1, sys.__stdout__, sys.stdout), (2, sys.__stderr__, sys.stderr)):
        if now is not None:
            with contextlib.suppress(OSError, ValueError):  # ValueError: closed
                now.flush()
        if first is not None and not first.closed:
            with contextlib.suppress(OSError):
                kept[number] = os.dup(number)
    return kept


def _read(reader: int, timeout_s: float = LOG_DELAY_S) -> bytes:
    said, deadline_s = b"", time.monotonic() + timeout_s
    while select.select([reader], [], [], max(0.0, deadline_s - time.monotonic()))[0]:
        found = os.read(reader, 65_536)
        said += found
        if not found or (_LAST_SHM_MESSAGE in said and said.endswith((b"\n", b"\x1b[m"))):
            break
    return said
