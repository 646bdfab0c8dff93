"""Journal: every record of the fleet, in SQLite; the high-water mark of a stream moves in the same transaction.

WAL with synchronous=FULL: a commit that returned survives a power cut. SQLite does not notice flipped bits in a row, so
every row carries a CRC. It continues the CRC of its block over what the row adds, so a block is summed only once.
One process writes (ingest); everyone else asks the tail server.

Its size and age are bounded (`journal_retention.py`). What gate and explorers need of old blocks is in a summary
(`journal_summary.py`), and the newest block always stays, so ids never begin again.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from floop_robot.durable.commit_mark import CommitMark, LastCommit
from floop_robot.durable.locks import ExclusiveLock
from floop_robot.durable.sqlite_check import check_pages
from floop_robot.durable.sqlite_salvage import Content, is_damage, open_or_salvage, salvage
from floop_robot.spec.errors import StorageError
from floop_robot.spec.records import Source
from floop_robot.spec.wall_clock import wall_clock_ns
from floop_robot.stream.codec import (
    Block,
    BlockRefused,
    RecordKind,
    decode_block,
    stored_crc,
)
from floop_robot.stream.journal_damage import OWN_CHECKSUM, keep_checksums, restore_streams
from floop_robot.stream.journal_reader import JournalReader, block_crc, checked_block, newest_id, unusable
from floop_robot.stream.journal_retention import JournalLimits, JournalRetention
from floop_robot.stream.journal_summary import SUMMARY_TABLE, JournalSummary
from floop_robot.stream.messages import SentBlock
from floop_robot.stream.receiver_stream import Mark
from floop_robot.stream.sent_crcs import TABLES, SentCrcs

log = logging.getLogger(__name__)

JOURNAL_FILE = "journal.sqlite"
"""Its name in the run directory."""
SCHEMA = 3
"""Rises when tables change. 2 had no checksums of rows other than blocks."""
READ_SCHEMAS = ("2", str(SCHEMA))
"""Those that are read; ingest turns them into the newest."""
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS streams (
    robot TEXT, boot_id TEXT, first_seq INTEGER NOT NULL, next_seq INTEGER NOT NULL,
    PRIMARY KEY (robot, boot_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gaps (
    robot TEXT, boot_id TEXT, first_seq INTEGER, end_seq INTEGER, stamp_ns INTEGER NOT NULL,
    PRIMARY KEY (robot, boot_id, first_seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blocks (
    id INTEGER PRIMARY KEY, robot TEXT NOT NULL, boot_id TEXT NOT NULL, first_seq INTEGER NOT NULL,
    end_seq INTEGER NOT NULL, kinds INTEGER NOT NULL, source INTEGER NOT NULL, transitions INTEGER NOT NULL,
    stamp_ns INTEGER NOT NULL, crc INTEGER NOT NULL, payload BLOB NOT NULL,
    UNIQUE (robot, boot_id, first_seq));
"""
_ALL_TABLES = _TABLES + SUMMARY_TABLE + TABLES
MAINTAIN_S = 1.0
"""How often it looks whether old blocks must go."""
_CATCH_UP_BLOCKS = 256


class JournalReplaced(Exception):
    """The journal is another file now, or has to become one: whoever has it open must end and begin again."""


class JournalEntry(msgspec.Struct, frozen=True):
    """A block to append: decoded for the facts of its row, and as the bytes that are stored."""

    block: Block
    payload: bytes
    sent_crc: int = 0
    """CRC of the block as it was sent, if it was another one; 0: that of `payload`."""


