"""A secret in a file that only its owner can read: made once, at the first start of whoever needs it."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import stat
import tempfile
from pathlib import Path

from floop_robot.durable.files import sync_folder
from floop_robot.spec.errors import StorageError

log = logging.getLogger(__name__)

_BYTES = 32
MAX_LENGTH = 128
"""Of what a message may carry."""
_MOST_BYTES = 4096
"""Read of a file that may be any."""


def shared_secret(path: Path) -> str:
    """The secret in `path`, made (mode 0600) when there is none; the same for all who ask at the same time.

    Raises `StorageError` in one line.
    """
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _unusable(path, error) from None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # another process was first: its secret counts
                Path(path).hardlink_to(name)
        finally:
            Path(name).unlink()
        sync_folder(path.parent)
        return _read(path)
    except OSError as error:
        raise _unusable(path, error) from None


def _read(path: Path) -> str:
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        found = file.read(_MOST_BYTES).decode("ascii", errors="replace").strip()
    if not _BYTES <= len(found) <= MAX_LENGTH or not (found.isascii() and found.isprintable()):
        raise StorageError(
            f"{path} holds no secret ({_BYTES} to {MAX_LENGTH} letters and digits); copy it from the host "
            "that made it, or delete it to have one made"
        )
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        try:
            path.chmod(mode & stat.S_IRWXU)
        except OSError as error:
            log.warning("%s can be read by others (mode %o), and that can't be changed: %s", path, mode, error.strerror)
        else:
            log.warning("%s could be read by others (mode %o); now by this user alone", path, mode)
    return found


def _unusable(path: Path, error: OSError) -> StorageError:
    return StorageError(f"cannot use {path}: {error.strerror or error}; it must be readable by this user alone")
