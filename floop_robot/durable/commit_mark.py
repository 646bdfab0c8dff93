"""CommitMark: how far a database's commits went, told beside it: SQLite says no word of what its log has lost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from floop_robot.durable.framing import deframe, frame

_BYTES: Final = 8


class CommitMark:
    """One rising number in a small file. It is written after each commit and not synced: it is never ahead of them."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def load(self) -> int:
        """The number; 0 when none was written, or it is damaged."""
        body = deframe(os.pread(self._file, 64, 0))
        return int.from_bytes(body, "little") if body is not None and len(body) == _BYTES else 0

    def store(self, number: int) -> None:
        """Write; raises OSError."""
        os.pwrite(self._file, frame(number.to_bytes(_BYTES, "little")), 0)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
