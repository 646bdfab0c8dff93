"""Damage in a registry: rows whose checksum does not fit.

What is damaged is named and taken out; all other rows are used. A version whose row is damaged is described again from
its bundle, which has a checksum of its own. Nothing that is left out is taken for something else.
"""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import Final

import msgspec

from floop_robot.bundle import Bundle
from floop_robot.deploy.registry.records import PRODUCTION, Origin, VersionInfo
from floop_robot.durable.framing import pack
from floop_robot.durable.row_checksums import DamagedRow, RowChecksums
from floop_robot.spec.errors import BundleRefused

log = logging.getLogger(__name__)

CHECKED_ROWS: Final = 20_000
"""Newest rows of each table that are checked at a start: a tenth of a second each. Readers of all check all."""
CHECKED_ALONE: Final = ("bundle",)
"""Columns with a checksum of their own."""
_LOSS: Final = {
    "aliases": "the newest version is taken for it",
    "directives": "this robot follows the fleet: hold, pin or drain it again",
    "meta": "it is found again from the other rows",
    "robot_hosts": "the first host that uses this name gets it",
    "calls": "a command that is repeated may be done again",
    "confirmations": "the version is watched again",
    "shown": "the version is watched again",
}


def row_checksums(connection: sqlite3.Connection) -> RowChecksums:
    """The checksums of a registry's rows."""
    return RowChecksums(connection, blobs=CHECKED_ALONE)


def keep_checksums(connection: sqlite3.Connection, path: Path, is_checked: bool) -> tuple[str, ...]:
    """Keep checksums from now on; before that, name damaged rows in the log and take them out.

    `is_checked`: the rows have checksums already. Within a transaction. Returns the lines of the log.
    """
    checksums = row_checksums(connection)
    damage = checksums.damage(CHECKED_ROWS) if is_checked else []
    if not is_checked and connection.execute("SELECT 1 FROM meta").fetchone() is not None:
        log.info("registry %s: its rows get checksums: an earlier floop wrote it", path)
    checksums.keep()
    lines = []
    for row in damage:
        described = _describe_again(connection, row) if row.table == "versions" and not row.is_lost else None
        checksums.replace(row, described)
        if described is not None:
            lines.append(f"registry {path}: {row}; it is described again from its bundle")
        else:
            lines.append(f"registry {path}: {row}" + (f"; {loss}" if (loss := _LOSS.get(row.table)) else ""))
    if damage:
        _mend_production(connection, damage)
    for line in lines:
        log.error("%s", line)
    return tuple(lines)


def hide_damage(connection: sqlite3.Connection, path: Path, newest: int = CHECKED_ROWS) -> None:
    """Let a connection that only reads see the sound rows; the log names the others. `newest`: see `CHECKED_ROWS`."""
    checksums = row_checksums(connection)
    damage = checksums.damage(newest)
    checksums.hide(damage)
    for row in damage:
        log.error("registry %s: %s; it is left out. The fleet manager mends what it can at its next start", path, row)


def last_epoch(connection: sqlite3.Connection) -> int:
    """The newest epoch that versions name; 0 without one."""
    row = connection.execute("SELECT info FROM versions ORDER BY version DESC LIMIT 1").fetchone()
    return msgspec.msgpack.decode(row[0], type=VersionInfo).epoch if row else 0


def _describe_again(connection: sqlite3.Connection, row: DamagedRow) -> tuple[int, str, bytes, bytes] | None:
    """The columns of a version as its bundle tells them; None where that is damaged as well."""
    found = connection.execute(
        "SELECT bundle FROM versions WHERE CAST(version AS BLOB) = ?", (_number(row),)
    ).fetchone()
    if found is None or not isinstance(found[0], bytes):
        return None
    try:
        manifest = Bundle.from_bytes(found[0]).manifest
    except BundleRefused:
        return None
    info = VersionInfo(
        version=manifest.version,
        epoch=manifest.epoch,
        sha256=manifest.sha256,
        parent=manifest.parent,
        replaces=0,
        restores=0,
        task=manifest.task,
        ids=manifest.ids,
        algo=manifest.algo,
        origin=Origin.GATE if manifest.certificate else Origin.PUSH,
        who="unknown",
        journal_to=manifest.data.journal_to,
        decided_ns=0,
        published_ns=0,
        gate_s=0.0,
        bytes=len(found[0]),
        calibration=manifest.calibration,
        reason="its row in the registry was damaged",
    )
    return manifest.version, manifest.sha256, pack(info), found[0]


def _number(row: DamagedRow) -> bytes:
    return row.key_texts[0].encode()


def _mend_production(connection: sqlite3.Connection, damage: list[DamagedRow]) -> None:
    """See that there is a version in production, and that version numbers only grow."""
    numbers = [int(_number(row)) for row in damage if row.table == "versions" and _number(row).isdigit()]
    newest = connection.execute("SELECT COALESCE(MAX(version), 0) FROM versions").fetchone()[0]
    if numbers:
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('version_floor', ?)", (max(*numbers, newest),))
    known = "SELECT 1 FROM aliases JOIN versions USING (version) WHERE name = ?"
    if newest and connection.execute(known, (PRODUCTION,)).fetchone() is None:
        connection.execute("INSERT OR REPLACE INTO aliases VALUES (?, ?)", (PRODUCTION, newest))
    connection.execute("DELETE FROM aliases WHERE version NOT IN (SELECT version FROM versions)")
