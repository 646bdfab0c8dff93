"""RegistryRetention: single episodes, labels and candidates leave the registry when they are old, or it is too large.

Tallies, versions, commands and confirmations stay: what was counted is in the summary. So nothing that an operator or a
monitor asks for depends on an episode that left.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import msgspec

from floop_robot.deploy.registry.database import Database, decode, integer
from floop_robot.deploy.registry.records import CandidateInfo, CandidateState, LiveEpisode
from floop_robot.durable.framing import pack
from floop_robot.spec.errors import StorageError

KEPT_EPISODES = 10_000
"""Newest episodes that stay, whatever the limits: a person may still judge them again."""
STEP_ROWS = 2000
"""Episodes that leave at a time: some 30 ms, in which no request is answered."""
MAINTAIN_NS = 2 * 10**9
"""How often it looks, wall clock."""
LOG_BYTES, LOG_SHARE = 16 * 2**20, 0.2
"""What is left for the write-ahead log beside the pages, at most this share of the limit."""
MAX_LABELS = 200_000
"""Labels that stay: those on episodes that never came are older than all others at some time."""
_FINISHED = (CandidateState.REJECTED, CandidateState.INCONCLUSIVE, CandidateState.STALE, CandidateState.SUPERSEDED)


class RegistryLimits(msgspec.Struct, frozen=True):
    """How much is kept."""

    max_bytes: float = 5e9
    max_age_s: float = 90 * 86400.0


class RegistryUse(msgspec.Struct, frozen=True):
    """What a registry uses."""

    bytes: int
    """Of its pages in use."""
    needed: bool
    """Whether it is beyond its limit because what is left stays."""


class RegistryRetention:
    """Part of the registry, under the same lock."""

    def __init__(self, database: Database, limits: RegistryLimits) -> None:
        self._database, self._limits, self._due_ns = database, limits, 0

    def maintain(self, now_ns: int) -> None:
        """Remove some of what is beyond the limits, if it is time to look; raises `StorageError`."""
        if now_ns < self._due_ns:
            return
        self._due_ns = now_ns + MAINTAIN_NS
        oldest_ns = round(now_ns - self._limits.max_age_s * 1e9)
        log_bytes = min(LOG_BYTES, LOG_SHARE * self._limits.max_bytes)
        is_large = self._used() + log_bytes > self._limits.max_bytes
        removed = self._remove_episodes(oldest_ns, is_large) + self._remove_candidates(oldest_ns, is_large)
        needed = int(is_large and not removed)
        if needed != integer(self._meta("needed", 0)):
            with self._database.writing() as connection:
                connection.execute("INSERT OR REPLACE INTO meta VALUES ('needed', ?)", (needed,))

    def removed_candidates(self) -> dict[tuple[str, str], int]:
        """How many candidates left, by state and verdict."""
        stored = self._meta("removed_candidates", b"")
        found = msgspec.msgpack.decode(stored, type=dict[str, int]) if isinstance(stored, bytes) and stored else {}
        return {(key.split("|")[0], key.split("|")[1]): count for key, count in found.items()}

    def _remove_episodes(self, oldest_ns: int, is_large: bool) -> int:
        query = "SELECT COALESCE(MAX(rowid), 0), (SELECT COALESCE(MAX(through), 0) FROM summary) FROM episodes"
        newest, through = map(integer, self._database.rows(query)[0])
        last = min(newest - KEPT_EPISODES, through)
        query = "SELECT rowid, robot, boot_id, episode, info FROM episodes WHERE rowid <= ? ORDER BY rowid LIMIT ?"
        rows = self._database.rows(query, last, STEP_ROWS if is_large else 1)
        if not rows or not (is_large or decode(rows[0][4], LiveEpisode).observed_ns < oldest_ns):
            return 0
        if not is_large:
            rows = self._database.rows(query, last, STEP_ROWS)
            rows = [row for row in rows if decode(row[4], LiveEpisode).observed_ns < oldest_ns]
        with self._database.writing() as connection:
            connection.execute("DELETE FROM episodes WHERE rowid <= ?", (rows[-1][0],))
            labels = "DELETE FROM labels WHERE robot = ? AND episode_boot_id = ? AND episode = ?"
            connection.executemany(labels, [row[1:4] for row in rows])
            beyond = "DELETE FROM labels WHERE rowid <= (SELECT MAX(rowid) FROM labels) - ?"
            connection.execute(beyond, (MAX_LABELS,))
        return len(rows)

    def _remove_candidates(self, oldest_ns: int, is_large: bool) -> int:
        marks = ", ".join("?" * len(_FINISHED))
        query = f"SELECT id, state, decision, info FROM candidates WHERE state IN ({marks}) ORDER BY id LIMIT 100"
        old = [
            row
            for row in self._database.rows(query, *_FINISHED)
            if is_large or decode(row[3], CandidateInfo).received_ns < oldest_ns
        ]
        if not old:
            return 0
        counts = {"|".join(key): count for key, count in self.removed_candidates().items()}
        for _, state, decision, _ in old:
            counts[f"{state}|{decision}"] = counts.get(f"{state}|{decision}", 0) + 1
        with self._database.writing() as connection:
            connection.executemany("DELETE FROM candidates WHERE id = ?", [(row[0],) for row in old])
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('removed_candidates', ?)", (pack(counts),))
        return len(old)

    def _used(self) -> int:
        pages, free, size = (
            integer(self._database.rows(f"PRAGMA {name}")[0][0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def _meta(self, key: str, default: object) -> object:
        rows = self._database.rows("SELECT value FROM meta WHERE key = ?", key)
        return rows[0][0] if rows else default


def registry_use(path: Path) -> RegistryUse:
    """What the registry at `path` uses, read beside its writer; raises `StorageError`."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            pages, free, size = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
            row = connection.execute("SELECT value FROM meta WHERE key = 'needed'").fetchone()
    except sqlite3.Error as error:
        raise StorageError(f"cannot read registry {path}: {error}; check that it is one") from None
    return RegistryUse((pages - free) * size, bool(row and row[0]))
