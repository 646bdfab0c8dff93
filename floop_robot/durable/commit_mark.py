"""CommitMark: how far a database's commits went, told beside it: SQLite says no word of what its log has lost."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

import msgspec

from floop_robot.durable.framing import deframe, frame, pack

_MAX_BYTES: Final = 256


class LastCommit(msgspec.Struct, frozen=True):
    """Which database, and how far its commits went."""

    database: str = ""
    number: int = 0


class CommitMark:
    """A rising number in a small file. It is written after each commit and not synced: it is never ahead of them."""

    def __init__(self, path: Path, database: str) -> None:
        """`database`: identity of the one that the mark is about. Raises OSError."""
        self._file, self._database = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), database

    def load(self) -> LastCommit:
        """What was stored last, maybe for another database; nothing when there is none, or it is damaged."""
        data = os.pread(self._file, _MAX_BYTES, 0)
        body = deframe(data[1 : 1 + data[0]]) if data else None
        if body is not None:
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                return msgspec.msgpack.decode(body, type=LastCommit)
        return LastCommit()

    def store(self, number: int) -> None:
        """Write; what the disk does not take now is written with the next commit."""
        data = frame(pack(LastCommit(self._database, number)))
        with contextlib.suppress(OSError):
            os.pwrite(self._file, bytes([len(data)]) + data, 0)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
