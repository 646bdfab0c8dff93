"""A registry with damaged rows: each is named, and all others are used."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from floop_robot.deploy.registry import (
    PRODUCTION,
    Directive,
    Origin,
    Publication,
    Registry,
    database,
    read_audit,
    read_history,
)
from floop_robot.deploy.registry.schema import SCHEMA_VERSION
from floop_robot.durable.framing import pack
from floop_robot.spec.errors import StorageError
from tests.support.sample_bundles import make_bundle


@pytest.fixture
def path(tmp_path: Path) -> Path:
    registry = Registry(tmp_path / "registry.sqlite")
    for number in range(1, 4):
        origin = Origin.BASELINE if number == 1 else Origin.PUSH
        registry.publish(Publication(bundle=make_bundle(number), origin=origin, who="ann"), time.time_ns())
    registry.set_directive(Directive("robot_1", pin=2), "ann", "pinned robot_1", time.time_ns())
    registry.close()
    return registry.path


def rot(path: Path, statement: str) -> None:
    """Change a row behind the registry's back, as rot does: its checksum stays."""
    with sqlite3.connect(path) as connection:
        guards = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in guards:
            connection.execute(f"DROP TRIGGER {name}")
        assert connection.execute(statement).rowcount == 1
        for _, sql in guards:
            connection.execute(sql)
    connection.close()


