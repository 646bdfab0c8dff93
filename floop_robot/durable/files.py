"""Files that are either the old or the new one, whenever the power goes."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from floop_robot.spec.errors import StorageError

TEMPORARY = ".new"
"""Suffix of the file that is written before it takes the place of the old one; a killed process may leave one."""


def previous_of(path: Path) -> Path:
    """Where `write_atomic` keeps the file before the last one."""
    return path.with_name(path.name + ".previous")


def write_atomic(path: Path, data: bytes, *, keep_previous: bool = False) -> None:
    """Replace `path` by `data` durably; raises `StorageError` in one line and leaves the old file when it can't.

    `keep_previous`: the old file stays beside it, for when the new one is found damaged.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if keep_previous:
            _keep(path)
        replace_file(path, data)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; free space or choose a writable folder") from None


def replace_file(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, whole or not at all; raises OSError."""
    replace_file_by(path, lambda file: file.write(data))


def replace_file_by(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace `path` by what `write` writes to a file, whole or not at all; raises OSError."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def _keep(path: Path) -> None:
    """Give the file a second name; without room for two files, the older one goes first."""
    previous = previous_of(path)
    previous.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # no file yet, or a file system without links: then there is no older one
        os.link(path, previous)


def read_regular(path: Path, most_bytes: int) -> bytes:
    """Read at most so many bytes; raises `StorageError` in one line, also for what is no regular file.

    A pipe would keep its reader waiting for as long as nobody writes.
    """
    try:
        # Without O_NONBLOCK opening a pipe waits as well.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file.read(most_bytes)
    except IsADirectoryError:
        raise StorageError(f"cannot read {path}: it is a folder; give a file in it") from None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}; check the path") from None
    raise StorageError(f"cannot read {path}: no regular file; check the path")


def sync_folder(folder: Path) -> None:
    """Make creations, renames and removals in `folder` survive a power cut; raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything, or raise OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
