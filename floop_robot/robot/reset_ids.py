"""ResetIds: the releases that were asked for, by the id of their call, kept on disk over restarts of safety."""

from __future__ import annotations

import contextlib
import hashlib
import re
from pathlib import Path
from typing import Final

from floop_robot.durable.files import write_atomic
from floop_robot.spec.errors import StorageError

MOST: Final = 256
"""A call is repeated within seconds."""
_LINE: Final = re.compile("[0-9a-f]{64}")


class ResetIds:
    """The latest ids; one thread at a time."""

    def __init__(self, path: Path | None) -> None:
        """`path` None: in memory alone. A file that cannot be read is tried again with the first id."""
        self._path = path
        self._kept: list[str] | None = None
        """None: not read yet."""
        self._is_damaged = False
        with contextlib.suppress(StorageError):
            self._read()

    def __contains__(self, call_id: str) -> bool:
        """Whether it was added before; raises `StorageError` when that cannot be read."""
        return _digest(call_id) in self._read()

    def add(self, call_id: str) -> None:
        """Keep an id; raises `StorageError` when the disk does not take it.

        Also when those of before cannot be read, since this one may be among them. A damaged file is written anew, so
        that the next process can read it.
        """
        known = self._read()
        kept = [*known, _digest(call_id)][-MOST:]
        if self._path is not None:
            write_atomic(self._path, "".join(f"{each}\n" for each in kept).encode())
        self._kept = kept
        if self._is_damaged:
            raise StorageError(f"{self._path} was damaged when safety started")

    def _read(self) -> list[str]:
        if self._kept is None:
            try:
                found = self._path.read_bytes().decode(errors="replace").split() if self._path is not None else []
            except FileNotFoundError:
                found = []
            except OSError as error:
                raise StorageError(f"cannot read {self._path}: {error.strerror}") from None
            self._kept = list(filter(_LINE.fullmatch, found))
            self._is_damaged = self._kept != found
        return self._kept


def _digest(call_id: str) -> str:
    """Whoever calls may choose any text, of any length."""
    return hashlib.sha256(call_id.encode(errors="surrogatepass")).hexdigest()
