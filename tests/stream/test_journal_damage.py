"""A journal with damaged rows, pages and log: what is sound goes on, and what is lost is named."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import sqlite3
import sys
from pathlib import Path

import pytest

from floop_robot.durable import sqlite_check
from floop_robot.spec.errors import StorageError
from floop_robot.stream import journal as journal_module
from floop_robot.stream.journal import Journal, JournalReplaced
from floop_robot.stream.journal_reader import JournalReader
from floop_robot.stream.journal_retention import JournalLimits
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


def damage_page_of(path: Path, number: int, copy: Path | None = None) -> None:
    """Damage the b-tree page that block `number` lies on, or that of a copy, whose log is left alone."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        payload = db.execute("SELECT payload FROM blocks WHERE id = ?", (number,)).fetchone()[0]
    damaged = copy or path
    data = bytearray(damaged.read_bytes())
    data[data.index(payload[:200]) // 4096 * 4096] = 0xFF
    damaged.write_bytes(data)


def is_killed_at(number: int, path: Path) -> bool:
    """Open the journal in a process that is killed before the `number`-th change of a name or opening of a database.

    False when it made fewer of them. It has a reader, too, as ingest has: so SQLite keeps the log.
    """
    child = os.fork()
    if child == 0:
        steps = itertools.count(1)
        changing = ("os.remove", "os.rename", "os.link", "sqlite3.connect")

        def kill(event: str, _: object) -> None:
            if event in changing and next(steps) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            reader = sqlite3.connect(path)
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM meta").fetchall()
            sys.addaudithook(kill)
            Journal(path)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


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
    assert "is damaged" in caplog.text and "what is sound goes on" in caplog.text
    assert path.with_name("journal.sqlite.damaged").exists()


def test_reading_of_a_large_journal_goes_on_behind_a_damaged_page(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_check, "PAGE_CHECK_BYTES", 0)
    damage_page_of(path, 20)
    found = sound_ids(path)
    assert 20 not in found and len(found) >= BLOCKS - 12 and found[-1] == BLOCKS


def test_a_journal_that_can_not_be_copied_now_is_copied_at_a_later_start(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_check, "PAGE_CHECK_BYTES", 0)
    monkeypatch.setattr(journal_module, "MAINTAIN_S", 0.0)
    damage_page_of(path, 5)
    in_the_way = path.with_name("journal.sqlite.salvaged")
    in_the_way.mkdir()
    limits = JournalLimits(max_bytes=1.0, kept_transitions=200)
    with contextlib.closing(Journal(path, limits)) as journal, pytest.raises(JournalReplaced, match="not be copied"):
        journal.maintain()
    in_the_way.rmdir()
    monkeypatch.undo()
    with contextlib.closing(Journal(path, limits)) as journal:
        fill(journal, 1)


def test_a_salvage_that_is_killed_at_any_step_loses_no_commit(path: Path, tmp_path: Path) -> None:
    prepared, killed = tmp_path / "prepared", tmp_path / "killed"
    with contextlib.closing(Journal(path)) as journal:
        fill(journal, 5)
        shutil.copytree(tmp_path, prepared, ignore=shutil.ignore_patterns("prepared"))
    damage_page_of(path, 20, prepared / path.name)
    found, is_killed = list[list[int]](), True
    while is_killed:
        shutil.copytree(prepared, killed)
        is_killed = is_killed_at(len(found) + 1, killed / path.name)
        Journal(killed / path.name).close()
        found.append(sound_ids(killed / path.name))
        shutil.rmtree(killed)
    assert len(found) > 10 and found[-1][-5:] == list(range(BLOCKS + 1, BLOCKS + 6)) and 20 not in found[-1]
    assert [step for step, ids in enumerate(found, 1) if ids != found[-1]] == []


def test_a_copy_of_a_salvage_takes_the_place_of_the_damaged_file_only(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path / "backup")
    damage_page_of(path, 20)
    number, whole = 0, path.with_name(path.name + ".salvaged")
    while not whole.exists():
        number += 1
        assert is_killed_at(number, path)
    (tmp_path / "backup").replace(path)
    Journal(path).close()
    assert sound_ids(path) == list(range(1, BLOCKS + 1))


def test_a_damaged_page_of_a_large_journal_stops_neither_writing_nor_removal(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sqlite_check, "PAGE_CHECK_BYTES", 0)
    monkeypatch.setattr(journal_module, "MAINTAIN_S", 0.0)
    damage_page_of(path, 5)
    limits = JournalLimits(max_bytes=1.0, kept_transitions=200)
    with contextlib.closing(Journal(path, limits)) as journal, pytest.raises(JournalReplaced, match="begins again"):
        journal.maintain()
    assert "what is sound goes on" in caplog.text
    with contextlib.closing(Journal(path, limits)) as journal:
        fill(journal, 60)
        for _ in range(20):
            journal.maintain()
    found = sound_ids(path)
    assert found[0] > 20 and found[-1] == BLOCKS + 60


def test_a_first_page_that_is_damaged_is_made_again(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(bytes(4096) + data[4096:])
    Journal(path).close()
    assert sound_ids(path) == list(range(1, BLOCKS + 1))


def test_a_file_in_which_nothing_can_be_read_is_refused(path: Path) -> None:
    path.write_bytes(b"\xa5" * path.stat().st_size)
    with pytest.raises(StorageError, match=r"nothing in it can be read; restore a copy .* or move the file away"):
        Journal(path)
    assert path.read_bytes()[4096:] == b"\xa5" * (path.stat().st_size - 4096)


def test_a_file_that_was_cut_keeps_its_blocks_and_gives_no_id_twice(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    with contextlib.closing(Journal(path)) as journal:
        assert journal.head == BLOCKS
        fill(journal, 1)
    found = sound_ids(path)
    assert found[-1] == BLOCKS + 1 and len(found) > BLOCKS // 2
    assert "what is sound goes on" in caplog.text
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


@pytest.mark.parametrize("is_emptied", [False, True])
def test_a_journal_that_is_gone_is_missed(path: Path, is_emptied: bool, caplog: pytest.LogCaptureFixture) -> None:
    path.unlink()
    if is_emptied:
        path.touch()
    with contextlib.closing(Journal(path)) as journal:
        assert journal.head == 0
        assert caplog.messages == [
            f"journal {path} is new: the one before, with {BLOCKS} blocks, was emptied or removed; "
            "`floop restore` brings a copy back"
        ]
        fill(journal, 1)
    caplog.clear()
    Journal(path).close()
    assert not caplog.messages
