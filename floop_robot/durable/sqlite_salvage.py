"""Salvage of a database with damaged pages: what SQLite can still read of it goes into a new file.

Rows whose checksum tells that they are damaged, or lost, are named when the new file is opened (`row_checksums.py`).
Where a row's checksum was lost, the row counts as sound: SQLite could read it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import struct
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from floop_robot.durable.files import sync_folder
from floop_robot.durable.row_checksums import TABLE, RowChecksums
from floop_robot.durable.sqlite_check import DatabaseDamaged
from floop_robot.durable.wal_repair import repair_wal
from floop_robot.spec.bounds import MAX_INT

log = logging.getLogger(__name__)

MAX_FILL_BYTES: Final = 64 << 30
_PAGE_BYTES: Final = 4096
_WHOLE: Final = ".salvaged"
"""Ends the name of a copy that lacks nothing."""
_ASIDE: Final = ".damaged"
"""Ends the name of the damaged file that was copied."""
Row = tuple[Any, ...]


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a database before it is read."""

    name: str
    """For messages: `journal`, `registry`."""
    tables: Callable[[sqlite3.Connection], None]
    """Makes its tables in a new file."""
    unchecked: Collection[str] = ()
    """As in `RowChecksums`."""
    blobs: Collection[str] = ()
    """As in `RowChecksums`."""
    is_sound: Callable[[str, Row], bool] = lambda table, row: True
    """Judges rows of unchecked tables."""
    finish: Callable[[sqlite3.Connection], None] = lambda db: None
    """Makes rows again that follow from others."""


def is_damage(error: Exception) -> bool:
    """Whether SQLite met a page that it cannot read; busy and interrupted databases raise a subclass."""
    return type(error) is sqlite3.DatabaseError


def step_over(tries: int) -> int:
    """By how many ids to go on behind a page that cannot be read: most hold a few rows, a branch holds thousands."""
    return 1 if tries < 32 else 2 ** (tries - 31)


def open_or_salvage(path: Path, content: Content, open_it: Callable[[], None]) -> None:
    """Call `open_it`, which leaves nothing open when it raises; where it meets damage, salvage, and call it again.

    Raises what it raises, and `DatabaseDamaged` where nothing can be read.
    """
    _finish(path)
    repair_wal(path)
    try:
        open_it()
    except (DatabaseDamaged, sqlite3.DatabaseError) as error:
        if not isinstance(error, DatabaseDamaged) and not is_damage(error):
            raise
        log.error("%s %s is damaged (%s); what is sound is copied into a new file", content.name, path, error)
        salvage(path, content)
        open_it()


def salvage(path: Path, content: Content) -> None:
    """Put a new file in the place of the damaged one at `path`, which is set aside.

    Raises `DatabaseDamaged` where nothing can be read, `sqlite3.Error` and OSError.
    """
    part, fresh, aside = (path.with_name(path.name + end) for end in (".salvaging", _WHOLE, _ASIDE))
    _remove(fresh)
    _remove(part)
    try:
        counts = _copy_all(path, part, content)
    except BaseException:
        _remove(part)  # it may have filled the disk
        raise
    aside.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # a file system without links: then the damaged one is not kept
        os.link(path, aside)
    part.replace(fresh)  # by this name it is whole: a start after a kill goes on from here
    sync_folder(path.parent)
    _replace(path, fresh)
    found = ", ".join(f"{table} {count}" for table, count in counts.items() if count)
    log.error("%s %s: what is sound goes on (rows: %s); the damaged file is %s", content.name, path, found, aside)


def _finish(path: Path) -> None:
    """Go on with a salvage that was killed after all was copied: the damaged file may have lost its log since.

    A file that somebody put at `path` meanwhile is not the one that was set aside, and stays.
    """
    fresh, aside = path.with_name(path.name + _WHOLE), path.with_name(path.name + _ASIDE)
    if fresh.exists() and path.exists() and aside.exists() and aside.samefile(path):
        log.error("%s was damaged; what is sound was copied, and goes on; the damaged file is %s", path, aside)
        _replace(path, fresh)


def _replace(path: Path, fresh: Path) -> None:
    for suffix in ("-wal", "-shm"):  # the new file must not be read with the log of the old one
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    fresh.replace(path)  # at no instant is there none
    sync_folder(path.parent)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _copy_all(path: Path, fresh: Path, content: Content) -> dict[str, int]:
    """Copy what can be read into the new file `fresh`; returns the number of rows of each table."""
    with contextlib.closing(sqlite3.connect(fresh, isolation_level=None)) as db:
        content.tables(db)
        checksums = RowChecksums(db, content.unchecked, content.blobs)
        checksums.adopt()
        _mend_ends(path, fresh, db)
        db.execute("BEGIN")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as old, _without_triggers(db):
            old.text_factory = lambda text: text.decode(errors="replace")
            counts = {table: _copy(old, db, table, content.is_sound) for table in _tables(db)}
            version, newest = (int(each.execute("PRAGMA user_version").fetchone()[0]) for each in (old, db))
        counts.pop(TABLE)
        if not any(counts.values()):
            raise DatabaseDamaged(
                f"{content.name} {path} is damaged, and nothing in it can be read; restore a copy (floop restore), "
                "or move the file away to begin without it"
            )
        content.finish(db)
        if 0 < version < newest:  # whoever opens it makes the newest schema of it, and checksums, as of a sound file
            db.execute(f"PRAGMA user_version = {version}")
            db.execute(f"DROP TABLE {TABLE}")
        else:
            checksums.adopt()
        db.execute("COMMIT")
    return counts


