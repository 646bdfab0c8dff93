"""RefusedPeers: what was refused because it came from the wrong peer, counted for `floop status`."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict

from floop_robot.spec.estop import printable

log = logging.getLogger(__name__)

MAX_NOTES = 16
"""Notes that are kept, the latest stay: names can be made up."""
SAID_EVERY_S = 1.0
"""The log has no more of them: it must not fill, either."""


class RefusedPeers:
    """Lines with a count each; the latest last."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._said_s = -SAID_EVERY_S

    def add(self, what: str) -> None:
        """One more of what `what` says, in one line; the log has the first, unless there are many."""
        what = printable(what)
        self._counts[what] = self._counts.pop(what, 0) + 1
        if self._counts[what] == 1 and time.monotonic() - self._said_s >= SAID_EVERY_S:
            self._said_s = time.monotonic()
            log.warning("fleet manager: %s", what)
        while len(self._counts) > MAX_NOTES:
            self._counts.popitem(last=False)

    def notes(self) -> tuple[str, ...]:
        """One line for each kind."""
        return tuple(f"{what} ({count} times)" if count > 1 else what for what, count in self._counts.items())
