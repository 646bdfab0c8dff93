"""EstopLatch: the software stop, kept on disk.

It is no safety function in the sense of ISO 13849: the robot's own emergency stop is.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Final

from floop_robot.durable.files import replace_file
from floop_robot.robot.messages import EstopCommand

AGAIN_S: Final = 0.2
"""A disk that refuses is asked again after so long."""
END_S: Final = 1.0
BEFORE: Final = "stopped before this process started"
"""Why it is stopped when the file does not say."""


class EstopLatch:
    """The software stop: any stop order latches it, only an explicit release opens it.

    With a `path` it outlives its process: a safety process that is killed and started again is still stopped.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.is_set = path is not None and path.exists()
        self.reason = self._kept_reason() if self.is_set else ""
        self._kept: str | None = self._wanted
        """What the file says; None: nobody knows, since writing it failed half-way."""
        self.stops = 0
        """Stops that were ordered from this process, also while it was stopped."""
        self.by: EstopCommand | None = None
        """The order that latched or opened it last; None: it is as this process found it."""

    def _kept_reason(self) -> str:
        try:
            kept = self._path.read_text(encoding="utf-8").strip() if self._path else ""
        except (OSError, UnicodeDecodeError):
            kept = ""  # its being there is what counts
        return kept or BEFORE

    def take(self, order: EstopCommand) -> bool:
        """Obey a stop or a release. The first stop's reason is kept until the release.

        False: it is a release that came too late, and has no effect. Whoever asked for it was told so.
        """
        if order.stop:
            self.stops += 1
            if not self.is_set:
                # The reason first: another thread writes it down once the latch is set.
                self.reason = f"stopped by {order.who}{': ' + order.why if order.why else ''}"
                self.is_set, self.by = True, order
        elif order.after in (None, self.stops) and time.monotonic() <= order.until_s:
            self.is_set, self.reason, self.by = False, "", order
        else:
            return False
        return True

    @property
    def is_kept(self) -> bool:
        """Whether the latch as it is now would outlive this process."""
        return self._path is None or self._kept == self._wanted

    @property
    def _wanted(self) -> str:
        """What the file should say: why it is stopped; empty: no file."""
        return (self.reason or BEFORE) if self.is_set else ""

    def keep(self) -> None:
        """Write the latch down if it changed; from one thread, while another may `take`. Raises OSError.

        A release is forgotten at worst, which leaves the arm stopped.
        """
        if self._path is None or self.is_kept:
            return
        wanted, self._kept = self._wanted, None
        if wanted:
            self._path.touch()  # first, since a full disk has room for an empty file, and its being there stops the arm
            replace_file(self._path, f"{wanted}\n".encode())
        else:
            self._path.unlink(missing_ok=True)
        self._kept = wanted


class EstopLatchWriter:
    """Has the latch written down beside the servo loop: a disk takes its time, and the arm waits for nobody."""

    def __init__(self, latch: EstopLatch) -> None:
        self._latch = latch
        self.trouble = ""
        """Why the latch, as it is now, is not on disk; empty when it is, or is on its way."""
        self._due, self._is_over = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="latch-keeper", daemon=True)
        self._thread.start()

    def look(self) -> None:
        """Write down what changed, if anything did; never waits."""
        if not self._latch.is_kept:
            self._due.set()

    def close(self) -> None:
        """What changed last gets 1 s to be written down."""
        self._is_over = True
        self._due.set()
        self._thread.join(END_S)

    def _run(self) -> None:
        while not (self._is_over and self._latch.is_kept):
            self._due.wait()
            self._due.clear()
            try:
                while not self._latch.is_kept:  # it may change meanwhile
                    self._latch.keep()
                self.trouble = ""
            except OSError as error:
                self.trouble = f"the stop latch cannot be written down: {error}"
                if self._is_over:
                    return
                time.sleep(AGAIN_S)
