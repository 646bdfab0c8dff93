"""Damage in a journal's rows other than blocks, which have a checksum of their own."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

from floop_robot.durable.row_checksums import DamagedRow, RowChecksums

log = logging.getLogger(__name__)

_OWN_CHECKSUM = ("blocks", "summary")


def keep_checksums(db: sqlite3.Connection, path: Path, *, is_checked: bool) -> None:
    """Keep checksums of rows from now on; before that, name damaged rows in the log and mend them from the blocks.

    `is_checked`: the rows have checksums already. Within a transaction.
    """
    checksums = RowChecksums(db, unchecked=_OWN_CHECKSUM)
    damage = checksums.damage() if is_checked else []
    if not is_checked and db.execute("SELECT 1 FROM meta").fetchone() is not None:
        log.info("journal %s: its rows get checksums: an earlier floop wrote it", path)
    checksums.keep()
    for row in damage:
        log.error("journal %s: %s%s", path, row, "; it is made again from the blocks" if row.table == "streams" else "")
        checksums.replace(row)
        if row.table == "streams":
            _restore_stream(db, row)


def _restore_stream(db: sqlite3.Connection, row: DamagedRow) -> None:
    if len(row.key_texts) != 2:
        return
    query = "SELECT min(first_seq), max(end_seq) FROM blocks WHERE robot = ? AND boot_id = ?"
    first, end = db.execute(query, row.key_texts).fetchone()
    if first is not None:
        db.execute("INSERT OR REPLACE INTO streams VALUES (?, ?, ?, ?)", (*row.key_texts, first, end))
