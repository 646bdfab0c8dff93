"""ConflictMark: outlives the process that found out that ingest holds keys which its spool never had.

Without it the next process would take what was recorded meanwhile for what ingest holds, and let it go.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from floop_robot.spec.folders import sync_folder


class _Kept(msgspec.Struct, frozen=True):
    boot_id: str
    own_end: int


class ConflictMark:
    """One file in a spool's folder, there while the spool's stream is in conflict."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "conflict"

    def load(self, boot_id: str) -> int | None:
        """Where the spool's own keys of this boot end; None without a conflict. A damaged file means 0: look at it."""
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=_Kept)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, ValueError):
            return 0
        return kept.own_end if kept.boot_id == boot_id else None

    def keep(self, boot_id: str, own_end: int) -> None:
        """Remember durably; raises OSError."""
        new = self._path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(msgspec.json.encode(_Kept(boot_id, own_end)))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        sync_folder(self._path.parent)

    def forget(self) -> None:
        """The conflict is over; raises OSError."""
        self._path.unlink(missing_ok=True)
        sync_folder(self._path.parent)
