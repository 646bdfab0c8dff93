"""RowChecksums: SQLite notices no flipped bit in a row, so each row has a checksum in a table beside its own.

Triggers of the writing connection keep that table, whatever statement changes a row. A row is known by its primary key
and checked with all its columns. So a damaged key shows twice: as a row that nobody wrote, and as one that is lost.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from floop_robot.durable.framing import checksum, pack

TABLE: Final = "row_checksums"
_DDL: Final = (
    f"CREATE TABLE IF NOT EXISTS {TABLE} "
    "(name TEXT, key BLOB, crc INTEGER NOT NULL, PRIMARY KEY (name, key)) WITHOUT ROWID"
)


_SCHEMA: Final = "sqlite_master"
_NO_KEY: Final = b""


class DamagedRow(msgspec.Struct, frozen=True):
    """A row that is not as it was written."""

    table: str
    key: bytes
    """Its primary key, as in the table of checksums."""
    is_lost: bool
    """There is only its checksum."""

    @property
    def key_texts(self) -> tuple[str, ...]:
        """The values of the primary key."""
        try:
            return tuple(each.decode(errors="replace") for each in msgspec.msgpack.decode(self.key, type=list[bytes]))
        except msgspec.MsgspecError:
            return (repr(self.key),)

    def __str__(self) -> str:
        key = ", ".join(text[:40] for text in self.key_texts)
        return f"row {key} of table {self.table} is {'lost' if self.is_lost else 'damaged'}"


class _Table(msgspec.Struct, frozen=True):
    name: str
    columns: tuple[str, ...]
    """Those that are checked."""
    key: tuple[str, ...]
    """Columns of the primary key."""
    has_rowid: bool

    def key_of(self, row: str = "") -> str:
        return f"row_key({_blobs(row, self.key)})"

    def crc_of(self, row: str = "") -> str:
        return f"row_crc('{self.name}', {_blobs(row, self.columns)})"


class RowChecksums:
    """The checksums of one database; for the thread of its connection."""

    def __init__(
        self, connection: sqlite3.Connection, unchecked: Collection[str] = (), blobs: Collection[str] = ()
    ) -> None:
        """`unchecked`: tables with a checksum of their own. `blobs`: columns with one of their own."""
        self._connection = connection
        connection.create_function("row_key", -1, _key, deterministic=True)
        connection.create_function("row_crc", -1, _crc, deterministic=True)
        names = connection.execute(
            "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
        )
        self._tables = [
            _table(connection, name, blobs) for (name,) in names.fetchall() if name not in (TABLE, *unchecked)
        ]

    def keep(self) -> None:
        """From now on, every change of a row changes its checksum; rows of an earlier floop get theirs once."""
        self._connection.execute("PRAGMA recursive_triggers = ON")  # or INSERT OR REPLACE deletes without a trigger
        if _exists(self._connection):
            self._note_schema()
        else:
            self.adopt()
        for table in self._tables:
            mine = f"FROM {TABLE} WHERE name = '{table.name}' AND key ="
            delete, free = f"DELETE {mine} {table.key_of('OLD.')};", f"DELETE {mine} {table.key_of('NEW.')};"
            insert = f"INSERT INTO {TABLE} VALUES ('{table.name}', {table.key_of('NEW.')}, {table.crc_of('NEW.')});"
            # No `OR REPLACE` here: within a trigger, the outer statement's way with conflicts holds.
            for event, body in (("INSERT", free + insert), ("UPDATE", delete + free + insert), ("DELETE", delete)):
                self._connection.execute(
                    f"CREATE TEMP TRIGGER IF NOT EXISTS {table.name}_{event.lower()}_checksum AFTER {event} "
                    f"ON main.{table.name} BEGIN {body} END"
                )

    def adopt(self) -> None:
        """Give a checksum to each row that has none, and to the list of tables."""
        self._connection.execute(_DDL)
        for table in self._tables:
            rows = f"SELECT '{table.name}', {table.key_of()}, {table.crc_of()} FROM {table.name}"
            self._connection.execute(f"INSERT OR IGNORE INTO {TABLE} {rows}")
        self._note_schema()

    def _note_schema(self) -> None:
        values = (_SCHEMA, _NO_KEY, _schema_crc(self._connection))
        self._connection.execute(f"INSERT OR REPLACE INTO main.{TABLE} VALUES (?, ?, ?)", values)

    def damage(self, newest: int = -1) -> list[DamagedRow]:
        """Rows that are damaged or lost; of each table only the `newest` rows are looked at, unless that is -1."""
        if not _exists(self._connection):
            return []
        return [row for table in self._tables for row in self._damage(table, newest)]

    def hide(self, damage: Sequence[DamagedRow]) -> None:
        """Let this connection, which only reads, see its tables without these rows."""
        for table in self._tables:
            keys = [(row.key,) for row in damage if row.table == table.name and not row.is_lost]
            if not keys:
                continue
            name, rowid = table.name, "rowid, " if table.has_rowid else ""
            columns = [each[1] for each in self._connection.execute(f"PRAGMA main.table_info({name})")]
            listed = rowid + ", ".join(columns)
            self._connection.execute("CREATE TEMP TABLE IF NOT EXISTS hidden (name TEXT, key BLOB)")
            self._connection.executemany(f"INSERT INTO temp.hidden VALUES ('{name}', ?)", keys)
            self._connection.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM main.{name} WHERE 0")
            self._connection.execute(
                f"INSERT INTO temp.{name} ({listed}) SELECT {listed} FROM main.{name} "
                f"WHERE {table.key_of()} NOT IN (SELECT key FROM temp.hidden WHERE name = '{name}')"
            )

    def replace(self, row: DamagedRow, values: tuple[object, ...] | None = None) -> None:
        """Put another row in the place of a damaged one that somebody has named, or none; after `keep`."""
        table = next(table for table in self._tables if table.name == row.table)
        guards = self._connection.execute(
            "SELECT name, sql FROM main.sqlite_master WHERE type = 'trigger' AND tbl_name = ?", (table.name,)
        ).fetchall()
        for name, _ in guards:  # of append-only tables
            self._connection.execute(f"DROP TRIGGER main.{name}")
        self._connection.execute(f"DELETE FROM {table.name} WHERE {table.key_of()} = ?", (row.key,))
        self._connection.execute(f"DELETE FROM {TABLE} WHERE name = ? AND key = ?", (table.name, row.key))
        if values is not None:
            marks = ", ".join("?" * len(values))
            self._connection.execute(f"INSERT INTO {table.name} VALUES ({marks})", values)
        for _, sql in guards:
            self._connection.execute(sql)

    def _damage(self, table: _Table, newest: int) -> list[DamagedRow]:
        is_part = newest >= 0 and table.has_rowid
        order = f"ORDER BY rowid DESC LIMIT {newest}" if is_part else ""
        query = (
            f"SELECT {table.key_of()} FROM (SELECT * FROM main.{table.name} {order}) AS one WHERE {table.crc_of()} "
            f"IS NOT (SELECT crc FROM {TABLE} WHERE name = '{table.name}' AND key = {table.key_of('one.')})"
        )
        found = [DamagedRow(table.name, key, is_lost=False) for (key,) in self._connection.execute(query)]
        if not is_part or self._count(table.name) <= newest:
            query = (
                f"SELECT key FROM {TABLE} WHERE name = '{table.name}' "
                f"AND key NOT IN (SELECT {table.key_of()} FROM {table.name})"
            )
            found += [DamagedRow(table.name, key, is_lost=True) for (key,) in self._connection.execute(query)]
        return found

    def _count(self, table: str) -> int:
        return int(self._connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])


def _table(connection: sqlite3.Connection, name: str, blobs: Collection[str]) -> _Table:
    info = connection.execute(f"PRAGMA main.table_info({name})").fetchall()
    key = tuple(column for _, column, _, _, _, place in sorted(info, key=lambda each: each[5]) if place)
    ddl = connection.execute("SELECT sql FROM main.sqlite_master WHERE name = ?", (name,)).fetchone()[0]
    columns = tuple(each[1] for each in info if each[1] not in blobs)
    return _Table(name, columns, key, has_rowid="WITHOUT ROWID" not in ddl)


def is_schema_sound(connection: sqlite3.Connection) -> bool:
    """Whether tables, indexes and triggers are those that were there when the checksums were written."""
    if not _exists(connection):
        return False
    query = f"SELECT crc FROM main.{TABLE} WHERE name = ? AND key = ?"
    found = connection.execute(query, (_SCHEMA, _NO_KEY)).fetchone()
    return found is not None and int(found[0]) == _schema_crc(connection)


def _schema_crc(connection: sqlite3.Connection) -> int:
    query = "SELECT type, name, tbl_name, sql FROM main.sqlite_master WHERE name NOT LIKE 'sqlite_stat%' ORDER BY 1, 2"
    return checksum(pack(connection.execute(query).fetchall()))


def _exists(connection: sqlite3.Connection) -> bool:
    found = connection.execute("SELECT 1 FROM main.sqlite_master WHERE name = ?", (TABLE,)).fetchone()
    return found is not None


_ENCODE: Final = msgspec.msgpack.Encoder().encode
"""Writes what `pack` does, a few times faster: it is called for each row that changes, with bytes only."""


def _key(*values: object) -> bytes:
    return _ENCODE(values)


def _crc(*values: object) -> int:
    return checksum(_ENCODE(values))


def _blobs(row: str, columns: tuple[str, ...]) -> str:
    # As blobs: a damaged text may be no UTF-8, which would end the query.
    return ", ".join(f"CAST({row}{column} AS BLOB)" for column in columns)
