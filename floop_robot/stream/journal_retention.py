"""JournalRetention: the oldest blocks leave the journal when it is too large or they are too old; a little each time.

The newest `KEPT_TRANSITIONS` always stay: a restarted learner rebuilds its replay from them. What gate and explorers
need of older blocks is in the journal's summary. Where that is more than the limit, the journal says so (`JournalUse`).
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Iterable

import msgspec

KEPT_TRANSITIONS = 250_000
"""Newest transitions that stay, whatever the limits: more than the learner's replay (`learn.learner.REPLAY_ROWS`)."""
STEP_BYTES = 4 * 2**20
"""Bytes that leave in one step, once a second: some 50 ms, in which no block is committed."""
SLACK = 0.01
"""Share of the limit by which it goes below it, so that it need not look at every block."""
LOG_BYTES, LOG_SHARE = 16 * 2**20, 0.2
"""What is left for the write-ahead log beside the pages, at most this share of the limit."""
FREE_BYTES = 64 * 2**20
"""Free pages beyond these are given back to the disk; the others are used again."""
MAX_STREAMS = 100_000
"""Streams that are known although their blocks have left, so that nothing of theirs is taken in twice."""
_LOOKED_AT = 4096
"""Oldest stamped blocks whose age counts: those that came while the clock was ahead tell none."""
_ROWS_AT_ONCE = 1024
RUN_TRANSITIONS = 1000


class JournalLimits(msgspec.Struct, frozen=True):
    """How much is kept."""

    max_bytes: float = 20e9
    max_age_s: float = 30 * 86400.0
    kept_transitions: int = KEPT_TRANSITIONS
    """Newest ones that stay, whatever the other limits."""


