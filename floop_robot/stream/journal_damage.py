"""Damaged rows of a journal other than blocks, which have a checksum of their own."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

from floop_robot.durable.row_checksums import RowChecksums

log = logging.getLogger(__name__)

OWN_CHECKSUM = ("blocks", "summary")


def keep_checksums(db: sqlite3.Connection, path: Path, *, is_checked: bool) -> None:
    """Keep checksums of rows from now on; before that, name damaged rows in the log and mend them from the blocks.

    `is_checked`: the rows have checksums already. Within a transaction.
    """
    checksums = RowChecksums(db, unchecked=OWN_CHECKSUM)
    damage = checksums.damage() if is_checked else []
    if not is_checked and db.execute("SELECT 1 FROM meta").fetchone() is not None:
        log.info("journal %s: its rows get checksums: an earlier floop wrote it", path)
    checksums.keep()
    for row in damage:
        log.error("journal %s: %s%s", path, row, "; it is made again from the blocks" if row.table == "streams" else "")
        checksums.replace(row)
    if any(row.table == "streams" for row in damage):
        restore_streams(db)


def restore_streams(db: sqlite3.Connection) -> None:
    """Make streams whose row is lost again from their blocks."""
    db.execute(
        "INSERT OR IGNORE INTO streams SELECT robot, boot_id, min(first_seq), max(end_seq) FROM blocks "
        "GROUP BY robot, boot_id"
    )
