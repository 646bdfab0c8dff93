"""Reading of a journal beside its writer: blocks, marks, summary, and the audit of all of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from floop_robot.durable.framing import checksum, pack
from floop_robot.durable.sqlite_salvage import is_damage, step_over
from floop_robot.monitor.fleet_summary import SummaryDamaged
from floop_robot.spec.bounds import MAX_INT
from floop_robot.spec.errors import StorageError
from floop_robot.spec.records import Source
from floop_robot.stream.codec import (
    BlockDamaged,
    RecordKind,
    check_block,
)
from floop_robot.stream.journal_retention import JournalUse, journal_use
from floop_robot.stream.journal_summary import StoredSummary, read_summary

MAX_SCANNED = 10_000
"""Blocks that one reading looks through: a few tens of megabytes."""


class StoredBlock(msgspec.Struct, frozen=True):
    """A block as it is read back; `payload` is None when its CRC failed."""

    id: int
    payload: bytes | None


class JournalAudit(msgspec.Struct, frozen=True, kw_only=True):
    """What the journal holds, and whether anything is missing in it or in it twice."""

    blocks: int
    records: int
    lost: int
    """Keys that are missing between the first and the mark of a stream."""
    doubled: int
    """Keys that are there more than once."""
    damaged: int
    """Blocks whose CRC failed."""
    streams: int
    transitions_by_source: dict[str, int]
    """Transitions by name of `Source`."""

    @property
    def is_sound(self) -> bool:
        """Nothing lost, doubled or damaged."""
        return self.lost == self.doubled == self.damaged == 0


class JournalReader:
    """A reading connection beside the writer, in the same process; for one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            uri = f"{path.absolute().as_uri()}?mode=ro"
            self._db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise unusable(path, error) from None
        self._db.text_factory = lambda text: text.decode(errors="replace")  # a flipped bit must not end the reading

    def read(
        self,
        after: int,
        max_blocks: int,
        max_bytes: int,
        kinds: RecordKind = RecordKind.ALL,
        sources: Sequence[int] = (),
    ) -> tuple[list[StoredBlock], int]:
        """Blocks with an id above `after` that hold one of `kinds` and come from one of `sources` (empty: all).

        It looks through `MAX_SCANNED` blocks at most, so that a filter that fits none does not hold others up.
        Returns them with the id up to which the journal was looked through. Raises `StorageError` for a damaged file,
        or one that ends before `after`, so that blocks read before are no longer in it.
        """
        last = max(after, self.first_id() - 1) + MAX_SCANNED
        where, arguments = "id > ? AND id <= ? AND kinds & ? != 0", [after, last, int(kinds)]
        if sources:
            where += f" AND source IN ({', '.join('?' * len(sources))})"
            arguments += sources
        rows: list[StoredBlock] = []
        size, through = 0, after
        try:
            head = newest_id(self._db)
            for row in self._db.execute(f"SELECT * FROM blocks WHERE {where} ORDER BY id", arguments):
                found = checked_block(row)
                length = len(found.payload or b"")
                if len(rows) >= max_blocks or (rows and size + length > max_bytes):
                    return rows, through
                through = found.id
                rows.append(found)
                size += length
        except sqlite3.Error as error:
            if is_damage(error):  # of a page: what lies before and behind it is sound
                return (rows, through) if rows else ([StoredBlock(after + 1, None)], self._behind(after, error))
            raise unusable(self._path, error) from None
        if head < after:
            raise StorageError(f"journal {self._path} ends at block {head}, before {after}: restored from a backup?")
        return rows, max(through, min(head, last))

    def _behind(self, after: int, error: sqlite3.Error) -> int:
        """An id behind the blocks that cannot be read, from which reading goes on; raises `StorageError` for none."""
        tries = 0
        while (after := after + step_over(tries)) < MAX_INT:
            try:
                if self._db.execute("SELECT * FROM blocks WHERE id > ? LIMIT 1", (after,)).fetchone() is None:
                    break
                return after
            except sqlite3.DatabaseError:
                tries += 1
        raise unusable(self._path, error) from None

    def first_id(self) -> int:
        """Id of the oldest block that is still there; 1 in an empty journal."""
        return int(next(self._ask("SELECT coalesce(min(id), 1) FROM blocks"))[0])

    def summary(self) -> StoredSummary:
        """What the blocks up to one of them say of the fleet; empty before the first."""
        try:
            return read_summary(self._db)
        except sqlite3.Error as error:
            raise unusable(self._path, error) from None
        except SummaryDamaged as error:
            raise StorageError(f"{error}; ingest makes it again at its next start") from None

    def use(self) -> JournalUse:
        """How much of the disk it uses, and what was removed."""
        try:
            return journal_use(self._db)
        except sqlite3.Error as error:
            raise unusable(self._path, error) from None

    def high_water_marks(self) -> dict[tuple[str, str], int]:
        """One past the newest key of each stream, by (robot, boot_id)."""
        found = self._ask("SELECT robot, boot_id, next_seq FROM streams")
        return {(robot, boot_id): next_seq for robot, boot_id, next_seq in found}

    def audit(self, gives_up: Callable[[], bool] = lambda: False) -> JournalAudit:
        """Walk the whole journal: every CRC, every key. Raises `StorageError`, also when it `gives_up`."""
        blocks = records = lost = doubled = damaged = 0
        by_source = dict.fromkeys(Source, 0)
        streams = {(robot, boot): (first, mark) for robot, boot, first, mark in self._ask("SELECT * FROM streams")}
        seen = {key: first for key, (first, _) in streams.items()}
        for row, *key, first, end, source, transitions in self._facts():
            blocks += 1
            if gives_up():
                raise StorageError(f"journal {self._path}: the audit was ended")
            if row.payload is None:  # nothing in it can be trusted; its keys count as lost
                damaged += 1
                continue
            records += end - first
            by_source[Source(source)] += transitions
            mark = seen.get((key[0], key[1]), first)
            lost += max(0, first - mark)
            doubled += max(0, min(mark, end) - first)
            seen[key[0], key[1]] = max(mark, end)
        lost += sum(max(0, mark - seen[key]) for key, (_, mark) in streams.items())
        return JournalAudit(
            blocks=blocks,
            records=records,
            lost=lost,
            doubled=doubled,
            damaged=damaged,
            streams=len(streams),
            transitions_by_source={source.name.lower(): count for source, count in by_source.items()},
        )

    def interrupt(self) -> None:
        """End a reading that is under way with a `StorageError`; from any thread."""
        self._db.interrupt()

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def _facts(self) -> Iterator[tuple[StoredBlock, str, str, int, int, int, int]]:
        for row in self._ask("SELECT * FROM blocks ORDER BY robot, boot_id, first_seq"):
            yield checked_block(row), *row[1:5], row[6], row[7]

    def _ask(self, query: str) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._db.execute(query)
        except sqlite3.Error as error:
            raise unusable(self._path, error) from None


def newest_id(db: sqlite3.Connection) -> int:
    """Id of the newest block that was ever stored, as far as is known; 0 in an empty journal."""
    query = (
        "SELECT max((SELECT coalesce(max(id), 0) FROM blocks), "
        "coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'lost_to'), 0))"
    )
    return int(db.execute(query).fetchone()[0])


def block_crc(number: int, facts: tuple[object, ...], before: int) -> int:
    """The CRC of a row of `blocks`: it continues the one of its block."""
    return checksum(pack((number, *facts)), before)


def checked_block(row: tuple[Any, ...]) -> StoredBlock:
    """A row of `blocks`, its CRC compared."""
    number, *facts, crc, payload = row
    try:
        is_sound = isinstance(payload, bytes) and block_crc(number, tuple(facts), check_block(payload).crc) == crc
    except (BlockDamaged, OverflowError):  # a damaged number may be larger than any
        is_sound = False
    return StoredBlock(number, payload if is_sound else None)


def unusable(path: Path, error: Exception) -> StorageError:
    """An error of SQLite or the disk in one line."""
    reason = error.strerror if isinstance(error, OSError) else error
    return StorageError(f"journal {path}: {reason}; check free space and permissions, or move a damaged file away")
