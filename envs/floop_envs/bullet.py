"""PyBullet without its prints: they come from C code and would break `--json` output."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def silent(*descriptors: int) -> Iterator[None]:
    """Send file descriptors (1: stdout, 2: stderr) to /dev/null while the block runs."""
    sys.stdout.flush()
    saved = [(number, os.dup(number)) for number in descriptors]
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in descriptors:
            os.dup2(sink, number)
        yield
    finally:
        ctypes.CDLL(None).fflush(None)  # C's buffered output goes to /dev/null as well
        for number, copy in saved:
            os.dup2(copy, number)
            os.close(copy)
        os.close(sink)


with silent(1, 2):  # its build time is printed to stderr
    import pybullet as bullet
    import pybullet_data

__all__ = ["bullet", "pybullet_data", "silent"]
