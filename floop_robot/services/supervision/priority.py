"""Nice values that work between sessions, so that important processes go first where processors are short.

Linux first divides processor time between *sessions* (autogroup, sched(7)). A nice value only works within one.
Each process of a fleet is a session of its own, so that Ctrl-C reaches the supervisor only.
So the session itself needs the nice value, or a learner gets as much time as the gate.
"""

from __future__ import annotations

import enum
import logging
import os
import time
from pathlib import Path
from typing import Final

_ATTEMPTS: Final = 5
_RETRY_S: Final = 0.1
"""The kernel accepts one such change every 0.1 s from all ordinary users together."""

log = logging.getLogger(__name__)


class NiceResult(enum.Enum):
    """Result of giving a session its nice value."""

    APPLIED = enum.auto()
    NOT_NEEDED = enum.auto()
    """The kernel has no autogroups, the process does not lead a session (as under ros2 launch), or it has ended."""
    RETRY = enum.auto()
    """The kernel accepts no change at the moment."""
    REFUSED = enum.auto()


def set_session_nice(pid: int, nice: int) -> NiceResult:
    """Give the session that `pid` leads a nice value; never waits."""
    try:
        if os.getsid(pid) != pid:
            return NiceResult.NOT_NEEDED
        Path(f"/proc/{pid}/autogroup").write_text(str(nice), encoding="ascii")
    except BlockingIOError:
        return NiceResult.RETRY
    except (FileNotFoundError, ProcessLookupError):
        return NiceResult.NOT_NEEDED
    except OSError:
        return NiceResult.REFUSED
    return NiceResult.APPLIED


def has_session_nice(pid: int) -> bool:
    """Whether the session of `pid` already has a nice value, such as one that it set itself."""
    try:
        return int(Path(f"/proc/{pid}/autogroup").read_text(encoding="ascii").split()[-1]) != 0
    except (OSError, ValueError, IndexError):
        return False


def raise_priority(nice: int) -> None:
    """Give this process and its session the nice value; without the right to do so, log it and go on.

    Waits 0.5 s at most.
    """
    try:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    except PermissionError:
        log.info("no permission for nice %d: this process goes first only where the others have a higher value", nice)
        return
    for _ in range(_ATTEMPTS):
        result = set_session_nice(os.getpid(), nice)
        if result is not NiceResult.RETRY:
            break
        time.sleep(_RETRY_S)
    if result not in (NiceResult.APPLIED, NiceResult.NOT_NEEDED):
        log.warning("Linux does not accept nice %d for this session; its timing may suffer on a busy machine", nice)