class JournalUse(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal uses, and what left it."""

    bytes: int
    """Of its pages in use."""
    oldest_ns: int
    """When the oldest block came, wall clock; 0 in an empty journal."""
    removed_blocks: int
    removed_records: int
    needed: bool
    """Whether it is beyond its limits because what is left is needed."""


class _Run(msgspec.Struct):
    """Blocks in a row."""

    first: int
    transitions: int = 0


class JournalRetention:
    """Works on the writer's connection; feed it every block and call `step` when it is due."""

    def __init__(self, db: sqlite3.Connection, limits: JournalLimits) -> None:
        self._db, self._limits = db, limits
        self._recent: deque[_Run] = deque()
        """The newest runs of blocks that together hold the transitions that stay."""
        self._transitions = 0
        for number, rows in db.execute("SELECT id, transitions FROM blocks ORDER BY id DESC"):
            if not self._recent or self._recent[0].transitions >= RUN_TRANSITIONS:
                self._recent.appendleft(_Run(number))
            self._recent[0].first = number
            self._recent[0].transitions += rows
            self._transitions += rows
            if self._transitions >= limits.kept_transitions:
                break
        self._needed = _meta(db, "needed")
        self._stamped = 0
        """No block before this id has a stamp: the clock was not set when they came."""

    def note(self, number: int, transitions: int) -> None:
        """A block was stored."""
        if not self._recent or self._recent[-1].transitions >= RUN_TRANSITIONS:
            self._recent.append(_Run(number))
        self._recent[-1].transitions += transitions
        self._transitions += transitions
        while (
            len(self._recent) > 1 and self._transitions - self._recent[0].transitions >= self._limits.kept_transitions
        ):
            self._transitions -= self._recent.popleft().transitions

    @property
    def first_needed(self) -> int:
        """Id of the oldest block that must stay."""
        return self._recent[0].first if self._recent else 1

    def is_due(self, now_ns: int) -> bool:
        """Whether a step has something to do."""
        is_over = self._excess() > 0 or self._is_old(now_ns)
        return (is_over if self._has_removable() else is_over != bool(self._needed)) or self._free() > FREE_BYTES

    def step(self, now_ns: int) -> int:
        """Remove the oldest blocks, at most about `STEP_BYTES` of them; returns how many. Raises `sqlite3.Error`."""
        removed = self._remove(now_ns)
        if self._free() > FREE_BYTES:
            # As a script: `execute` takes one step, which is one page.
            self._db.executescript(f"PRAGMA incremental_vacuum({STEP_BYTES // self._page_size()})")
        needed = int(not self._has_removable() and (self._excess() > 0 or self._is_old(now_ns)))
        if needed != self._needed:
            self._needed = needed
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('needed', ?)", (str(needed),))
        return removed

    def _remove(self, now_ns: int) -> int:
        last, count, records, wanted = 0, 0, 0, self._excess()
        wanted = min(wanted + self._limits.max_bytes * SLACK, STEP_BYTES) if wanted > 0 else 0.0
        oldest_ns, streams, age = now_ns - self._limits.max_age_s * 1e9, dict[tuple[str, str], int](), 0
        has_old = self._is_old(now_ns)
        query = (
            "SELECT id, robot, boot_id, first_seq, end_seq, stamp_ns, length(payload) FROM blocks WHERE id < ? "
            f"ORDER BY id LIMIT {_ROWS_AT_ONCE}"
        )
        for number, robot, boot, first, end, stamp_ns, size in self._db.execute(query, (self.first_needed,)):
            is_old = has_old and (stamp_ns < oldest_ns or stamp_ns > now_ns)
            if wanted <= 0 and (not is_old or age >= STEP_BYTES):
                break
            last, count, records, wanted, age = number, count + 1, records + end - first, wanted - size, age + size
            streams[robot, boot] = end
        if not count:
            return 0
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for key, end in streams.items():
                self._db.execute("UPDATE streams SET first_seq = ? WHERE robot = ? AND boot_id = ?", (end, *key))
                gone = "DELETE FROM gaps WHERE robot = ? AND boot_id = ? AND end_seq <= ?"
                self._db.execute(gone, (*key, end))
            self._db.execute("DELETE FROM blocks WHERE id <= ?", (last,))
            self._forget(streams)
            for name, more in (("removed_blocks", count), ("removed_records", records)):
                total = str(_meta(self._db, name) + more)
                self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, total))
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        return count

    def _forget(self, keys: Iterable[tuple[str, str]]) -> None:
        """Streams without any block left go where there are too many: a stranger may make up boots."""
        if int(self._db.execute("SELECT count(*) FROM streams").fetchone()[0]) <= MAX_STREAMS:
            return
        for key in keys:
            query = "SELECT 1 FROM blocks WHERE robot = ? AND boot_id = ? LIMIT 1"
            if self._db.execute(query, key).fetchone() is None:
                for table in ("streams", "tails"):
                    self._db.execute(f"DELETE FROM {table} WHERE robot = ? AND boot_id = ?", key)

    def _has_removable(self) -> bool:
        return (
            self._db.execute("SELECT 1 FROM blocks WHERE id < ? LIMIT 1", (self.first_needed,)).fetchone() is not None
        )

    def _excess(self) -> float:
        log_bytes = min(LOG_BYTES, LOG_SHARE * self._limits.max_bytes)
        return _used_bytes(self._db) + log_bytes - self._limits.max_bytes

    def _is_old(self, now_ns: int) -> bool:
        """By the oldest blocks that have a stamp; those before them tell no age, and go with them.

        While the newest block lies in the future, the clock is behind: then nothing is called old.
        """
        newest = self._db.execute("SELECT id, stamp_ns FROM blocks ORDER BY id DESC LIMIT 1").fetchone()
        if newest is None or newest[1] > now_ns or now_ns <= 0:
            return False
        query = "SELECT id, stamp_ns FROM blocks WHERE id >= ? AND stamp_ns > 0 ORDER BY id LIMIT ?"
        found = self._db.execute(query, (self._stamped, _LOOKED_AT)).fetchall()
        self._stamped = found[0][0] if found else newest[0]
        oldest = min((stamp_ns for _, stamp_ns in found if stamp_ns <= now_ns), default=now_ns)
        return bool(oldest < now_ns - self._limits.max_age_s * 1e9)

    def _free(self) -> int:
        is_shrinkable = _pragma(self._db, "auto_vacuum") == 2  # not of files that an older floop made
        return _pragma(self._db, "freelist_count") * self._page_size() if is_shrinkable else 0

    def _page_size(self) -> int:
        return _pragma(self._db, "page_size")


def journal_use(db: sqlite3.Connection) -> JournalUse:
    """What the journal behind a connection uses; takes no longer in a large one."""
    return JournalUse(
        bytes=_used_bytes(db),
        oldest_ns=_oldest_ns(db),
        removed_blocks=_meta(db, "removed_blocks"),
        removed_records=_meta(db, "removed_records"),
        needed=bool(_meta(db, "needed")),
    )


def _used_bytes(db: sqlite3.Connection) -> int:
    return (_pragma(db, "page_count") - _pragma(db, "freelist_count")) * _pragma(db, "page_size")


def _oldest_ns(db: sqlite3.Connection) -> int:
    row = db.execute("SELECT stamp_ns FROM blocks ORDER BY id LIMIT 1").fetchone()
    return int(row[0]) if row else 0


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _meta(db: sqlite3.Connection, name: str) -> int:
    row = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row else 0
