"""Tables of the registry. Versions and audit are append-only, by trigger; structs are msgpack, read back typed."""

from __future__ import annotations

import sqlite3

import msgspec

from floop_robot.durable.framing import pack

SCHEMA_VERSION = 4
"""Rises when tables or stored structs change. 1 had other names for fields of episodes; 2 took a hold for a pin; 3 had
no checksums of rows."""
SCHEMA_BEFORE_HOLDS = 2
READ_SCHEMAS = (SCHEMA_BEFORE_HOLDS, 3, SCHEMA_VERSION)
"""Those that are read; a fleet manager turns them into the newest."""

SUBMITTED = "submitted candidate"
"""Written into the audit for each one."""
IS_ACTION = f"instr(info, x'{pack({'what': SUBMITTED})[1:].hex()}') = 0"
"""True of an audit row unless it is about a candidate's arrival; no text within a row holds these bytes, since they are
no UTF-8."""

ADDED_DDL = f"""
CREATE TABLE IF NOT EXISTS labels (
    robot TEXT NOT NULL, boot_id TEXT NOT NULL, seq INTEGER NOT NULL,
    episode_boot_id TEXT NOT NULL, episode INTEGER NOT NULL, info BLOB NOT NULL,
    PRIMARY KEY (robot, boot_id, seq)
) STRICT;
CREATE INDEX IF NOT EXISTS labels_by_episode ON labels (robot, episode_boot_id, episode);
CREATE TABLE IF NOT EXISTS robot_hosts (robot TEXT PRIMARY KEY, info BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS shown (version INTEGER PRIMARY KEY, episodes INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS summary (
    one INTEGER PRIMARY KEY CHECK (one = 1), through INTEGER NOT NULL, state BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS failed_receipts ON receipts (stage) WHERE stage = 'failed';
CREATE INDEX IF NOT EXISTS candidates_by_state ON candidates (state, decision);
CREATE INDEX IF NOT EXISTS audited_actions ON audit (id) WHERE {IS_ACTION};
"""
"""What later releases added without changing what was there; made at every start where it is missing."""

DDL = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT;
CREATE TABLE versions (
    version INTEGER PRIMARY KEY CHECK (version > 0),
    sha256 TEXT NOT NULL,
    info BLOB NOT NULL,
    bundle BLOB NOT NULL
) STRICT;
CREATE INDEX versions_by_sha ON versions (sha256);
CREATE TABLE candidates (
    id INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL,
    verdict_digest TEXT NOT NULL,
    state TEXT NOT NULL,
    decision TEXT NOT NULL,
    info BLOB NOT NULL,
    bundle BLOB,
    waiting INTEGER NOT NULL,
    UNIQUE (sha256, verdict_digest)
) STRICT;
CREATE UNIQUE INDEX one_waits ON candidates (waiting) WHERE waiting = 1;
CREATE TABLE aliases (name TEXT PRIMARY KEY, version INTEGER NOT NULL REFERENCES versions (version)) STRICT;
CREATE TABLE directives (scope TEXT PRIMARY KEY, info BLOB NOT NULL) STRICT;
CREATE TABLE receipts (
    robot TEXT NOT NULL, version INTEGER NOT NULL, stage TEXT NOT NULL, stamp_ns INTEGER NOT NULL, info BLOB NOT NULL,
    PRIMARY KEY (robot, version, stage)
) STRICT;
CREATE TABLE audit (id INTEGER PRIMARY KEY, info BLOB NOT NULL) STRICT;
CREATE TABLE calls (id TEXT PRIMARY KEY, stamp_ns INTEGER NOT NULL, answer BLOB NOT NULL) STRICT;
CREATE TABLE episodes (
    robot TEXT NOT NULL, boot_id TEXT NOT NULL, episode INTEGER NOT NULL, info BLOB NOT NULL,
    PRIMARY KEY (robot, boot_id, episode)
) STRICT;
CREATE TABLE confirmations (sha256 TEXT PRIMARY KEY, version INTEGER NOT NULL, stamp_ns INTEGER NOT NULL) STRICT;
CREATE TRIGGER versions_stay BEFORE UPDATE ON versions BEGIN SELECT RAISE(ABORT, 'versions are never changed'); END;
CREATE TRIGGER versions_last BEFORE DELETE ON versions BEGIN SELECT RAISE(ABORT, 'versions are never deleted'); END;
CREATE TRIGGER versions_grow BEFORE INSERT ON versions
    WHEN NEW.version <= (SELECT COALESCE(MAX(version), 0) FROM versions)
    BEGIN SELECT RAISE(ABORT, 'versions only grow'); END;
CREATE TRIGGER audit_stays BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is never changed'); END;
CREATE TRIGGER audit_lasts BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is never deleted'); END;
"""


def keep_earlier_holds(connection: sqlite3.Connection) -> None:
    """Of schema 2: a held fleet had no version, and a held robot was pinned. Both stay where they are.

    Within a transaction.
    """
    query = "UPDATE directives SET info = ? WHERE scope = ?"
    for scope, info in connection.execute("SELECT scope, info FROM directives").fetchall():
        earlier = msgspec.msgpack.decode(info)
        if earlier.pop("held", False) and not earlier["pin"]:
            row = connection.execute("SELECT version FROM aliases WHERE name = 'production'").fetchone()
            earlier["hold"] = row[0] if row else 0
        connection.execute(query, (pack(earlier), scope))
