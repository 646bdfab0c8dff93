"""Whether SQLite can read a database, before anything is taken from it."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import Final

from floop_robot.durable.row_checksums import is_schema_sound
from floop_robot.spec.errors import StorageError

log = logging.getLogger(__name__)

WHOLE_CHECK_BYTES: Final = 64 << 20
"""Up to this size indexes are compared with their tables: a quarter of a second."""
PAGE_CHECK_BYTES: Final = 256 << 20
"""Up to this size every page is looked at. In a larger file SQLite names a damaged page when it is read."""


class DatabaseDamaged(StorageError):
    """Pages or tables that SQLite cannot read."""


def check_pages(connection: sqlite3.Connection, path: Path, what: str, *, has_checksums: bool) -> None:
    """Raise `DatabaseDamaged` unless every page can be read and no table has changed; damaged indexes are made again.

    Less is checked of a larger file. `what` is for messages.
    """
    size, found = path.stat().st_size, ["ok"]
    check = "integrity_check" if size <= WHOLE_CHECK_BYTES else "quick_check"
    try:
        if size <= PAGE_CHECK_BYTES:
            found = [str(row[0]) for row in connection.execute(f"PRAGMA {check}(20)")]
        if found != ["ok"] and all("index" in line for line in found):
            log.error("%s %s: %s; its indexes are made again", what, path, found[0])
            connection.execute("REINDEX")
            found = [str(row[0]) for row in connection.execute(f"PRAGMA {check}(20)")]
    except sqlite3.DatabaseError as error:
        found = [str(error)]
    if found != ["ok"]:
        raise DatabaseDamaged(" ".join(found[0].split()))
    if has_checksums and not is_schema_sound(connection):
        raise DatabaseDamaged("its list of tables is another")