def _make_tables(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.executescript(_ALL_TABLES)


def _is_sound(table: str, row: tuple[object, ...]) -> bool:
    return table != "blocks" or checked_block(row).payload is not None


CONTENT = Content(
    name="journal", tables=_make_tables, unchecked=OWN_CHECKSUM, is_sound=_is_sound, finish=restore_streams
)


class Journal:
    """The writing side; raises `StorageError` when the file can't be used."""

    def __init__(self, path: Path, limits: JournalLimits | None = None) -> None:
        self.path = path
        cure = "stop that ingest, or use another run_dir"
        self._lock = ExclusiveLock(path.with_suffix(".lock"), f"journal {path}", cure)
        try:
            self._limits = limits or JournalLimits()
            open_or_salvage(path, CONTENT, self._open)
        except (sqlite3.Error, OSError) as error:
            self._lock.release()
            raise unusable(path, error) from None
        except StorageError:
            self._lock.release()
            raise

    def _open(self) -> None:
        self._db = sqlite3.connect(self.path, isolation_level=None)
        try:
            self._begin()
        except BaseException:
            self._db.close()
            raise

    def _begin(self) -> None:
        self.id = self._prepare()
        """Identity of this journal: block ids of another one mean nothing here."""
        self.head = newest_id(self._db)
        """Id of the newest block."""
        self._mark = CommitMark(self.path.with_suffix(".mark"), self.id)
        self._note_lost_blocks(self._mark.load())
        self._retention = JournalRetention(self._db, self._limits)
        self._summary = JournalSummary(self._db)
        self._catch_up()
        self._due_s = 0.0

    def high_water_mark(self, robot: str, boot_id: str) -> int | None:
        """High-water mark of a stream: one past its newest key; None for a stream never seen."""
        query = "SELECT next_seq FROM streams WHERE robot = ? AND boot_id = ?"
        row = self._db.execute(query, (robot, boot_id)).fetchone()
        return int(row[0]) if row else None

    def mark(self, robot: str, boot_id: str) -> Mark | None:
        """How far a stream is stored; None for one never seen."""
        end = self.high_water_mark(robot, boot_id)
        return None if end is None else Mark(end, self._sent.tail(robot, boot_id))

    def agreed(self, robot: str, boot_id: str, blocks: Sequence[SentBlock]) -> int:
        """One past the last key up to which these blocks of a sender are stored as it sent them."""
        return self._sent.agreed(robot, boot_id, blocks)

    def append(self, entries: Sequence[JournalEntry]) -> None:
        """Commit blocks and marks, all or none.

        Raises `StorageError` when the disk does not take them, and `JournalReplaced`.
        """
        stamp_ns, head = wall_clock_ns(), self.head
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for entry in entries:
                    head += 1
                    self._insert(head, entry, stamp_ns)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._failure(error) from None
        for number, entry in enumerate(entries, self.head + 1):
            self._summary.take(entry.block)
            self._retention.note(number, entry.block.rows)
        self.head = head
        self._mark.store(head)

    def maintain(self) -> None:
        """Now and then: store the summary, and remove what is beyond the limits; a little each time.

        Raises `StorageError` when the disk does not take it, and `JournalReplaced`.
        """
        now = time.monotonic()
        if now < self._due_s:
            return
        self._due_s = now + MAINTAIN_S
        try:
            self._summary.store_if_due(self.head, self._retention.first_needed, now)
            now_ns = wall_clock_ns()
            if self._retention.is_due(now_ns):
                self._summary.store(
                    self.head, self._retention.first_needed, now
                )  # first: what it does not hold yet must not go
                self._retention.step(now_ns)
        except sqlite3.Error as error:
            raise self._failure(error) from None

    def _failure(self, error: sqlite3.Error) -> Exception:
        """What to raise; a page that cannot be read would stop writing, or the removal of old blocks, for good."""
        if not is_damage(error):
            return unusable(self.path, error)
        log.error("journal %s is damaged (%s); what is sound is copied into a new file", self.path, error)
        self._db.close()
        try:
            salvage(self.path, CONTENT)
        except (sqlite3.Error, OSError, StorageError) as failed:  # as on a full disk; the next start tries it again
            reason = failed if isinstance(failed, StorageError) else unusable(self.path, failed)
            return JournalReplaced(f"what is sound of a damaged journal could not be copied: {reason}")
        return JournalReplaced(f"journal {self.path} was damaged and is another file now; ingest begins again")

    def _catch_up(self) -> None:
        """Take blocks into the summary that were stored after it."""
        reader = JournalReader(self.path)
        try:
            kinds = RecordKind.EPISODE_END | RecordKind.LABEL | RecordKind.EVENT
            position, sources = self._summary.through, (Source.ROBOT, Source.FITTER)
            while position < self.head:
                rows, position = reader.read(position, _CATCH_UP_BLOCKS, 2**24, kinds, sources)
                for row in rows:
                    if row.payload is not None:
                        with contextlib.suppress(BlockRefused):
                            self._summary.take(decode_block(row.payload))
        finally:
            reader.close()

    def close(self) -> None:
        """Store the summary, fold the write-ahead log in and release the file."""
        with contextlib.suppress(sqlite3.Error):  # it is made again from the blocks
            self._summary.store(self.head, self._retention.first_needed, time.monotonic())
        self._db.close()
        self._mark.close()
        self._lock.release()

    def _note_lost_blocks(self, mark: LastCommit) -> None:
        """Blocks up to the mark were stored: say what is lost of them, and give no new block the id of one of these."""
        if mark.database != self.id:
            if mark.number and not self.head:
                log.error(
                    "journal %s is new: the one before, with %d blocks, was emptied or removed; "
                    "`floop restore` brings a copy back",
                    self.path,
                    mark.number,
                )
            return
        if mark.number <= self.head:
            return
        log.error(
            "journal %s has lost blocks %d to %d: its write-ahead log was damaged, or an older copy is in its place; "
            "robots that still have these records send them again",
            self.path,
            self.head + 1,
            mark.number,
        )
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('lost_to', ?)", (str(mark.number),))
        self.head = mark.number

    def _prepare(self) -> str:
        self._db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a new file: it can shrink
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        schema = self._schema()
        if schema is not None:
            check_pages(self._db, self.path, "journal", has_checksums=schema == str(SCHEMA))
        self._db.executescript(f"BEGIN IMMEDIATE; {_ALL_TABLES}")  # and all below: a killed process leaves all or none
        self._sent = SentCrcs(self._db)
        keep_checksums(self._db, self.path, is_checked=schema == str(SCHEMA))
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('schema', ?)", (str(SCHEMA),))
        self._db.execute("INSERT OR IGNORE INTO meta VALUES ('id', ?)", (secrets.token_hex(8),))
        self._db.execute("COMMIT")
        return str(self._db.execute("SELECT value FROM meta WHERE name = 'id'").fetchone()[0])

    def _schema(self) -> str | None:
        """The schema of the file; None for a new one. Raises `StorageError` for one that is not read."""
        if self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone() is None:
            return None
        row = self._db.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
        if row is not None and row[0] not in READ_SCHEMAS:
            raise StorageError(
                f"journal {self.path} was written by another floop (schema {row[0]}, this one reads {SCHEMA}); "
                "use that floop, or choose another run_dir"
            )
        return str(SCHEMA) if row is None else str(row[0])

    def _insert(self, number: int, entry: JournalEntry, stamp_ns: int) -> None:
        block, key = entry.block, (entry.block.info.robot, entry.block.info.boot_id)
        mark = self.high_water_mark(*key)
        if mark is None:
            self._db.execute("INSERT INTO streams VALUES (?, ?, ?, ?)", (*key, block.first_seq, block.end_seq))
        elif block.first_seq < mark:
            raise ValueError(f"block {key} {block.first_seq} lies below the mark {mark}")
        else:
            if block.first_seq > mark:
                self._db.execute("INSERT INTO gaps VALUES (?, ?, ?, ?, ?)", (*key, mark, block.first_seq, stamp_ns))
            move = "UPDATE streams SET next_seq = ? WHERE robot = ? AND boot_id = ?"
            self._db.execute(move, (block.end_seq, *key))
        rows = 0 if block.transitions is None else len(block.transitions)
        facts = (*key, block.first_seq, block.end_seq, int(block.kinds), int(block.info.source), rows, stamp_ns)
        values = (number, *facts, block_crc(number, facts, stored_crc(entry.payload)), entry.payload)
        self._db.execute("INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        self._sent.store(*key, block.first_seq, entry.payload, entry.sent_crc or stored_crc(entry.payload))
