"""OwnedThread: a long-running thread that an unexpected error does not end for good.

Loops whose state a fresh start could not trust (control and servo loops) are no such threads: they end their process,
and the supervisor starts that again (`robot/rate_loop.py`).
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

FIRST_BACKOFF_S: Final = 0.1
LONGEST_BACKOFF_S: Final = 5.0
HEALTHY_AFTER_S: Final = 10.0
"""Work that lasted this long begins again without back-off."""
REPEAT_S: Final = 60.0
"""An error that stays the same is logged this often."""


class OwnedThread(threading.Thread):
    """Runs `work` until it returns. When it raises, one line says so, and after a pause `work` is called again.

    `work` must take up its work from the state of its owner. The owner sets `stop`, and joins.
    """

    def __init__(self, work: Callable[[], None], name: str, stop: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self._work, self._ended = work, stop
        self._begun_s = 0.0
        self._last, self._logged_s = "", 0.0
        self.restarts = 0
        """How often it ended unexpectedly."""

    @property
    def fault(self) -> str:
        """Why it ended last; empty when it has worked for a while since."""
        return self._last if time.monotonic() - self._begun_s < HEALTHY_AFTER_S else ""

    def run(self) -> None:
        """As `threading.Thread`."""
        backoff_s = FIRST_BACKOFF_S
        while True:
            self._begun_s = time.monotonic()
            try:
                self._work()
                return
            except BaseException as error:  # whatever it is: the owner counts on this thread
                if self._ended.is_set():
                    log.debug("%s ended: %s", self.name, error, exc_info=True)
                    return
                if time.monotonic() - self._begun_s > HEALTHY_AFTER_S:
                    backoff_s = FIRST_BACKOFF_S
                self._report(error, backoff_s)
            if self._ended.wait(backoff_s):
                return
            backoff_s = min(LONGEST_BACKOFF_S, 2 * backoff_s)

    def _report(self, error: BaseException, backoff_s: float) -> None:
        self.restarts += 1
        text, now_s = describe(error), time.monotonic()
        if text != self._last or now_s - self._logged_s >= REPEAT_S:
            self._logged_s = now_s
            count = f", for the {self.restarts}. time" if self.restarts > 1 else ""
            log.error("%s ended unexpectedly: %s; starting it again%s", self.name, text, count)
            log.debug("%s", self.name, exc_info=error)
        self._last = text
        self._begun_s = now_s + backoff_s


def describe(error: BaseException) -> str:
    """What was raised and where, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no text'}{where}"


def thread_restarts() -> dict[str, int]:
    """Threads of this process that ended unexpectedly and were started again, and how often."""
    found: dict[str, int] = {}
    for thread in threading.enumerate():
        if isinstance(thread, OwnedThread) and thread.restarts:
            found[thread.name] = found.get(thread.name, 0) + thread.restarts
    return found