def test_a_damaged_version_is_described_again_from_its_bundle(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rot(path, "UPDATE versions SET info = x'00' WHERE version = 2")
    registry = Registry(path)
    assert f"registry {path}: row 2 of table versions is damaged; it is described again from its bundle" in caplog.text
    assert [info.version for info in registry.versions()] == [1, 2, 3]
    assert registry.bundle(2).manifest.sha256 == registry.version(2).sha256
    assert registry.publish(Publication(bundle=make_bundle(9), origin=Origin.PUSH, who="ann"), 1).version == 4
    registry.close()
    caplog.clear()
    Registry(path).close()
    assert not caplog.messages  # it was mended


def test_without_its_newest_version_numbers_still_grow(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rot(path, "UPDATE versions SET info = x'00', bundle = x'00' WHERE version = 3")
    registry = Registry(path)
    assert "row 3 of table versions is damaged" in caplog.text
    assert [info.version for info in registry.versions()] == [1, 2]
    assert registry.alias(PRODUCTION) == 2  # the newest that is sound
    assert registry.publish(Publication(bundle=make_bundle(9), origin=Origin.PUSH, who="ann"), 1).version == 4
    registry.close()


def test_a_damaged_bundle_is_not_given_to_robots(path: Path) -> None:
    rot(
        path,
        "UPDATE versions SET bundle = CAST(substr(bundle, 1, length(bundle) - 1) || x'7e' AS BLOB) WHERE version = 3",
    )
    registry = Registry(path)
    with pytest.raises(StorageError, match=r"v3 in .* robots that have it go on with it: roll back, or push another"):
        registry.blob(3)
    assert registry.blob(2)
    registry.close()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE directives SET info = x'00'", "row robot_1 of table directives is damaged; this robot follows"),
        ("UPDATE directives SET scope = 'robot_9'", "row robot_1 of table directives is lost"),
        ("DELETE FROM directives", "row robot_1 of table directives is lost; this robot follows the fleet"),
        ("UPDATE aliases SET version = 1 WHERE name = 'production'", "row production of table aliases is damaged"),
        ("UPDATE meta SET value = 4711 WHERE key = 'epoch'", "row epoch of table meta is damaged"),
        ("UPDATE audit SET info = x'00' WHERE id = 1", "row 1 of table audit is damaged"),
        ("UPDATE row_checksums SET crc = crc + 1 WHERE name = 'audit' AND key = row_key_of_1", ""),
    ],
)
def test_each_damaged_row_is_named_and_left_out(
    path: Path, statement: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    if "row_key_of_1" in statement:
        key = sqlite3.connect(path).execute("SELECT min(key) FROM row_checksums WHERE name = 'audit'").fetchone()[0]
        statement, said = statement.replace("row_key_of_1", f"x'{key.hex()}'"), "of table audit is damaged"
    rot(path, statement)
    assert [info.version for info in read_history(path).versions] == [1, 2, 3]  # beside, without mending
    assert said.split(";")[0] in caplog.text
    list(read_audit(path))
    caplog.clear()
    registry = Registry(path)
    assert said in caplog.text
    assert registry.alias(PRODUCTION) == 3
    assert registry.epoch >= 2
    assert registry.audit(10) and len(registry.versions()) == 3
    assert registry.directive("robot_1") in (Directive("robot_1", pin=2), Directive("robot_1"))
    registry.close()
    caplog.clear()
    Registry(path).close()
    assert not caplog.messages


def test_a_damaged_index_is_made_again(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = path.read_bytes()
    connection = sqlite3.connect(path)
    page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'versions_by_sha'").fetchone()[0]
    size = connection.execute("PRAGMA page_size").fetchone()[0]
    sha256 = connection.execute("SELECT sha256 FROM versions WHERE version = 2").fetchone()[0]
    connection.close()
    at = data.index(sha256.encode(), (page - 1) * size, page * size)
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    Registry(path).close()
    assert "its indexes are made again" in caplog.text
    caplog.clear()
    Registry(path).close()
    assert not caplog.messages


@pytest.mark.parametrize("table", ["audit", "versions", "aliases", "row_checksums", "sqlite_master"])
def test_a_damaged_page_loses_its_own_rows_only(path: Path, table: str, caplog: pytest.LogCaptureFixture) -> None:
    connection = sqlite3.connect(path)
    query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
    page = 1 if table == "sqlite_master" else connection.execute(query, (table,)).fetchone()[0]
    connection.close()
    data = path.read_bytes()
    path.write_bytes(data[: (page - 1) * 4096] + bytes(4096) + data[page * 4096 :])
    with pytest.raises(StorageError, match=r"cannot read registry"):
        read_history(path)
    registry = Registry(path)
    assert "what is sound goes on" in caplog.text and path.with_name("registry.sqlite.damaged").exists()
    lost = {"audit": "row 1 of table audit is lost", "versions": "row 3 of table versions is lost"}
    assert lost.get(table, "") in caplog.text
    assert len(registry.versions()) == (0 if table == "versions" else 3)
    assert registry.directive("robot_1") == Directive("robot_1", pin=2)
    assert registry.epoch >= 2
    assert registry.publish(Publication(bundle=make_bundle(9), origin=Origin.PUSH, who="ann"), 1).version == 4
    registry.close()
    caplog.clear()
    assert len(read_history(path).versions) == (1 if table == "versions" else 4)
    Registry(path).close()
    assert not caplog.messages


def test_a_start_that_is_killed_leaves_all_or_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = path.with_name("new.sqlite")
    with sqlite3.connect(path) as connection:
        connection.executescript("DROP TABLE row_checksums; PRAGMA user_version = 3")
    connection.close()
    for file in (path, new):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(database, "keep_checksums", killed)
            Registry(file)
    assert [len(Registry(file).versions()) for file in (path, new)] == [3, 0]


def killed(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_registry_of_before_holds_keeps_what_was_held_where_it_is(path: Path, is_damaged: bool) -> None:
    with sqlite3.connect(path) as connection:
        connection.executescript("DROP TABLE row_checksums; DELETE FROM directives; PRAGMA user_version = 2")
        for scope, pin in (("fleet", 0), ("robot_1", 2)):
            row = (scope, pack({"scope": scope, "held": True, "pin": pin, "drained": False}))
            connection.execute("INSERT INTO directives VALUES (?, ?)", row)
    page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'audit'").fetchone()[0]
    connection.close()
    if is_damaged:
        data = path.read_bytes()
        path.write_bytes(data[: (page - 1) * 4096] + bytes(4096) + data[page * 4096 :])
    for _ in range(2):
        registry = Registry(path)
        assert registry.directives() == [Directive("fleet", hold=3), Directive("robot_1", pin=2)]
        registry.close()


def test_a_registry_of_an_earlier_floop_gets_checksums_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with sqlite3.connect(path) as connection:
        connection.executescript("DROP TABLE row_checksums; PRAGMA user_version = 3")
    connection.close()
    assert len(read_history(path).versions) == 3
    with caplog.at_level("INFO"):
        Registry(path).close()
        Registry(path).close()
    assert [m for m in caplog.messages if "get checksums" in m] == [
        f"registry {path}: its rows get checksums: an earlier floop wrote it"
    ]
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
    connection.close()
