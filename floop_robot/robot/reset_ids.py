"""ResetIds: the ids of e-stop resets already requested, kept on disk over restarts of safety."""

from __future__ import annotations

import contextlib
import hashlib
import re
from pathlib import Path
from typing import Final

from floop_robot.durable.files import write_atomic
from floop_robot.spec.errors import StorageError

MAX_IDS: Final = 256
"""Enough by far: a call is repeated within seconds."""
_LINE: Final = re.compile("[0-9a-f]{64}")


class ResetIds:
    """The latest call ids, hashed; use from one thread at a time."""

    def __init__(self, path: Path | None) -> None:
        """`path` None: in memory only. A file that cannot be read is tried again at the first use."""
        self._path = path
        self._ids: list[str] | None = None
        """None: not read yet."""
        self._is_damaged = False
        with contextlib.suppress(StorageError):
            self._read()

    def __contains__(self, call_id: str) -> bool:
        """Whether the id was added before; raises `StorageError` when the file cannot be read."""
        return _digest(call_id) in self._read()

    def add(self, call_id: str) -> None:
        """Add an id; raises `StorageError` when it cannot be written.

        It also raises when the earlier ids cannot be read, because this one may be among them. A damaged file is
        replaced, so that the next process can read it.
        """
        ids = [*self._read(), _digest(call_id)][-MAX_IDS:]
        if self._path is not None:
            write_atomic(self._path, "".join(f"{each}\n" for each in ids).encode())
        self._ids = ids
        if self._is_damaged:
            raise StorageError(f"{self._path} was damaged when safety started")

    def _read(self) -> list[str]:
        if self._ids is None:
            try:
                lines = self._path.read_bytes().decode(errors="replace").split() if self._path is not None else []
            except FileNotFoundError:
                lines = []
            except OSError as error:
                raise StorageError(f"cannot read {self._path}: {error.strerror}") from None
            self._ids = list(filter(_LINE.fullmatch, lines))
            self._is_damaged = self._ids != lines
        return self._ids


def _digest(call_id: str) -> str:
    """A fixed-length form of any text that a caller may choose."""
    return hashlib.sha256(call_id.encode(errors="surrogatepass")).hexdigest()
