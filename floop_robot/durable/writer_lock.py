"""One writer: a lock that the operating system drops when its holder dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from floop_robot.spec.errors import FloopError, StorageError


class RegistryBusy(FloopError):
    """Another fleet manager writes this registry."""


class RegistryFenced(FloopError):
    """A later writer took the registry over."""


class WriterLock:
    """Exclusive hold of a registry, from construction to `release`."""

    def __init__(self, database: Path) -> None:
        """Take the lock; raises `RegistryBusy` at once when somebody has it."""
        path = database.with_name(database.name + ".lock")
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}; choose a writable run_dir") from None
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._handle, 200, 0).decode(errors="replace").strip()
            os.close(self._handle)
            raise RegistryBusy(
                f"registry {database} is in use by another fleet manager ({holder or 'unknown process'}); "
                "stop that one first, or choose another run_dir"
            ) from None
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"process {os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the next writer in; may be called again, when the number may be another file's."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)
