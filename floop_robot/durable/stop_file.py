"""StopFile: what says that a robot must stand, in memory at once and on disk soon after. Nobody waits for the disk."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import msgspec

from floop_robot.durable.files import read_regular, replace_file, sync_folder
from floop_robot.durable.owned_thread import OwnedThread
from floop_robot.spec.errors import FloopError

T = TypeVar("T")
RETRY_S: Final = 0.2
"""How soon a write that failed is tried again."""
CLOSE_TIMEOUT_S: Final = 1.0
"""How long `StopFileWriter.close` waits for the disk."""
MAX_FILE_BYTES: Final = 1 << 20


class StopFile(Generic[T]):
    """Set `value` in one thread, and `save` it in another. Values are told apart by identity."""

    def __init__(
        self, path: Path | None, value: T, encode: Callable[[T], bytes], is_stop: Callable[[T], bool] = bool
    ) -> None:
        """`value`: what no file means; None is no file. Without a `path` all is kept in memory alone."""
        self.path, self.value = path, value
        self._saved: object = value
        self._encode, self._is_stop = encode, is_stop

    def load(self, decode: Callable[[bytes], T]) -> str:
        """Take what the file holds, if there is one; returns in one line why it cannot be read. That means stopped."""
        try:
            if self.path is not None and self.path.lstat():  # a link to nothing is something
                self.value = self._saved = decode(read_regular(self.path, MAX_FILE_BYTES))
        except FileNotFoundError:
            pass
        except (FloopError, OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._saved = object()
            return str(error)
        return ""

    @property
    def is_saved(self) -> bool:
        """Whether the value as it is now would outlive this process."""
        return self.path is None or self._saved is self.value

    def save(self) -> None:
        """Write the value if it changed, from one thread; raises OSError."""
        value, path = self.value, self.path
        if path is None or self._saved is value:
            return
        self._saved = object()  # until it is known
        path.parent.mkdir(parents=True, exist_ok=True)
        if value is None:
            path.unlink(missing_ok=True)
            sync_folder(path.parent)
        else:
            if self._is_stop(value):
                with contextlib.suppress(OSError):  # a full disk has room for an empty file, which stops the robot
                    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, 0o644))
            replace_file(path, self._encode(value))
        self._saved = value


class StopFileWriter(OwnedThread):
    """Saves files: nobody else waits for a disk, which may hang."""

    def __init__(self, files: Mapping[str, StopFile[Any]]) -> None:
        """Files by what they are called in `error`."""
        self._closed = threading.Event()
        super().__init__(self._write_changes, "stop-writer", self._closed)
        self._files = files
        self._problem = ""
        self._due = threading.Event()

    @property
    def error(self) -> str:
        """Why a file does not say what it should; empty when all do, or are being written."""
        return self._problem or self.fault

    def save_changes(self) -> None:
        """Have all written that changed; never waits."""
        if not all(file.is_saved for file in self._files.values()):
            self._due.set()

    def save(self) -> None:
        """Write all that changed, in this thread."""
        errors = []
        for name, file in self._files.items():
            try:
                file.save()
            except OSError as error:
                errors.append(f"{name} cannot be written to disk: {error.strerror or error}; make room there")
        self._problem = "; ".join(errors)

    def _write_changes(self) -> None:
        is_last = False
        while not is_last:
            self._due.wait(RETRY_S)
            self._due.clear()
            is_last = self._closed.is_set()
            self.save()
            if self._problem and not is_last:
                time.sleep(RETRY_S)  # a servo loop asks in every tick

    def close(self) -> None:
        """Write the last changes, for at most `CLOSE_TIMEOUT_S`."""
        self._closed.set()
        self._due.set()
        self.join(CLOSE_TIMEOUT_S)
