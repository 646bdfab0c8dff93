"""JournalSummary: what the blocks of the journal say of the fleet, stored beside them.

Who starts begins with it and reads the few blocks that came after, instead of all history.
"""

from __future__ import annotations

import logging
import sqlite3

import msgspec

from floop_robot.durable.framing import deframe, frame, pack
from floop_robot.monitor.fleet_summary import FleetSummary, SummaryDamaged
from floop_robot.stream.codec import Block

log = logging.getLogger(__name__)

STORE_S = 30.0
"""How often a changed summary is stored: what came since is read again at a start."""
STORE_BLOCKS = 10_000
"""Blocks after which it is stored although nothing changed: readers begin behind them."""
SUMMARY_TABLE = """
CREATE TABLE IF NOT EXISTS summary (one INTEGER PRIMARY KEY CHECK (one = 1), stored BLOB NOT NULL);
"""


class StoredSummary(msgspec.Struct, frozen=True):
    """A summary as it lies in the journal, in a frame."""

    through: int = 0
    """Id of the last block that it holds; 0 for none."""
    recent_after: int = 0
    """Id after which the newest transitions lie (`journal_retention.KEPT_TRANSITIONS`)."""
    state: bytes = b""
    """`FleetSummary.to_bytes`; empty for none."""


class JournalSummary:
    """The writer's summary; it lives on the writer's connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db, self._now, self.through = db, FleetSummary(), 0
        try:
            stored = read_summary(db)
            if stored.state:
                self._now, self.through = FleetSummary.from_bytes(stored.state), stored.through
        except SummaryDamaged as error:
            log.warning("%s; it is made again from the blocks that are there", error)
        self._stored_changes, self._due_s = self._now.changes, 0.0

    def take(self, block: Block) -> None:
        """Take in a block that was stored."""
        self._now.take(block.info, block.ends, block.labels, block.events)

    def store_if_due(self, head: int, first_needed: int, now_s: float) -> None:
        """Store it when something changed and the last time was `STORE_S` ago; raises `sqlite3.Error`."""
        is_changed = self._now.changes != self._stored_changes or head > self.through + STORE_BLOCKS
        if now_s >= self._due_s and is_changed:
            self.store(head, first_needed, now_s)

    def store(self, head: int, first_needed: int, now_s: float) -> None:
        """Store what all blocks up to `head` say; raises `sqlite3.Error`."""
        if head == self.through:
            return
        stored = StoredSummary(head, first_needed - 1, self._now.to_bytes())
        self._db.execute("INSERT OR REPLACE INTO summary VALUES (1, ?)", (frame(pack(stored)),))
        self.through, self._stored_changes, self._due_s = head, self._now.changes, now_s + STORE_S


def read_summary(db: sqlite3.Connection) -> StoredSummary:
    """The stored summary; empty when there is none. Raises `SummaryDamaged` or `sqlite3.Error`."""
    known = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'summary'").fetchone()
    row = db.execute("SELECT stored FROM summary").fetchone() if known else None
    if row is None:
        return StoredSummary()
    body = deframe(row[0]) if isinstance(row[0], bytes) else None
    if body is None:
        raise SummaryDamaged("the journal's summary failed its CRC")
    try:
        return msgspec.msgpack.decode(body, type=StoredSummary)
    except msgspec.MsgspecError as error:
        raise SummaryDamaged(f"the journal's summary is of another floop ({error})") from None
