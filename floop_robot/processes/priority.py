"""Who goes first where processors are short: nice values that count between sessions.

Linux shares processors out between *sessions* first (autogroup, sched(7)); a nice value alone only counts within one.
Every process of a fleet is a session of its own, so that Ctrl-C reaches the supervisor only: without a word to the
group, learner and explorers at nice 10 would get as much as the gate.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Final

_TRIES: Final = 5
_AGAIN_S: Final = 0.1
"""The kernel takes one such order in 0.1 s from an ordinary user."""


def weigh_session(pid: int, nice: int) -> bool:
    """Give the session that `pid` leads a nice value; False where the system knows no such thing, or refuses."""
    if os.getsid(pid) != pid:
        return False  # somebody else's session, such as that of ros2 launch
    for _ in range(_TRIES):
        try:
            Path(f"/proc/{pid}/autogroup").write_text(str(nice), encoding="ascii")
        except BlockingIOError:
            time.sleep(_AGAIN_S)
        except OSError:
            return False
        else:
            return True
    return False


def prefer(nice: int) -> None:
    """Ask for a better place in the queue for the processor; without the right to it, go on as before."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    except PermissionError:
        logging.getLogger(__name__).info("no right to nice %d; timing relies on the others being niced", nice)
        return
    weigh_session(os.getpid(), nice)
