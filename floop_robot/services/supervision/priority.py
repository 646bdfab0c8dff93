"""Who goes first where processors are short: nice values that count between sessions.

Linux shares processors out between *sessions* first (autogroup, sched(7)); a nice value alone only counts within one.
Every process of a fleet is a session of its own, so that Ctrl-C reaches the supervisor only: without a word to the
group, a learner or explorer would get as much as the gate, whatever `LearnerConfig.nice` says.
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
"""The kernel takes one such order in 0.1 s from ordinary users, all of them together."""

log = logging.getLogger(__name__)


class NiceResult(enum.Enum):
    """What came of giving a session its nice value."""

    APPLIED = enum.auto()
    NOT_NEEDED = enum.auto()
    """Nice values count between processes here: the kernel knows no autogroups, or the session is somebody else's,
    such as that of ros2 launch, with all others in it; or the process has ended."""
    RETRY = enum.auto()
    """The kernel takes no such order just now."""
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
    """Whether the session of `pid` has a nice value already, such as one that it gave itself."""
    try:
        return int(Path(f"/proc/{pid}/autogroup").read_text(encoding="ascii").split()[-1]) != 0
    except (OSError, ValueError, IndexError):
        return False


def raise_priority(nice: int) -> None:
    """Ask for a better place in the queue for the processor; without the right to it, go on as before.

    Waits 0.5 s at most, before any work.
    """
    try:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    except PermissionError:
        log.info("no right to nice %d; timing relies on the others being niced", nice)
        return
    for _ in range(_ATTEMPTS):
        result = set_session_nice(os.getpid(), nice)
        if result is not NiceResult.RETRY:
            break
        time.sleep(_RETRY_S)
    if result not in (NiceResult.APPLIED, NiceResult.NOT_NEEDED):
        log.warning("Linux does not give this session nice %d; timing relies on the others being niced", nice)
