"""PyBullet, imported and used without its prints: they come from C and would break `--json` output."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def silent(*descriptors: int) -> Iterator[None]:
    """Send file descriptors (1 is stdout) to /dev/null for a while."""
    sys.stdout.flush()
    saved = [(number, os.dup(number)) for number in descriptors]
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in descriptors:
            os.dup2(sink, number)
        yield
    finally:
        ctypes.CDLL(None).fflush(None)  # what C still holds in its buffer belongs to the sink, too
        for number, copy in saved:
            os.dup2(copy, number)
            os.close(copy)
        os.close(sink)


with silent(1, 2):  # its build time goes to stderr
    import pybullet as bullet
    import pybullet_data

__all__ = ["bullet", "pybullet_data", "silent"]
