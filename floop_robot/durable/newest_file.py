"""The newest sound one of a file and the one kept before it (`write_atomic(…, keep_previous=True)`)."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from floop_robot.durable.files import previous_of
from floop_robot.spec.errors import FloopError

log = logging.getLogger(__name__)

T = TypeVar("T")


def load_newest(path: Path, load: Callable[[Path], T], damaged: type[FloopError]) -> T:
    """Load `path`; when that raises `damaged`, set it aside, say so, and load the file kept before it.

    Raises what `load` raises for `path` when that is no better.
    """
    try:
        return load(path)
    except damaged as error:
        previous = previous_of(path)
        if not previous.exists():
            raise
        try:
            found = load(previous)
        except FloopError:
            raise error from None
        aside = set_aside(path)
        log.error("%s. The one before it is used; the damaged one is %s", error, aside or path)
        with contextlib.suppress(OSError):
            previous.replace(path)
        return found


def set_aside(path: Path) -> Path | None:
    """Rename a damaged file to `PATH.damaged`, where a person may look at it; None when that fails."""
    target = path.with_name(path.name + ".damaged")
    try:
        path.replace(target)
    except OSError:
        return None
    return target