def _copy(old: sqlite3.Connection, db: sqlite3.Connection, table: str, is_sound: Callable[[str, Row], bool]) -> int:
    """Copy a table's rows; returns how many."""
    has_rowid = "WITHOUT ROWID" not in _ddl(db, table)
    columns = [each[1] for each in db.execute(f"PRAGMA table_info({table})")]
    listed = ", ".join(["rowid", *columns] if has_rowid else columns)
    insert = f"INSERT OR IGNORE INTO {table} ({listed}) VALUES ({', '.join('?' * (len(columns) + has_rowid))})"
    read = _readable_by_rowid if has_rowid else _readable_by_key
    copied = 0
    for row in read(old, table, listed):
        with contextlib.suppress(sqlite3.IntegrityError):  # damage gave it another type
            copied += db.execute(insert, row).rowcount if is_sound(table, row[has_rowid:]) else 0
    return copied


def _readable_by_rowid(db: sqlite3.Connection, table: str, listed: str) -> Iterator[Row]:
    """Rows in order; what lies on a damaged page is passed over, and then looked for from behind it."""
    select = f"SELECT {listed} FROM {table} WHERE rowid > ?"
    after, tries, broken_at, gaps = 0, 0, -1, list[tuple[int, int]]()
    while after < MAX_INT:
        try:
            for row in db.execute(f"{select} ORDER BY rowid", (after,)):
                if row[0] <= after:  # a damaged page: its rows are out of order
                    continue
                if broken_at >= 0:
                    gaps.append((broken_at, row[0]))
                yield row
                after, tries, broken_at = row[0], 0, -1
            break
        except sqlite3.DatabaseError:
            broken_at = after if broken_at < 0 else broken_at
            after, tries = after + step_over(tries), tries + 1
    if broken_at >= 0:
        gaps.append((broken_at, MAX_INT))
    for low, high in gaps:
        with contextlib.suppress(sqlite3.DatabaseError):
            yield from db.execute(f"{select} AND rowid < ? ORDER BY rowid DESC", (low, high))


def _readable_by_key(db: sqlite3.Connection, table: str, listed: str) -> Iterator[Row]:
    """Rows before the first damaged page, and behind the last."""
    keys = [(each[5], each[1]) for each in db.execute(f"PRAGMA table_info({table})") if each[5]]
    for direction in ("ASC", "DESC"):
        with contextlib.suppress(sqlite3.DatabaseError):
            order = ", ".join(f"{name} {direction}" for _, name in sorted(keys))
            yield from db.execute(f"SELECT {listed} FROM {table} ORDER BY {order}")
            return


@contextlib.contextmanager
def _without_triggers(db: sqlite3.Connection) -> Iterator[None]:
    """Rows come in another order than their triggers allow."""
    found = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in found:
        db.execute(f"DROP TRIGGER {name}")
    yield
    for _, sql in found:
        db.execute(sql)


def _tables(db: sqlite3.Connection) -> list[str]:
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    return [name for (name,) in db.execute(query).fetchall()]


def _ddl(db: sqlite3.Connection, table: str) -> str:
    return str(db.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0])


def _mend_ends(path: Path, fresh: Path, db: sqlite3.Connection) -> None:
    """Give a file whose first page is damaged that of a new one, and one that was cut the length that its header says.

    SQLite reads nothing of either. A file that was made with the same tables has them in the same places.
    """
    is_known = False
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as old:
        is_known = set(_tables(db)) <= set(_tables(old)) | {TABLE}
    with path.open("r+b") as file:
        length = file.seek(0, os.SEEK_END)
        if not is_known:
            page = bytearray(fresh.read_bytes()[:_PAGE_BYTES])
            page[18:20] = b"\2\2"  # it has a write-ahead log
            page[28:40] = struct.pack(">III", length // _PAGE_BYTES, 0, 0)  # pages, none of them free
            file.seek(0)
            file.write(page)
        file.seek(0)
        head = file.read(32)
        size = int.from_bytes(head[16:18], "big") * int.from_bytes(head[28:32], "big")
        if length < size <= MAX_FILL_BYTES:
            file.truncate(size)
