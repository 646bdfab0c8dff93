"""Reading a registry without being its writer, while the fleet runs or afterwards."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from floop_robot.bundle.delivery import Receipt
from floop_robot.deploy.registry.damage import CHECKED_ROWS, hide_damage
from floop_robot.deploy.registry.database import check_schema, decode, integer
from floop_robot.deploy.registry.records import (
    BASELINE,
    PRODUCTION,
    AuditEntry,
    CandidateInfo,
    History,
    LiveEpisode,
    StoredReceipt,
    VersionHistory,
    VersionInfo,
)
from floop_robot.durable.sqlite_salvage import is_damage
from floop_robot.spec.errors import StorageError

T = TypeVar("T")


def read_history(path: Path) -> History:
    """Everything in the registry at `path`, as of one moment; raises `StorageError`."""
    with _opened(path, newest=-1) as connection:
        return _read(connection)


def read_audit(path: Path) -> Iterator[AuditEntry]:
    """The audit in the registry at `path`, newest first, as far as it is asked for; raises `StorageError`."""
    with _opened(path) as connection:
        for row in connection.execute("SELECT info FROM audit ORDER BY id DESC"):
            yield decode(row[0], AuditEntry)


def read_versions(path: Path, last: int) -> VersionHistory:
    """The last versions in the registry at `path`; raises `StorageError`."""
    with _opened(path) as connection:
        return _read_versions(connection, last)


def _read_versions(connection: sqlite3.Connection, last: int) -> VersionHistory:
    aliases = dict(connection.execute("SELECT name, version FROM aliases").fetchall())
    weights = dict(connection.execute("SELECT version, sha256 FROM versions").fetchall())
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'summary'").fetchone()
    stored = connection.execute("SELECT through, state FROM summary").fetchone() if known else None
    through, summary = stored or (0, b"")
    newest = f"SELECT info FROM (SELECT * FROM versions ORDER BY version DESC LIMIT {last:d}) ORDER BY version"
    after = f"SELECT info FROM episodes WHERE rowid > {through:d} ORDER BY rowid"
    return VersionHistory(
        versions=_structs(connection, newest, VersionInfo),
        count=len(weights),
        weights=weights,
        confirmed=frozenset(row[0] for row in connection.execute("SELECT sha256 FROM confirmations")),
        production=aliases.get(PRODUCTION, 0),
        baseline=aliases.get(BASELINE, 0),
        summary=summary,
        episodes=_structs(connection, after, LiveEpisode),
    )


def check_registry(path: Path) -> None:
    """Raise `StorageError` if another floop wrote the registry at `path`; it may be missing or unfinished.

    Who dies while making a registry leaves an empty one, or one whose last change must be undone. Only its writer can
    do that, and its writer says what else is wrong.
    """
    with contextlib.suppress(sqlite3.Error, OSError), contextlib.closing(_connect(path)) as connection:
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found:
            check_schema(path, found)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)


@contextmanager
def _opened(path: Path, newest: int = CHECKED_ROWS) -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        raise StorageError(f"there is no registry at {path}; check the run directory")
    try:
        connection = _connect(path)
        try:
            connection.execute("BEGIN")
            check_schema(path, connection.execute("PRAGMA user_version").fetchone()[0])
            hide_damage(connection, path, newest)
            yield connection
        finally:
            connection.close()
    except sqlite3.Error as error:
        cure = "start its fleet, which goes on with what is sound" if is_damage(error) else "check that it is one"
        raise StorageError(f"cannot read registry {path}: {error}; {cure}") from None


def _read(connection: sqlite3.Connection) -> History:
    structs = functools.partial(_structs, connection)
    aliases = dict(connection.execute("SELECT name, version FROM aliases").fetchall())
    receipts = connection.execute("SELECT info, stamp_ns FROM receipts ORDER BY stamp_ns, rowid")
    return History(
        versions=structs("SELECT info FROM versions ORDER BY version", VersionInfo),
        candidates=structs("SELECT info FROM candidates ORDER BY id", CandidateInfo),
        receipts=tuple(StoredReceipt(decode(info, Receipt), integer(stamp)) for info, stamp in receipts),
        episodes=structs("SELECT info FROM episodes ORDER BY rowid", LiveEpisode),
        confirmed=dict(connection.execute("SELECT sha256, stamp_ns FROM confirmations").fetchall()),
        audit=structs("SELECT info FROM audit ORDER BY id", AuditEntry),
        production=aliases.get(PRODUCTION, 0),
        baseline=aliases.get(BASELINE, 0),
    )


def _structs(connection: sqlite3.Connection, query: str, kind: type[T]) -> tuple[T, ...]:
    return tuple(decode(row[0], kind) for row in connection.execute(query))
