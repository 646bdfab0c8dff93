"""Logs are bounded: one that is too large goes on empty, and what it held stays beside it as `NAME.log.1`.

Processes append to a file that they hold open, so it is copied and cut, not renamed. A line that comes between copy and
cut, some microseconds, is lost. A pipe through the supervisor would lose none, but a robot would wait for it.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

log = logging.getLogger(__name__)

PREVIOUS = ".log.1"


def rotate_log(path: Path, max_bytes: float) -> bool:
    """Move what the log holds beside it when that is more than half of `max_bytes`; returns whether it was."""
    try:
        size = path.stat().st_size
    except OSError:
        return False
    if size <= max_bytes / 2:
        return False
    previous = path.with_suffix(PREVIOUS)
    temporary = previous.with_name(previous.name + ".new")
    try:
        with path.open("rb") as source, temporary.open("wb") as target:
            shutil.copyfileobj(source, target, 2**20)
            os.truncate(path, 0)
        temporary.replace(previous)
    except OSError as error:  # a full disk: the bound holds, the lines are gone
        log.warning("%s: %s; %d bytes of it are lost", path, error.strerror, size)
        temporary.unlink(missing_ok=True)
        os.truncate(path, 0)
    return True
