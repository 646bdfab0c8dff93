"""OwnHighWaterMarks: where a spool's own keys ended when a process began, until ingest has answered for them.

A spool that was restored or copied learns only from ingest's answer that its keys stand for other records there. A
process that records and ends before that answer would leave its successor with a higher end: the successor would take
what was recorded for what ingest holds, and let it go.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from floop_robot.durable.files import replace_file, sync_folder


class OwnHighWaterMarks:
    """One small file per boot in a spool's folder: to forget one needs no room, so a full disk can do it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, boot_id: str) -> int | None:
        """One past the last of the spool's own keys of this boot; None if none is kept. A damaged file means 0."""
        try:
            return msgspec.json.decode(self._path(boot_id).read_bytes(), type=int)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, ValueError):
            return 0  # a conflict, at which somebody looks, rather than rows that nobody misses

    def keep(self, boot_id: str, own_high_water_mark: int) -> None:
        """Remember durably; raises OSError."""
        replace_file(self._path(boot_id), msgspec.json.encode(own_high_water_mark))

    def forget(self, boot_id: str) -> None:
        """Ingest has answered for this boot; raises OSError."""
        self._path(boot_id).unlink(missing_ok=True)
        sync_folder(self._folder)

    def _path(self, boot_id: str) -> Path:
        return self._folder / f"own_high_water_mark.{boot_id}"
