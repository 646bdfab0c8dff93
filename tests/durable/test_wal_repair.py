"""SQLite's log with a flipped bit: mended, or named; never cut short without a word."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from floop_robot.durable.wal_repair import repair_wal

ROWS = 40


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as a killed process leaves it, in its second log: frames of the first lie behind."""
    folder = tmp_path_factory.mktemp("wal")
    path = folder / "a.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE a (id INTEGER PRIMARY KEY, payload BLOB)")
    for number in range(ROWS):
        connection.execute("INSERT INTO a VALUES (?, ?)", (number, random.Random(number).randbytes(1500)))
        if number == ROWS // 2:
            connection.execute("PRAGMA wal_checkpoint(RESTART)")
    shutil.copytree(folder, folder / "copy")
    connection.close()
    return folder / "copy"


def rows(folder: Path) -> list[tuple[int, bytes]]:
    repair_wal(folder / "a.sqlite")
    connection = sqlite3.connect(folder / "a.sqlite")
    try:
        return connection.execute("SELECT * FROM a ORDER BY id").fetchall()
    finally:
        connection.close()


@pytest.fixture
def copy(killed: Path, tmp_path: Path) -> Path:
    shutil.copytree(killed, tmp_path / "copy")
    return tmp_path / "copy"


def test_a_sound_log_is_left_alone(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = (copy / "a.sqlite-wal").read_bytes()
    repair_wal(copy / "a.sqlite")
    assert (copy / "a.sqlite-wal").read_bytes() == before and not caplog.messages
    assert [number for number, _ in rows(copy)] == list(range(ROWS))


def test_every_flipped_bit_is_mended_and_said(killed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sound = (killed / "a.sqlite-wal").read_bytes()
    draw, mended, expected = random.Random(1), 0, None
    for number in range(60):
        copy = tmp_path / str(number)
        shutil.copytree(killed, copy)
        expected = expected or rows(copy)
        data = bytearray(sound)
        at = number if number < 56 else draw.randrange(len(data))  # each byte of both kinds of header
        data[at] ^= 1 << draw.randrange(8)
        (copy / "a.sqlite-wal").write_bytes(data)
        caplog.clear()
        found = rows(copy)
        named = "is damaged from byte" in caplog.text
        assert found == expected or (named and found == expected[: len(found)]), at
        mended += found == expected and "mended by its sums" in caplog.text
        shutil.rmtree(copy)
    assert mended >= 45  # others lie behind the last commit, or cannot be told apart


def test_damage_of_several_bits_is_named(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = copy / "a.sqlite-wal"
    data = bytearray(path.read_bytes())
    frame = 24 + 4096
    for at in range(32 + 3 * frame + 500, 32 + 3 * frame + 600):
        data[at] ^= 0x5A
    path.write_bytes(data)
    repair_wal(copy / "a.sqlite")
    assert [m for m in caplog.messages if f"{path} is damaged from byte {32 + 3 * frame} on" in m]
