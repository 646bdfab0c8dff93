"""Database: one SQLite connection whose transactions are durable, and whose errors are one line each."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from floop_robot.deploy.registry.damage import CHECKED_ALONE, keep_checksums, last_epoch
from floop_robot.deploy.registry.schema import (
    ADDED_DDL,
    DDL,
    READ_SCHEMAS,
    SCHEMA_BEFORE_HOLDS,
    SCHEMA_VERSION,
    keep_earlier_holds,
)
from floop_robot.durable.framing import pack
from floop_robot.durable.locks import ExclusiveLock
from floop_robot.durable.sqlite_check import check_pages
from floop_robot.durable.sqlite_salvage import Content, open_or_salvage
from floop_robot.spec.errors import FloopError, StorageError

T = TypeVar("T")


def _make_tables(connection: sqlite3.Connection) -> None:
    connection.executescript(f"{DDL} {ADDED_DDL} PRAGMA user_version = {SCHEMA_VERSION}")


CONTENT = Content(name="registry", tables=_make_tables, blobs=CHECKED_ALONE)


class RegistryFenced(FloopError):
    """A later writer took the registry over."""


def check_schema(path: Path, found: int) -> None:
    """Raise `StorageError` unless the registry has the schema of this floop."""
    if found not in READ_SCHEMAS:
        raise StorageError(
            f"registry {path} has schema {found}, but this floop uses {SCHEMA_VERSION}; "
            "choose another run_dir, or use the floop that wrote it"
        )


class Database:
    """The registry's file, open for writing by this process alone; belongs to the thread that opened it."""

    def __init__(self, path: Path) -> None:
        """Open or make the file and begin a new epoch; raises `LockHeld` or `StorageError`."""
        self.path = path
        cure = "stop that fleet manager first, or choose another run_dir"
        self._lock = ExclusiveLock(path.with_name(path.name + ".lock"), f"registry {path}", cure)
        try:
            with self._one_line():
                open_or_salvage(path, CONTENT, self._open)
        except BaseException:
            self._lock.release()
            raise

    def _open(self) -> None:
        self._connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            self._prepare()
            self.epoch = self._begin_epoch()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close file and lock."""
        self._connection.close()
        self._lock.release()

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: on disk when the outermost block ends, undone when it raises."""
        if self._connection.in_transaction:
            yield self._connection
            return
        with self._one_line():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._check_epoch()
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        """Answer a query."""
        with self._one_line():
            return self._connection.execute(query, parameters).fetchall()

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        # FULL: what was answered must survive a power cut; NORMAL lost acknowledged data in 371 of 700 crash images.
        self._connection.execute("PRAGMA synchronous = FULL")
        found = self._connection.execute("PRAGMA user_version").fetchone()[0]
        is_checked = found == SCHEMA_VERSION
        if found:
            check_schema(self.path, found)
            check_pages(self._connection, self.path, "registry", has_checksums=is_checked)
        # One transaction with all below: a killed process leaves all or none.
        self._connection.executescript(f"BEGIN IMMEDIATE; {'' if found else DDL} {ADDED_DDL}")
        if found == SCHEMA_BEFORE_HOLDS:
            keep_earlier_holds(self._connection)
        self.damage = keep_checksums(self._connection, self.path, is_checked)
        """What was damaged in the file, in words."""
        self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._connection.execute("COMMIT")
        self._connection.execute("PRAGMA foreign_keys = ON")

    def _begin_epoch(self) -> int:
        first = self._connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone() is None
        with self._transaction():
            epoch = 1 + last_epoch(self._connection) if first else self._stored_epoch() + 1
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('epoch', ?)", (epoch,))
        return epoch

    def begin_epoch_after(self, epoch: int) -> None:
        """Begin an epoch that is newer than `epoch` and than this one."""
        with self.writing() as connection:
            newer = max(epoch, self.epoch) + 1
            connection.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", (newer,))
        self.epoch = newer

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        yield
        self._connection.execute("COMMIT")

    def _stored_epoch(self) -> int:
        return int(self._connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()[0])

    def _check_epoch(self) -> None:
        # The lock keeps others out on one host; on file systems whose locks lie, the epoch does.
        stored = self._stored_epoch()
        if stored != self.epoch:
            raise RegistryFenced(
                f"registry {self.path} was taken over (epoch {stored}, this fleet manager has {self.epoch}); "
                "stop this one: only the later may write"
            )

    @contextlib.contextmanager
    def _one_line(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StorageError(
                f"registry {self.path}: {error}; check free space, permissions and that it is a registry"
            ) from error
        except OverflowError as error:
            raise StorageError(f"registry {self.path}: {error}; a number is larger than any row holds") from error


def encode(value: msgspec.Struct) -> bytes:
    """A struct as it lies in a row."""
    return pack(value)  # not JSON: verdicts hold NaN


def decode(raw: Any, kind: type[T]) -> T:
    """A struct from a row; raises `StorageError` when it is damaged."""
    try:
        return msgspec.msgpack.decode(raw, type=kind)
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise StorageError(f"the registry holds a damaged {kind.__name__} ({error}); restore a copy of it") from None


def integer(value: object) -> int:
    """A number from a row."""
    assert isinstance(value, int)
    return value
