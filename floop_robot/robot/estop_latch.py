"""EstopLatch: the software e-stop, kept on disk.

It is no safety function in the sense of ISO 13849: the robot's own emergency stop is.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Final

from floop_robot.durable.files import replace_file
from floop_robot.robot.messages import EstopCommand

RETRY_S: Final = 0.2
"""Pause after a failed write."""
CLOSE_TIMEOUT_S: Final = 1.0
"""How long `EstopLatchWriter.close` waits for the disk."""
UNKNOWN_REASON: Final = "stopped before this process started"
"""Why the robot is stopped when the file does not say."""


class EstopLatch:
    """Set by any stop; cleared only by an explicit reset.

    With a `path` it outlives its process: a safety process that is killed and started again is still stopped.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.is_set = path is not None and path.exists()
        self.reason = self._read_reason() if self.is_set else ""
        self._saved: str | None = self._content
        """What the file holds; None: unknown, because a write failed half-way."""
        self.stops = 0
        """Stops received by this process, repeated ones included."""
        self.last_command: EstopCommand | None = None
        """The command that set or cleared the latch last; None: unchanged since this process started."""

    def _read_reason(self) -> str:
        try:
            text = self._path.read_text(encoding="utf-8").strip() if self._path else ""
        except (OSError, UnicodeDecodeError):
            text = ""  # that the file exists is enough to stop
        return text or UNKNOWN_REASON

    def apply(self, command: EstopCommand) -> bool:
        """Apply a stop or a reset. The reason of the first stop stays until the reset.

        Returns False for a reset that came too late: it changes nothing.
        """
        if command.stop:
            self.stops += 1
            if not self.is_set:
                # The reason comes first: another thread saves it as soon as the latch is set.
                self.reason = f"stopped by {command.who}{': ' + command.why if command.why else ''}"
                self.is_set, self.last_command = True, command
        elif command.after_stops in (None, self.stops) and time.monotonic() <= command.deadline_s:
            self.is_set, self.reason, self.last_command = False, "", command
        else:
            return False
        return True

    @property
    def is_saved(self) -> bool:
        """Whether the latch as it is now would outlive this process."""
        return self._path is None or self._saved == self._content

    @property
    def _content(self) -> str:
        """What the file should hold: the reason of the stop; empty for no file."""
        return (self.reason or UNKNOWN_REASON) if self.is_set else ""

    def save(self) -> None:
        """Write the latch to disk if it changed; raises OSError.

        Call from one thread; another may `apply` meanwhile. If a reset is not written, the arm is stopped again after a
        restart.
        """
        if self._path is None or self.is_saved:
            return
        content, self._saved = self._content, None
        if content:
            self._path.touch()  # first: a full disk has room for an empty file, and its existence stops the arm
            replace_file(self._path, f"{content}\n".encode())
        else:
            self._path.unlink(missing_ok=True)
        self._saved = content


class EstopLatchWriter:
    """Saves the latch in a thread of its own: the servo loop never waits for the disk."""

    def __init__(self, latch: EstopLatch) -> None:
        self._latch = latch
        self.error = ""
        """Why the latch, as it is now, is not on disk; empty when it is, or is being written."""
        self._due, self._is_closing = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="latch-writer", daemon=True)
        self._thread.start()

    def save_changes(self) -> None:
        """Have the latch written if it changed; never waits."""
        if not self._latch.is_saved:
            self._due.set()

    def close(self) -> None:
        """Write the last change, for at most `CLOSE_TIMEOUT_S`."""
        self._is_closing = True
        self._due.set()
        self._thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        while not (self._is_closing and self._latch.is_saved):
            self._due.wait()
            self._due.clear()
            try:
                while not self._latch.is_saved:  # it may change meanwhile
                    self._latch.save()
                self.error = ""
            except OSError as error:
                self.error = f"the e-stop latch cannot be written to disk: {error}"
                if self._is_closing:
                    return
                time.sleep(RETRY_S)
