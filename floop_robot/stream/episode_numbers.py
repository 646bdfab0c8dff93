"""Numbers of episodes: above all that the same sender used before, whatever its clock says."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from floop_robot.durable.number_file import NumberFile
from floop_robot.spec.errors import StorageError
from floop_robot.spec.wall_clock import is_plausible

log = logging.getLogger(__name__)

FILE: Final = "first_episode"
PER_START: Final = 10_000_000
"""No process runs so many episodes: at two seconds each they take eight months."""
_UNKNOWN_START: Final = 2**50
"""Above every number that a clock of this century gives."""


def first_episode(folder: Path, clock_ns: Callable[[], int] = time.time_ns) -> int:
    """The first number of a process: milliseconds since 1970, unless earlier processes may have used that.

    `folder` keeps it. A folder that can't be written only costs the protection against a clock that goes back.
    """
    file, now_ns = NumberFile(folder / FILE), clock_ns()
    number = now_ns // 1_000_000 if is_plausible(now_ns) else 0
    try:
        number = max(number, (file.load() or 0) + PER_START)
    except StorageError as error:
        log.error("%s; numbers of episodes go on far above it", error)
        number = max(number, _UNKNOWN_START)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.store(number)
    except OSError as error:
        log.warning("cannot write %s: %s; should the clock go back, numbers of episodes repeat", file.path, error)
    return number
