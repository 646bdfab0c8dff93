"""RunLock: while a fleet runs, its run directory keeps its configuration."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from floop_robot.spec.errors import ConfigError, StorageError

_LOCK = "running.lock"
_FLOCK = "hhqqi0q"
"""`struct flock` of fcntl(2): type, whence, start, length (0: to the end), process (0 for these locks)."""
_WRITE_TIMEOUT_S = 1.0
"""Writing a configuration takes milliseconds; whoever takes longer is not waited for."""
_RETRY_S = 0.005


class RunLock:
    """Says that processes of this run directory are running, until `release` or the end of this process."""

    def __init__(self, run_dir: Path) -> None:
        """Others may hold it as well (a robot's part of the same fleet); raises `StorageError`."""
        self._handle = _open(run_dir)
        try:
            _fcntl_lock(self._handle, fcntl.F_OFD_SETLKW, fcntl.F_RDLCK)
        except StorageError:
            self.release()
            raise

    def release(self) -> None:
        """They have ended; may be called again."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def is_running(run_dir: Path) -> bool:
    """Whether somebody holds this run directory; changes nothing there, and keeps nobody waiting."""
    try:
        handle = os.open(run_dir / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _is_held(handle)
    except StorageError:
        return False
    finally:
        os.close(handle)


@contextmanager
def no_fleet_running(run_dir: Path) -> Iterator[None]:
    """Within it nobody starts on this run directory; raises `ConfigError` when somebody is running."""
    handle = _open(run_dir)
    try:
        deadline_s = time.monotonic() + _WRITE_TIMEOUT_S
        while not _try_lock(handle):
            if _is_held(handle):
                raise ConfigError(
                    f"{run_dir} belongs to a running fleet with another configuration; stop it, or choose another "
                    "run_dir"
                )
            if time.monotonic() > deadline_s:
                raise ConfigError(f"somebody else writes the configuration of {run_dir} just now; try again")
            time.sleep(_RETRY_S)
        yield
    finally:
        with contextlib.suppress(OSError):
            os.close(handle)


def _try_lock(handle: int) -> bool:
    """Whether nobody has the lock; then it is held until `handle` is closed."""
    try:
        _fcntl_lock(handle, fcntl.F_OFD_SETLK, fcntl.F_WRLCK)
    except BlockingIOError:
        return False
    return True


def _is_held(handle: int) -> bool:
    """Whether a `RunLock` has the lock; asking takes none, so that whoever asks is never taken for one."""
    return _fcntl_lock(handle, fcntl.F_OFD_GETLK, fcntl.F_WRLCK) == fcntl.F_RDLCK


def _fcntl_lock(handle: int, command: int, kind: int) -> int:
    """The kind of lock that the kernel answers with."""
    try:
        answer = fcntl.fcntl(handle, command, struct.pack(_FLOCK, kind, os.SEEK_SET, 0, 0, 0))
    except BlockingIOError:
        raise
    except OSError as error:
        raise StorageError(f"a run_dir's file cannot be locked: {error.strerror}; choose a run_dir on a disk") from None
    return int(struct.unpack(_FLOCK, answer)[0])


def _open(run_dir: Path) -> int:
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        return os.open(run_dir / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageError(f"cannot write {run_dir / _LOCK}: {error.strerror}; choose a writable run_dir") from None
