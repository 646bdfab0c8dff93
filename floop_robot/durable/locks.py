"""Locks between processes: who has this file, folder or run directory. The kernel drops them when a process dies.

`filelock` was tried. Its read lock is an SQLite file, it cannot tell who holds a lock without taking it, it falls back
to a file that outlives its process, and importing it costs a robot 0.1 s. `fcntl` does all of it in a few lines.
"""

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

_RUN_LOCK = "running.lock"
_FLOCK = "hhqqi0q"
"""`struct flock` of fcntl(2): type, whence, start, length (0: to the end), process (0 for these locks)."""
_WRITE_TIMEOUT_S = 1.0
"""Writing a configuration takes milliseconds, so a longer holder is not waited for."""
_RETRY_S = 0.005


class LockHeld(StorageError):
    """Another process has the lock."""

    def __init__(self, what: str, holder: str, cure: str) -> None:
        super().__init__(f"{what} is in use by another process ({holder}); {cure}")
        self.holder = holder
        """As in `process 4711`."""


class ExclusiveLock:
    """One process at a time has this lock, from construction to `release` or to the end of the process."""

    def __init__(self, path: Path, what: str, cure: str) -> None:
        """Lock the file at `path`, which is made if needed; never waits.

        `what` names the locked thing in messages, `cure` says what to do when it is in use. Raises `LockHeld` then,
        and `StorageError` where no lock can be made.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"cannot use {what}: {path}: {error.strerror}; choose a writable folder") from None
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Only for messages: the lock is the kernel's, whatever stands in the file.
            with contextlib.suppress(OSError):  # a full disk
                os.ftruncate(self._handle, 0)
                os.pwrite(self._handle, f"process {os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            holder = os.pread(self._handle, 200, 0).decode(errors="replace").strip()
            self.release()
            raise LockHeld(what, holder or "unknown", cure) from None
        except OSError as error:
            self.release()
            raise StorageError(f"cannot lock {path}: {error.strerror}; choose a folder on a local disk") from None

    def release(self) -> None:
        """Let the next one in; may be called again."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)


def is_locked(path: Path) -> bool:
    """Whether an `ExclusiveLock` has this file; makes no file and never waits."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False


class RunLock:
    """Says that processes of this run directory are running, until `release` or the end of this process.

    Several may hold it, for instance one robot's part of a fleet beside the rest.
    """

    def __init__(self, run_dir: Path) -> None:
        """Take it; raises `StorageError`."""
        self._handle = _open(run_dir)
        try:
            _fcntl_lock(self._handle, fcntl.F_OFD_SETLKW, fcntl.F_RDLCK)
        except StorageError:
            self.release()
            raise

    def release(self) -> None:
        """They have ended; may be called again."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)


def is_running(run_dir: Path) -> bool:
    """Whether somebody holds this run directory; changes nothing there and never waits."""
    try:
        handle = os.open(run_dir / _RUN_LOCK, os.O_RDONLY | os.O_CLOEXEC)
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
    """Whether a `RunLock` has the lock; asking takes none, so nobody else sees the asker as a holder."""
    return _fcntl_lock(handle, fcntl.F_OFD_GETLK, fcntl.F_WRLCK) == fcntl.F_RDLCK


def _fcntl_lock(handle: int, command: int, kind: int) -> int:
    """Run a lock command; returns the kind of lock in the kernel's answer."""
    try:
        answer = fcntl.fcntl(handle, command, struct.pack(_FLOCK, kind, os.SEEK_SET, 0, 0, 0))
    except BlockingIOError:
        raise
    except OSError as error:
        raise StorageError(f"a run_dir's file cannot be locked: {error.strerror}; choose a run_dir on a disk") from None
    return int(struct.unpack(_FLOCK, answer)[0])


def _open(run_dir: Path) -> int:
    path = run_dir / _RUN_LOCK
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; choose a writable run_dir") from None
