"""SentCrcs: the CRCs of blocks as their senders sent them, by which a sender knows its own records again.

A block in the journal carries its CRC, so only two kinds are written down: the last one of each stream, which outlives
its block, and those that ingest changed because rows were out of range.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from floop_robot.stream.codec import HEADER_BYTES, stored_crc
from floop_robot.stream.messages import SentBlock

TABLES = """
CREATE TABLE IF NOT EXISTS tails (
    robot TEXT NOT NULL, boot_id TEXT NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (robot, boot_id));
CREATE TABLE IF NOT EXISTS altered (
    id INTEGER PRIMARY KEY, robot TEXT NOT NULL, boot_id TEXT NOT NULL, first_seq INTEGER NOT NULL,
    crc INTEGER NOT NULL, UNIQUE (robot, boot_id, first_seq));
"""
MAX_ALTERED = 100_000
"""Changed blocks that are remembered, the oldest go first: a robot that sends only such ones must not fill the disk."""


class SentCrcs:
    """Reads and writes through the journal's connection, within its transactions."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def store(self, robot: str, boot_id: str, first_seq: int, payload: bytes, sent_crc: int) -> None:
        """The block `payload` is stored, and was sent with `sent_crc`."""
        tail = "INSERT INTO tails VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET crc = excluded.crc"
        self._db.execute(tail, (robot, boot_id, sent_crc))
        if sent_crc == stored_crc(payload):
            return
        added = self._db.execute(
            "INSERT OR REPLACE INTO altered (robot, boot_id, first_seq, crc) VALUES (?, ?, ?, ?)",
            (robot, boot_id, first_seq, sent_crc),
        )
        self._db.execute("DELETE FROM altered WHERE id <= ?", ((added.lastrowid or 0) - MAX_ALTERED,))

    def tail(self, robot: str, boot_id: str) -> int:
        """CRC of the newest block of a stream; 0 when it is not known."""
        row = self._db.execute("SELECT crc FROM tails WHERE robot = ? AND boot_id = ?", (robot, boot_id)).fetchone()
        if row:
            return int(row[0])
        row = self._db.execute(  # written by an earlier floop
            f"SELECT substr(payload, 1, {HEADER_BYTES}) FROM blocks WHERE robot = ? AND boot_id = ? "
            "ORDER BY first_seq DESC LIMIT 1",
            (robot, boot_id),
        ).fetchone()
        return stored_crc(row[0]) if row and isinstance(row[0], bytes) else 0

    def agreed(self, robot: str, boot_id: str, blocks: Sequence[SentBlock]) -> int:
        """One past the last key up to which these blocks, in this order, are stored just as they were sent."""
        agreed_seq = blocks[0].first_seq
        for block in blocks:
            if not self._has(robot, boot_id, block):
                break
            agreed_seq = block.end_seq
        return agreed_seq

    def _has(self, robot: str, boot_id: str, block: SentBlock) -> bool:
        key = robot, boot_id, block.first_seq
        row = self._db.execute(
            f"SELECT end_seq, substr(payload, 1, {HEADER_BYTES}) FROM blocks "
            "WHERE robot = ? AND boot_id = ? AND first_seq = ?",
            key,
        ).fetchone()
        if row is None or row[0] != block.end_seq or not isinstance(row[1], bytes):
            return False
        query = "SELECT crc FROM altered WHERE robot = ? AND boot_id = ? AND first_seq = ?"
        altered = self._db.execute(query, key).fetchone()
        return block.crc == (int(altered[0]) if altered else stored_crc(row[1]))
