"""Damage in a journal: rows other than blocks, whose checksum is their own, and pages that SQLite cannot read."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from floop_robot.durable.files import sync_folder
from floop_robot.durable.row_checksums import DamagedRow, RowChecksums
from floop_robot.spec.bounds import MAX_INT

log = logging.getLogger(__name__)

MAX_FILL_BYTES = 64 << 30
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


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite met a page that it cannot read; busy and interrupted databases raise a subclass."""
    return type(error) is sqlite3.DatabaseError


def step_over(tries: int) -> int:
    """By how many ids to go on behind a page that cannot be read: most hold a few blocks, a branch holds thousands."""
    return 1 if tries < 32 else 2 ** (tries - 31)


def copy_sound_rows(path: Path, db: sqlite3.Connection, is_sound: Callable[[tuple[Any, ...]], bool]) -> None:
    """Copy what can be read of the journal at `path` into the new one behind `db`, and say how much that is.

    `is_sound` judges a row of `blocks`. Streams whose row is lost are made again from their blocks.
    """
    copied = 0
    _fill_up(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.text_factory = lambda text: text.decode(errors="replace")
        db.execute("BEGIN")
        for row in _readable_blocks(old):
            if is_sound(row):
                with contextlib.suppress(sqlite3.IntegrityError):  # twice, by damage
                    db.execute("INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
                    copied += 1
        for table, marks in (
            ("streams", "?, ?, ?, ?"),
            ("gaps", "?, ?, ?, ?, ?"),
            ("meta", "?, ?"),
            ("tails", "?, ?, ?"),
        ):
            with contextlib.suppress(sqlite3.Error):
                for row in old.execute(f"SELECT * FROM {table}"):
                    db.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)
        db.execute(
            "INSERT INTO streams SELECT robot, boot_id, min(first_seq), max(end_seq) FROM blocks "
            "GROUP BY robot, boot_id ON CONFLICT DO UPDATE SET next_seq = max(next_seq, excluded.next_seq)"
        )
        db.execute("COMMIT")
    log.error("journal %s: %d blocks are sound and go on; the damaged file is %s", path, copied, _aside(path))


def put_in_place(fresh: Path, path: Path) -> None:
    """Put a salvaged journal where the damaged one was, which is set aside; raises OSError."""
    path.replace(_aside(path))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    fresh.replace(path)
    sync_folder(path.parent)


def _fill_up(path: Path) -> None:
    """Make a file that was cut as long as its header says: SQLite reads nothing of a shorter one."""
    with path.open("r+b") as file:
        head = file.read(32)
        size = int.from_bytes(head[16:18], "big") * int.from_bytes(head[28:32], "big")
        length = file.seek(0, os.SEEK_END)
        if length < size <= MAX_FILL_BYTES:
            file.truncate(size)


def _aside(path: Path) -> Path:
    return path.with_name(path.name + ".damaged")


def _readable_blocks(db: sqlite3.Connection) -> Iterator[tuple[Any, ...]]:
    """Rows of `blocks` in order; what lies on a damaged page is passed over."""
    after, tries = 0, 0
    while after < MAX_INT:
        try:
            for row in db.execute("SELECT * FROM blocks WHERE id > ? ORDER BY id", (after,)):
                if row[0] <= after:  # a damaged page: its rows are out of order
                    continue
                yield row
                after, tries = row[0], 0
            return
        except sqlite3.DatabaseError:
            after, tries = after + step_over(tries), tries + 1
