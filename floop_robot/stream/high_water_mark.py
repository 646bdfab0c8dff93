"""OwnHighWaterMarks: where a spool's own keys ended when a process began, until ingest has answered for them.

A restored or copied spool reuses keys that stand for other records at ingest, and only ingest's answer shows it. A
process may record and end before that answer. Without these marks its successor would take the new records for those
that ingest holds, and delete them.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from floop_robot.durable.files import replace_file, sync_folder


class OwnHighWaterMarks:
    """One small file per boot in a spool's folder; deleting one needs no room, so it works on a full disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, boot_id: str) -> int | None:
        """One past the last of the spool's own keys of this boot; None without a file, 0 for a damaged one."""
        try:
            return msgspec.json.decode(self._path(boot_id).read_bytes(), type=int)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, ValueError):
            return 0  # better a conflict, at which a person looks, than rows lost in silence

    def store(self, boot_id: str, own_high_water_mark: int) -> None:
        """Write durably; raises OSError."""
        replace_file(self._path(boot_id), msgspec.json.encode(own_high_water_mark))

    def delete(self, boot_id: str) -> None:
        """Ingest has answered for this boot; raises OSError."""
        self._path(boot_id).unlink(missing_ok=True)
        sync_folder(self._folder)

    def _path(self, boot_id: str) -> Path:
        return self._folder / f"own_high_water_mark.{boot_id}"
