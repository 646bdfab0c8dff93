"""Says that libraries are being loaded where nothing else is said: a busy machine takes half a minute for them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SILENT_S = 5.0
"""A load that takes longer is told."""


@contextmanager
def loading(command: str) -> Iterator[None]:
    """Import what `command` needs within it."""
    text = f"floop {command}: still loading its libraries; on a busy machine that takes a while"
    notice = threading.Timer(SILENT_S, lambda: print(text, file=sys.stderr, flush=True))
    notice.daemon = True
    notice.start()
    try:
        yield
    finally:
        notice.cancel()
