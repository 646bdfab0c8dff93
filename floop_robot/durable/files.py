"""Files that are either the old or the new one, whenever the power goes."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from floop_robot.durable.folders import sync_folder
from floop_robot.spec.errors import StorageError


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data` durably; raises `StorageError` in one line and leaves the old file when it can't."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; free space or choose a writable folder") from None


def read_regular(path: Path, most_bytes: int) -> bytes:
    """Read at most so many bytes; raises `StorageError` in one line, also for what is no regular file.

    A pipe would keep its reader waiting for as long as nobody writes.
    """
    try:
        # Without O_NONBLOCK opening a pipe waits as well.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file.read(most_bytes)
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}; check the path") from None
    raise StorageError(f"cannot read {path}: no regular file; check the path")
