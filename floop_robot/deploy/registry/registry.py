"""Registry: versions and their history on disk; the fleet manager is its one writer."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from floop_robot.bundle import Bundle
from floop_robot.bundle.delivery import RobotHost
from floop_robot.deploy.registry.database import Database, decode, encode, integer
from floop_robot.deploy.registry.records import (
    BASELINE,
    FLEET,
    PRODUCTION,
    AuditEntry,
    CandidateInfo,
    CandidateState,
    Directive,
    Origin,
    VersionInfo,
)
from floop_robot.deploy.registry.retention import RegistryLimits, RegistryRetention
from floop_robot.deploy.registry.schema import IS_ACTION, SUBMITTED
from floop_robot.deploy.registry.telemetry_store import TelemetryStore
from floop_robot.spec.bounds import MAX_INT
from floop_robot.spec.errors import BundleRefused, StorageError, UnknownName
from floop_robot.spec.verdict import Decision, Verdict

LEARNED = (Origin.GATE, Origin.CANARY)
"""Why versions of the learner are published."""
LATEST = 100
"""Versions that are looked at first, and named where one is unknown."""
NEXT_VERSION = """SELECT 1 + max(
    (SELECT COALESCE(MAX(version), 0) FROM versions),
    COALESCE((SELECT value FROM meta WHERE key = 'version_floor'), 0))"""
"""Robots may know higher numbers than a restored registry."""
MAX_STORED_RESULTS = 1000
"""Stored results of commands: a client repeats a command within seconds."""


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes the next version, and what changes with it."""

    bundle: Bundle
    origin: Origin
    who: str
    detail: str = ""
    verdict: Verdict | None = None
    decided_ns: int = 0
    restores: int = 0
    """Version whose bytes these are; 0 for new ones."""
    scope: str = FLEET
    """The fleet, or the one robot that it is for, which then is pinned to it."""
    pins: bool = False
    """Whether the fleet is pinned to it as well."""


