"""Checksums of rows follow every change that a statement makes, and show every other."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from floop_robot.durable.row_checksums import RowChecksums, is_schema_sound

DDL = """
CREATE TABLE plain (id INTEGER PRIMARY KEY, name TEXT, blob BLOB);
CREATE TABLE pair (a TEXT, b INTEGER, value REAL, PRIMARY KEY (a, b)) WITHOUT ROWID;
"""
CHANGES = [
    "INSERT INTO plain VALUES (1, 'one', x'00'), (2, NULL, NULL), (3, 'drei', x'ff')",
    "INSERT INTO pair VALUES ('x', 1, 0.5), ('x', 2, 1e300), ('y', 1, NULL)",
    "UPDATE plain SET name = 'uno' WHERE id = 1",
    "UPDATE plain SET id = 9 WHERE id = 2",
    "UPDATE pair SET a = 'z' WHERE a = 'y'",
    "UPDATE pair SET b = b + 10",
    "INSERT OR REPLACE INTO pair VALUES ('x', 11, 7)",
    "INSERT OR IGNORE INTO pair VALUES ('x', 11, 8)",
    "INSERT INTO plain VALUES (1, 'due', x'') ON CONFLICT (id) DO UPDATE SET name = excluded.name",
    "DELETE FROM plain WHERE id = 3",
]


def open_checked(path: Path) -> tuple[sqlite3.Connection, RowChecksums]:
    connection = sqlite3.connect(path, isolation_level=None)
    return connection, RowChecksums(connection, blobs=("blob",))


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    connection = sqlite3.connect(tmp_path / "a.sqlite", isolation_level=None)
    connection.executescript(DDL)
    connection.execute("INSERT INTO plain VALUES (7, 'before', NULL)")
    connection.close()
    yield tmp_path / "a.sqlite"


def test_checksums_follow_every_statement(path: Path) -> None:
    connection, checksums = open_checked(path)
    assert checksums.damage() == [] and not is_schema_sound(connection)  # an earlier floop wrote it
    checksums.keep()
    for change in CHANGES:
        connection.execute(change)
        assert checksums.damage() == [], change
    connection.execute("BEGIN")
    connection.execute("DELETE FROM pair")
    connection.execute("ROLLBACK")
    assert checksums.damage() == [] and is_schema_sound(connection)
    connection.close()
    connection, checksums = open_checked(path)
    assert checksums.damage() == [] and is_schema_sound(connection)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE plain SET name = 'beforf' WHERE id = 7", ["row 7 of table plain is damaged"]),
        ("UPDATE plain SET name = CAST(x'ff' AS TEXT)", ["row 7 of table plain is damaged"]),
        ("UPDATE plain SET id = 6", ["row 6 of table plain is damaged", "row 7 of table plain is lost"]),
        ("DELETE FROM plain", ["row 7 of table plain is lost"]),
        ("UPDATE plain SET blob = x'01'", []),  # has a checksum of its own
    ],
)
def test_every_other_change_is_seen(path: Path, statement: str, said: list[str]) -> None:
    connection, checksums = open_checked(path)
    checksums.keep()
    connection.close()
    plain = sqlite3.connect(path, isolation_level=None)
    assert plain.execute(statement).rowcount == 1
    plain.close()
    connection, checksums = open_checked(path)
    damage = checksums.damage()
    assert [str(row) for row in damage] == said
    assert damage == checksums.damage(newest=5)
    checksums.hide(damage)
    left = [row[0] for row in connection.execute("SELECT id FROM plain")]
    assert left == ([] if said else [7])
    connection.close()
    connection, checksums = open_checked(path)
    checksums.keep()
    for row in damage:
        checksums.replace(row)
    assert checksums.damage() == []
    connection.close()


def test_a_changed_table_is_seen(path: Path) -> None:
    connection, checksums = open_checked(path)
    checksums.keep()
    connection.execute("CREATE INDEX names ON plain (name)")
    assert not is_schema_sound(connection)
    checksums.keep()
    assert is_schema_sound(connection)
    connection.close()
