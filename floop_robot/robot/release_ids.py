"""ReleaseIds: the releases that were asked for, by the id of their call, kept on disk over restarts of safety."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final

from floop_robot.bundle.files import write_atomic
from floop_robot.spec.errors import StorageError

MOST: Final = 256
"""A call is repeated within seconds."""
_LINE: Final = re.compile("[0-9a-f]{64}")


class ReleaseIds:
    """The latest ids; one thread at a time."""

    def __init__(self, path: Path | None) -> None:
        """`path` None: in memory alone."""
        self._path = path
        self._kept: list[str] = []
        self._is_lost = False
        if path is not None:
            try:
                found = path.read_text(encoding="utf-8").split()
                self._kept = list(filter(_LINE.fullmatch, found))
                self._is_lost = self._kept != found
            except FileNotFoundError:
                pass
            except (OSError, UnicodeDecodeError):
                self._is_lost = True

    def __contains__(self, call_id: str) -> bool:
        """Whether it was added before."""
        return _digest(call_id) in self._kept

    def add(self, call_id: str) -> None:
        """Keep an id; raises `StorageError` when the disk does not take it.

        Also when those of before cannot be read: this one may be among them. The file is written anew, so that it can
        be read after the next start.
        """
        kept = [*self._kept, _digest(call_id)][-MOST:]
        if self._path is not None:
            write_atomic(self._path, "".join(f"{each}\n" for each in kept).encode())
        self._kept = kept
        if self._is_lost:
            raise StorageError(f"{self._path} could not be read when safety started")


def _digest(call_id: str) -> str:
    """Whoever calls may choose any text, of any length."""
    return hashlib.sha256(call_id.encode(errors="surrogatepass")).hexdigest()
