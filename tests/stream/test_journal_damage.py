"""A journal with damaged rows, pages and log: what is sound goes on, and what is lost is named."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest

from floop_robot.durable import sqlite_check
from floop_robot.stream.journal import Journal
from floop_robot.stream.journal_reader import JournalReader
from tests.support.sample_records import journal_entry

BLOCKS = 40


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with contextlib.closing(Journal(tmp_path / "journal.sqlite")) as journal:
        fill(journal, BLOCKS)
    return tmp_path / "journal.sqlite"


def fill(journal: Journal, count: int) -> None:
    for _ in range(count):
        journal.append([journal_entry(journal.high_water_mark("robot_1", "boot") or 0, 20)])


def sound_ids(path: Path) -> list[int]:
    found, after, through = list[int](), -1, 0
    with contextlib.closing(JournalReader(path)) as reader:
        while after != through:
            after = through
            rows, through = reader.read(after, 1000, 2**30)
            found += [row.id for row in rows if row.payload is not None]
    return found


def damage_page_of(path: Path, number: int) -> None:
    """Damage the b-tree page that block `number` lies on."""
    data = bytearray(path.read_bytes())
    with contextlib.closing(sqlite3.connect(path)) as db:
        payload = db.execute("SELECT payload FROM blocks WHERE id = ?", (number,)).fetchone()[0]
    page = data.index(payload[:200]) // 4096
    data[page * 4096] = 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE streams SET next_seq = 7", "of table streams is damaged; it is made again from the blocks"),
        ("UPDATE streams SET boot_id = 'coot'", "row robot_1, boot of table streams is lost; it is made again"),
        ("DELETE FROM streams", "row robot_1, boot of table streams is lost; it is made again from the blocks"),
        ("UPDATE tails SET crc = 1", "of table tails is damaged"),
    ],
)
def test_damaged_rows_are_named_and_made_again(
    path: Path, statement: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        assert db.execute(statement).rowcount == 1
    with contextlib.closing(Journal(path)) as journal:
        assert journal.high_water_mark("robot_1", "boot") == 20 * BLOCKS
        fill(journal, 1)
    assert said in caplog.text
    caplog.clear()
    Journal(path).close()
    assert not caplog.messages and sound_ids(path) == list(range(1, BLOCKS + 2))


def test_a_damaged_page_loses_its_own_blocks_only(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    damage_page_of(path, 20)
    with contextlib.closing(Journal(path)) as journal:
        assert journal.high_water_mark("robot_1", "boot") == 20 * BLOCKS and journal.head == BLOCKS
        fill(journal, 1)
    found = sound_ids(path)
    assert 20 not in found and len(found) >= BLOCKS - 12 and found[-1] == BLOCKS + 1
    assert "is damaged" in caplog.text and "blocks are sound and go on" in caplog.text
    assert path.with_name("journal.sqlite.damaged").exists()


def test_reading_of_a_large_journal_goes_on_behind_a_damaged_page(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_check, "PAGE_CHECK_BYTES", 0)
    damage_page_of(path, 20)
    found = sound_ids(path)
    assert 20 not in found and len(found) >= BLOCKS - 12 and found[-1] == BLOCKS


def test_a_file_that_was_cut_keeps_its_blocks_and_gives_no_id_twice(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    with contextlib.closing(Journal(path)) as journal:
        assert journal.head == BLOCKS
        fill(journal, 1)
    found = sound_ids(path)
    assert found[-1] == BLOCKS + 1 and len(found) > BLOCKS // 2
    assert "blocks are sound and go on" in caplog.text
    assert f"to {BLOCKS}: its write-ahead log was damaged" in caplog.text


def test_blocks_that_the_log_lost_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    fill(journal, BLOCKS)
    killed = tmp_path / "killed"
    shutil.copytree(tmp_path, killed, ignore=shutil.ignore_patterns("killed"))
    journal.close()
    log = killed / "journal.sqlite-wal"
    log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
    with contextlib.closing(Journal(killed / "journal.sqlite")) as again:
        assert again.head == BLOCKS
        lost_from = again.high_water_mark("robot_1", "boot") // 20 + 1
        fill(again, 1)
    assert f"has lost blocks {lost_from} to {BLOCKS}" in caplog.text
    assert sound_ids(killed / "journal.sqlite") == [*range(1, lost_from), BLOCKS + 1]


def test_another_journal_s_mark_says_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.unlink()
    with contextlib.closing(Journal(path)) as journal:
        assert journal.head == 0
    assert not caplog.messages