class Registry:
    """Every change is one durable transaction. It belongs to the thread that opened it."""

    def __init__(self, path: Path, limits: RegistryLimits | None = None) -> None:
        """Open or make `path`; raises `LockHeld` or `StorageError`."""
        self._database = Database(path)
        self.telemetry = TelemetryStore(self._database)
        self.path = path
        self._retention = RegistryRetention(self._database, limits or RegistryLimits())

    @property
    def epoch(self) -> int:
        """Fencing epoch: one more with every opening."""
        return self._database.epoch

    def close(self) -> None:
        """Close; the next writer may open."""
        self._database.close()

    def maintain(self, now_ns: int) -> None:
        """Now and then remove what is beyond the limits, a little each time; raises `StorageError`."""
        self._retention.maintain(now_ns)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes within the block one: all on disk when it ends, none when it raises."""
        with self._database.writing():
            yield

    # Versions

    def publish(self, publication: Publication, now_ns: int) -> VersionInfo:
        """Give a bundle the next version; alias, directives, candidate and audit change with it or not at all."""
        bundle, verdict, origin = publication.bundle, publication.verdict, publication.origin
        with self._database.writing() as connection:
            version = connection.execute(NEXT_VERSION).fetchone()[0]
            stamped = bundle.with_version(
                version=version,
                epoch=self.epoch,
                parent=publication.restores or self._learned_from(origin),
                certificate=verdict or bundle.manifest.certificate,
            )
            blob = stamped.to_bytes()
            info = self._describe(stamped, publication, self._alias(connection, PRODUCTION), len(blob), now_ns)
            connection.execute("INSERT INTO versions VALUES (?, ?, ?, ?)", (version, info.sha256, encode(info), blob))
            if publication.scope == FLEET:
                self._set_alias(connection, PRODUCTION, version)
            if origin is Origin.BASELINE:
                self._set_alias(connection, BASELINE, version)
            if origin is Origin.GATE:
                self._settle(connection, CandidateState.PUBLISHED, version)
            if publication.pins or publication.scope != FLEET:
                pinned = msgspec.structs.replace(
                    self.directive(publication.scope), hold=0, pin=version, canary=origin is Origin.CANARY
                )
                self._set_directive(connection, pinned)
            alone = "" if publication.scope == FLEET else f" for {publication.scope}"
            self._note(connection, publication.who, f"published ({origin}){alone}", now_ns, version, publication.detail)
        return info

    def _describe(
        self, bundle: Bundle, publication: Publication, production: int, size: int, now_ns: int
    ) -> VersionInfo:
        manifest, verdict = bundle.manifest, publication.verdict
        return VersionInfo(
            version=manifest.version,
            epoch=manifest.epoch,
            sha256=manifest.sha256,
            parent=manifest.parent,
            replaces=production,
            restores=publication.restores,
            task=manifest.task,
            ids=manifest.ids,
            algo=manifest.algo,
            origin=publication.origin,
            who=publication.who,
            journal_to=manifest.data.journal_to,
            decided_ns=publication.decided_ns or now_ns,
            published_ns=now_ns,
            gate_s=verdict.duration_s if verdict else 0.0,
            bytes=size,
            calibration=manifest.calibration,
            decision=verdict.decision if verdict else "",
            reason=publication.detail,
        )

    def _learned_from(self, origin: Origin) -> int:
        """Version that the learner's next one descends from; 0 for what was not learned here."""
        if origin not in LEARNED:
            return 0
        before = 0
        while recent := self.versions(LATEST, before):
            for info in reversed(recent):
                if info.origin in LEARNED:
                    return info.version
            before = recent[0].version
        return self.alias(BASELINE)

    def versions(self, last: int = -1, before: int = 0) -> list[VersionInfo]:
        """The last versions, or all (-1), oldest first; with `before`, only those before this one."""
        query = "SELECT info FROM versions WHERE version < ? ORDER BY version DESC LIMIT ?"
        rows = self._database.rows(query, before or MAX_INT, last)
        return [decode(row[0], VersionInfo) for row in reversed(rows)]

    def weights(self) -> dict[int, str]:
        """Name of each version's policy."""
        rows = self._database.rows("SELECT version, sha256 FROM versions")
        return {integer(version): str(sha256) for version, sha256 in rows}

    def version(self, version: int) -> VersionInfo:
        """The row of a version; raises `UnknownName`."""
        rows = self._database.rows("SELECT info FROM versions WHERE version = ?", version)
        if not rows:
            known = (f"v{each.version}" for each in self.versions(LATEST))
            raise UnknownName("policy version", f"v{version}", known, "the registry")
        return decode(rows[0][0], VersionInfo)

    def blob(self, version: int) -> bytes:
        """The bundle's bytes, as robots get them; raises `UnknownName`, or `StorageError` when they are damaged."""
        try:
            self.bundle(version)
        except BundleRefused as error:
            raise StorageError(f"{error}; robots that have it go on with it: roll back, or push another") from None
        return self._stored_blob(version)

    def _stored_blob(self, version: int) -> bytes:
        self.version(version)
        blob = self._database.rows("SELECT bundle FROM versions WHERE version = ?", version)[0][0]
        assert isinstance(blob, bytes)
        return blob

    def bundle(self, version: int) -> Bundle:
        """The bundle of a version, checksums compared; raises `UnknownName` or `BundleRefused`."""
        return Bundle.from_bytes(self._stored_blob(version), f"v{version} in {self.path}")

    def alias(self, name: str) -> int:
        """The version called `name` (`production`, `baseline`); 0 if none is."""
        rows = self._database.rows("SELECT version FROM aliases WHERE name = ?", name)
        return integer(rows[0][0]) if rows else 0

    # Candidates

    def submit(
        self, bundle: Bundle, verdict: Verdict, state: CandidateState, who: str, now_ns: int, *, version: int = 0
    ) -> tuple[CandidateInfo, bool]:
        """Store a judged candidate, once: the same weights and verdict again change nothing.

        `version`: the one that it was published under, if it was. One that waits takes the place of one that waited.
        Returns what is stored, and whether it is new.
        """
        known = self.candidate(bundle.manifest.sha256, verdict)
        if known is not None:
            return known, False
        info = CandidateInfo(
            sha256=bundle.manifest.sha256,
            state=state,
            version=version,
            received_ns=now_ns,
            journal_to=bundle.manifest.data.journal_to,
            verdict=verdict,
        )
        waits = state is CandidateState.WAITING
        with self._database.writing() as connection:
            if waits:
                self._settle(connection, CandidateState.SUPERSEDED, 0)
            blob = bundle.to_bytes() if waits else None
            connection.execute(
                "INSERT INTO candidates (sha256, verdict_digest, state, decision, info, bundle, waiting) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (info.sha256, _verdict_digest(verdict), state, verdict.decision, encode(info), blob, int(waits)),
            )
            detail = f"{info.sha256[:8]} {verdict.decision} ({state}): {verdict.reason}"
            self._note(connection, who, SUBMITTED, now_ns, 0, detail)
        return info, True

    def candidate(self, sha256: str, verdict: Verdict) -> CandidateInfo | None:
        """The candidate with this verdict; None if it was never submitted."""
        rows = self._database.rows(
            "SELECT info FROM candidates WHERE sha256 = ? AND verdict_digest = ?", sha256, _verdict_digest(verdict)
        )
        return decode(rows[0][0], CandidateInfo) if rows else None

    def candidates(self) -> list[CandidateInfo]:
        """Every candidate, oldest first."""
        rows = self._database.rows("SELECT info FROM candidates ORDER BY id")
        return [decode(row[0], CandidateInfo) for row in rows]

    def candidate_counts(self) -> dict[tuple[CandidateState, Decision], int]:
        """How many candidates there were of each state and verdict."""
        query = "SELECT state, decision, COUNT(*) FROM candidates GROUP BY state, decision"
        found = {(str(state), str(what)): integer(count) for state, what, count in self._database.rows(query)}
        for key, count in self._retention.removed_candidates().items():
            found[key] = found.get(key, 0) + count
        return {(CandidateState(state), Decision(what)): count for (state, what), count in found.items()}

    def waiting(self) -> tuple[CandidateInfo, Bundle] | None:
        """The accepted candidate that waits, if any."""
        rows = self._database.rows("SELECT info, bundle FROM candidates WHERE waiting = 1")
        if not rows:
            return None
        info, blob = rows[0]
        assert isinstance(blob, bytes)
        return decode(info, CandidateInfo), Bundle.from_bytes(blob, f"the waiting candidate in {self.path}")

    def drop_waiting(self, state: CandidateState, who: str, now_ns: int, detail: str) -> None:
        """Give up the candidate that waits."""
        with self._database.writing() as connection:
            self._settle(connection, state, 0)
            self._note(connection, who, f"dropped waiting candidate ({state})", now_ns, 0, detail)

    # Directives, calls, audit

    def directive(self, scope: str) -> Directive:
        """What operators asked of `scope` (a robot, or `FLEET`)."""
        rows = self._database.rows("SELECT info FROM directives WHERE scope = ?", scope)
        return decode(rows[0][0], Directive) if rows else Directive(scope)

    def directives(self) -> list[Directive]:
        """Every directive in force."""
        return [decode(row[0], Directive) for row in self._database.rows("SELECT info FROM directives ORDER BY scope")]

    def set_directive(self, directive: Directive, who: str, what: str, now_ns: int, why: str = "") -> None:
        """Store a directive."""
        with self._database.writing() as connection:
            self._set_directive(connection, directive)
            self._note(connection, who, what, now_ns, directive.fixed, why)

    def target(self, robot: str) -> int:
        """The version that `robot` shall act on: the one that it is pinned to or held on, else production."""
        return self.directive(robot).fixed or self.alias(PRODUCTION)

    def robot_hosts(self) -> dict[str, RobotHost]:
        """The host that has each robot's name."""
        rows = self._database.rows("SELECT robot, info FROM robot_hosts")
        return {str(robot): decode(info, RobotHost) for robot, info in rows}

    def set_robot_host(self, robot: str, host: RobotHost) -> None:
        """Store which host has a robot's name."""
        with self._database.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO robot_hosts VALUES (?, ?)", (robot, encode(host)))

    def forget_robot_host(self, robot: str) -> None:
        """Forget which host has a robot's name."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM robot_hosts WHERE robot = ?", (robot,))

    def grow(self, epoch: int, version: int) -> None:
        """Go on beyond an epoch and a version number that robots know and this registry doesn't: it was restored."""
        self._database.begin_epoch_after(epoch)
        with self._database.writing() as connection:
            connection.execute(
                "INSERT INTO meta VALUES ('version_floor', ?) "
                "ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)",
                (version,),
            )

    def note(self, who: str, what: str, now_ns: int, version: int = 0, detail: str = "") -> None:
        """Write into the audit."""
        with self._database.writing() as connection:
            self._note(connection, who, what, now_ns, version, detail)

    def audit(self, last: int = 1000) -> list[AuditEntry]:
        """The last entries of the audit, oldest first."""
        rows = self._database.rows("SELECT info FROM audit ORDER BY id DESC LIMIT ?", last)
        return [decode(row[0], AuditEntry) for row in reversed(rows)]

    def audited_actions(self, last: int) -> list[AuditEntry]:
        """The last entries without arrivals of candidates, which come every few seconds."""
        rows = self._database.rows(
            f"SELECT info FROM audit INDEXED BY audited_actions WHERE {IS_ACTION} ORDER BY id DESC LIMIT ?", last
        )
        return [decode(row[0], AuditEntry) for row in reversed(rows)]

    def latest_ns(self) -> int:
        """The newest stamp in the registry; 0 in a new one."""
        return max([self.telemetry.latest_ns(), *(entry.stamp_ns for entry in self.audit(1))])

    def audit_after(self, position: int, most: int) -> tuple[list[AuditEntry], int]:
        """At most `most` entries after `position` (-1: none), oldest first, and the position to ask after next."""
        if position < 0:
            return [], integer(self._database.rows("SELECT COALESCE(MAX(id), 0) FROM audit")[0][0])
        rows = self._database.rows("SELECT id, info FROM audit WHERE id > ? ORDER BY id LIMIT ?", position, most)
        return [decode(info, AuditEntry) for _, info in rows], integer(rows[-1][0]) if rows else position

    def candidates_after(self, position: int, most: int) -> tuple[list[CandidateInfo], int]:
        """At most `most` judged candidates after `position` (-1: none), as `audit_after`."""
        if position < 0:
            return [], integer(self._database.rows("SELECT COALESCE(MAX(id), 0) FROM candidates")[0][0])
        rows = self._database.rows("SELECT id, info FROM candidates WHERE id > ? ORDER BY id LIMIT ?", position, most)
        return [decode(info, CandidateInfo) for _, info in rows], integer(rows[-1][0]) if rows else position

    def store_command_result(self, call_id: str, answer: bytes, now_ns: int) -> None:
        """Store the result of a command, for when it is repeated."""
        with self._database.writing() as connection:
            connection.execute("INSERT OR IGNORE INTO calls VALUES (?, ?, ?)", (call_id, now_ns, answer))
            connection.execute(
                "DELETE FROM calls WHERE rowid <= (SELECT MAX(rowid) FROM calls) - ?", (MAX_STORED_RESULTS,)
            )

    def stored_command_result(self, call_id: str) -> bytes | None:
        """The stored result of a command, if any."""
        rows = self._database.rows("SELECT answer FROM calls WHERE id = ?", call_id)
        answer = rows[0][0] if rows else None
        return answer if isinstance(answer, bytes) else None

    # Parts of transactions

    @staticmethod
    def _alias(connection: sqlite3.Connection, name: str) -> int:
        row = connection.execute("SELECT version FROM aliases WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    @staticmethod
    def _set_alias(connection: sqlite3.Connection, name: str, version: int) -> None:
        connection.execute(
            "INSERT INTO aliases VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET version = excluded.version",
            (name, version),
        )

    @staticmethod
    def _set_directive(connection: sqlite3.Connection, directive: Directive) -> None:
        connection.execute("INSERT OR REPLACE INTO directives VALUES (?, ?)", (directive.scope, encode(directive)))

    @staticmethod
    def _settle(connection: sqlite3.Connection, state: CandidateState, version: int) -> None:
        for key, info in connection.execute("SELECT id, info FROM candidates WHERE waiting = 1").fetchall():
            settled = msgspec.structs.replace(decode(info, CandidateInfo), state=state, version=version)
            connection.execute(
                "UPDATE candidates SET state = ?, info = ?, bundle = NULL, waiting = 0 WHERE id = ?",
                (state, encode(settled), key),
            )

    def _note(
        self, connection: sqlite3.Connection, who: str, what: str, now_ns: int, version: int, detail: str
    ) -> None:
        entry = AuditEntry(stamp_ns=now_ns, epoch=self.epoch, who=who, what=what, version=version, detail=detail)
        connection.execute("INSERT INTO audit (info) VALUES (?)", (encode(entry),))


def _verdict_digest(verdict: Verdict) -> str:
    return hashlib.sha256(encode(verdict)).hexdigest()
