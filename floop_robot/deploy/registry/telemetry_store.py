"""TelemetryStore: receipts, episodes, labels and confirmations, with the fleet manager's stamps."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from floop_robot.bundle.delivery import Receipt
from floop_robot.deploy.registry.database import Database, decode, encode, integer
from floop_robot.deploy.registry.records import Correction, JournalPosition, LiveEpisode, LiveLabel, StoredReceipt
from floop_robot.durable.framing import deframe, frame, pack

T = TypeVar("T")

FAILED = "failed"
"""Stands for the stage in the key of a receipt for a version that failed while it acted."""


class TelemetryStore:
    """Part of the registry, in the same file and under the same lock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record_receipt(self, receipt: Receipt, now_ns: int) -> bool:
        """Store a receipt; the first of its kind counts. Returns whether it was new."""
        kind = FAILED if receipt.failed else receipt.stage
        with self._database.writing() as connection:
            cursor = connection.execute(
                "INSERT OR IGNORE INTO receipts VALUES (?, ?, ?, ?, ?)",
                (receipt.robot, receipt.version, kind, now_ns, encode(receipt)),
            )
            return cursor.rowcount == 1

    def receipts(self, version: int = 0) -> list[StoredReceipt]:
        """Receipts of one version, or of all (0), in order of arrival."""
        rows = self._database.rows(
            "SELECT info, stamp_ns FROM receipts WHERE ? IN (0, version) ORDER BY stamp_ns, rowid", version
        )
        return [StoredReceipt(decode(info, Receipt), integer(stamp)) for info, stamp in rows]

    def record_episodes(self, episodes: Iterable[LiveEpisode], read: JournalPosition) -> list[LiveEpisode]:
        """Store episodes and how far the journal was read, together; returns those that were new, labels respected."""
        with self._database.writing() as connection:
            new = [
                episode
                for episode in (_labelled(connection, each) for each in episodes)
                if connection.execute(
                    "INSERT OR IGNORE INTO episodes VALUES (?, ?, ?, ?)",
                    (episode.robot, episode.boot_id, episode.episode, encode(episode)),
                ).rowcount
            ]
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('read', ?)", (encode(read),))
        return new

    def record_labels(self, labels: Iterable[LiveLabel]) -> list[Correction]:
        """Store labels, once each, in order of arrival: the last one on an episode counts.

        Returns what they changed of stored episodes. A label may come before its episode.
        """
        changed = []
        with self._database.writing() as connection:
            for label in labels:
                key = (label.robot, label.episode_boot_id, label.episode)
                is_new = connection.execute(
                    "INSERT OR IGNORE INTO labels VALUES (?, ?, ?, ?, ?, ?)",
                    (label.robot, label.boot_id, label.seq, label.episode_boot_id, label.episode, encode(label)),
                ).rowcount
                query = "SELECT rowid, info FROM episodes WHERE robot = ? AND boot_id = ? AND episode = ?"
                row = connection.execute(query, key).fetchone() if is_new else None
                if row is None:
                    continue
                was = decode(row[1], LiveEpisode)
                if (now := label.correct(was)) != was:
                    update = "UPDATE episodes SET info = ? WHERE robot = ? AND boot_id = ? AND episode = ?"
                    connection.execute(update, (encode(now), *key))
                    changed.append(Correction(integer(row[0]), was, now))
        return changed

    def episodes(self) -> list[LiveEpisode]:
        """Every episode seen, in order of arrival."""
        rows = self._database.rows("SELECT info FROM episodes ORDER BY rowid")
        return [decode(row[0], LiveEpisode) for row in rows]

    def episodes_after(self, number: int) -> list[LiveEpisode]:
        """Episodes seen after the `number`-th, in order of arrival."""
        rows = self._database.rows("SELECT info FROM episodes WHERE rowid > ? ORDER BY rowid", number)
        return [decode(row[0], LiveEpisode) for row in rows]

    def failures(self) -> list[StoredReceipt]:
        """Receipts for versions that failed while they acted, in order of arrival."""
        query = "SELECT info, stamp_ns FROM receipts WHERE stage = ? ORDER BY stamp_ns, rowid"
        return [
            StoredReceipt(decode(info, Receipt), integer(stamp)) for info, stamp in self._database.rows(query, FAILED)
        ]

    def summary(self, kind: type[T]) -> T | None:
        """What was counted up to some episode; None if nothing was stored, or nothing that this floop reads."""
        rows = self._database.rows("SELECT state FROM summary")
        body = deframe(rows[0][0]) if rows and isinstance(rows[0][0], bytes) else None
        try:
            return None if body is None else msgspec.msgpack.decode(body, type=kind)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None

    def store_summary(self, through: int, state: msgspec.Struct) -> None:
        """Store what was counted up to the `through`-th episode."""
        with self._database.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO summary VALUES (1, ?, ?)", (through, frame(pack(state))))

    def latest_ns(self) -> int:
        """The newest stamp of a receipt or an episode; 0 when there is none."""
        receipts = self._database.rows("SELECT stamp_ns FROM receipts ORDER BY rowid DESC LIMIT 1")
        stamp = integer(receipts[0][0]) if receipts else 0
        last = self._database.rows("SELECT info FROM episodes ORDER BY rowid DESC LIMIT 1")
        return max(stamp, decode(last[0][0], LiveEpisode).observed_ns) if last else stamp

    @property
    def journal_position(self) -> JournalPosition:
        """How far the journal's episodes are stored."""
        rows = self._database.rows("SELECT value FROM meta WHERE key = 'read'")
        return decode(rows[0][0], JournalPosition) if rows else JournalPosition()

    def confirm(self, sha256: str, version: int, episodes: int, now_ns: int) -> None:
        """Store that the first `episodes` episodes confirmed these weights; only the first call counts.

        It is stored for the weights, and for the version: the same weights may be published and watched again.
        """
        with self._database.writing() as connection:
            connection.execute("INSERT OR IGNORE INTO confirmations VALUES (?, ?, ?)", (sha256, version, now_ns))
            connection.execute("INSERT OR IGNORE INTO shown VALUES (?, ?)", (version, episodes))

    def confirmed(self) -> dict[str, int]:
        """Weights whose live success was shown, and when."""
        rows = self._database.rows("SELECT sha256, stamp_ns FROM confirmations")
        return {str(sha256): integer(stamp) for sha256, stamp in rows}

    def shown(self) -> dict[int, int]:
        """Versions whose live success was shown, and after how many of `episodes`."""
        rows = self._database.rows("SELECT version, episodes FROM shown")
        return {integer(version): integer(episodes) for version, episodes in rows}


def _labelled(connection: sqlite3.Connection, episode: LiveEpisode) -> LiveEpisode:
    """The episode with the last label that came before it (from a spool that was delivered earlier)."""
    row = connection.execute(
        "SELECT info FROM labels WHERE robot = ? AND episode_boot_id = ? AND episode = ? ORDER BY rowid DESC LIMIT 1",
        (episode.robot, episode.boot_id, episode.episode),
    ).fetchone()
    return decode(row[0], LiveLabel).correct(episode) if row else episode
