"""RunHold: while a fleet runs, its run directory keeps its configuration."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from floop_robot.spec.errors import ConfigError, StorageError

_LOCK = "running.lock"
_TURN_S = 1.0
"""A look takes microseconds, a configuration milliseconds; who else locks the folder for long is not waited for."""


class RunHold:
    """Says that processes of this run directory are running, until `release` or the end of this process."""

    def __init__(self, run_dir: Path) -> None:
        """Others may hold it as well (a robot's part of the same fleet); raises `StorageError`."""
        self._handle = _open(run_dir)
        fcntl.flock(self._handle, fcntl.LOCK_SH)

    def release(self) -> None:
        """They have ended; may be called again."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def is_running(run_dir: Path) -> bool:
    """Whether somebody holds this run directory; changes nothing there."""
    try:
        with _turn(run_dir):
            handle = os.open(run_dir / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return not _take(handle)
            finally:
                os.close(handle)
    except OSError:
        return False


@contextmanager
def nobody_running(run_dir: Path) -> Iterator[None]:
    """Within it nobody starts on this run directory; raises `ConfigError` when somebody is running."""
    handle = _open(run_dir)
    with _turn(run_dir):
        try:
            if not _take(handle):
                raise ConfigError(
                    f"{run_dir} belongs to a running fleet with another configuration; stop it, or choose another "
                    "run_dir"
                )
            yield
        finally:
            with contextlib.suppress(OSError):
                os.close(handle)


@contextmanager
def _turn(run_dir: Path) -> Iterator[None]:
    """Look one after the other: whoever looks holds the lock for a moment, and would be taken for a fleet."""
    folder = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline_s = time.monotonic() + _TURN_S
        while not _take(folder) and time.monotonic() < deadline_s:
            time.sleep(0.005)
        yield
    finally:
        os.close(folder)


def _take(handle: int) -> bool:
    """Whether nobody has the lock; then it is held until `handle` is closed."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(run_dir: Path) -> int:
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        return os.open(run_dir / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageError(f"cannot write {run_dir / _LOCK}: {error.strerror}; choose a writable run_dir") from None
