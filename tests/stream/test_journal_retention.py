"""The journal's bounds: the oldest blocks go first, what is needed stays, positions and marks go on."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import pytest

from floop_robot.learn.learner import REPLAY_ROWS
from floop_robot.spec.errors import StorageError
from floop_robot.stream import journal as journal_module
from floop_robot.stream.journal import Journal
from floop_robot.stream.journal_reader import JournalReader
from floop_robot.stream.journal_retention import KEPT_TRANSITIONS, JournalLimits, JournalRetention
from floop_robot.stream.tail_client import TailClient
from tests.stream.test_tail import Served
from tests.support.sample_records import journal_entry

DAY_NS = 86400 * 10**9


@pytest.fixture(autouse=True)
def always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "MAINTAIN_S", 0.0)
    monkeypatch.setattr("floop_robot.stream.journal_retention.RUN_TRANSITIONS", 1)


def bounded(path: Path, kept: int = 100, **limits: float) -> Journal:
    return Journal(path, JournalLimits(kept_transitions=kept, **limits))


def add(journal: Journal, count: int, rows: int = 20) -> None:
    for _ in range(count):
        first = journal.high_water_mark("robot_1", "boot") or 0
        journal.append([journal_entry(first, rows)])


def maintain(journal: Journal) -> None:
    before = -1
    while before != (before := JournalReader(journal.path).use().bytes):
        journal.maintain()


def test_the_oldest_blocks_go_when_it_is_too_large_and_the_newest_rows_stay(tmp_path: Path) -> None:
    journal = bounded(tmp_path / "journal.sqlite", max_bytes=200_000)
    sizes = []
    for _ in range(20):
        add(journal, 10)
        maintain(journal)
        sizes.append(JournalReader(journal.path).use().bytes)
    assert max(sizes[5:]) <= 200_000 + 100_000, "it keeps its bound while it is written"
    reader = JournalReader(journal.path)
    use, audit = reader.use(), reader.audit()
    assert audit.is_sound and audit.blocks < 200 and audit.blocks + use.removed_blocks == 200
    assert use.removed_records == 20 * use.removed_blocks and not use.needed
    assert reader.first_id() == use.removed_blocks + 1


def test_ids_and_marks_go_on_over_a_restart_although_nearly_all_is_gone(tmp_path: Path) -> None:
    journal = bounded(tmp_path / "journal.sqlite", kept=1, max_bytes=1.0)
    add(journal, 30)
    maintain(journal)
    assert JournalReader(journal.path).first_id() == journal.head == 30
    journal.close()
    again = Journal(tmp_path / "journal.sqlite")
    assert again.head == 30 and again.high_water_mark("robot_1", "boot") == 600
    with pytest.raises(ValueError, match="below the mark"):
        again.append([journal_entry(580, 20)])
    add(again, 1)
    assert again.head == 31 and JournalReader(again.path).audit().is_sound
    again.close()


def test_old_blocks_go_by_age_and_a_clock_that_is_not_set_removes_nothing(tmp_path: Path) -> None:
    journal = bounded(tmp_path / "journal.sqlite", kept=40, max_age_s=2 * 86400.0)
    add(journal, 10)
    with sqlite3.connect(journal.path) as db:
        now_ns = db.execute("SELECT max(stamp_ns) FROM blocks").fetchone()[0]
        db.execute("UPDATE blocks SET stamp_ns = stamp_ns - ? WHERE id <= 5", (3 * DAY_NS,))
    db.close()
    assert journal._retention.step(0) == 0
    assert journal._retention.step(now_ns) == 5
    assert journal._retention.step(now_ns + 30 * DAY_NS) == 3, "all but the newest 40 transitions"
    assert JournalReader(journal.path).use().needed
    journal.close()


@pytest.mark.parametrize("wrong", [3, 100])
@pytest.mark.parametrize("stamp_ns", [0, 2**62])
def test_blocks_of_a_wrong_clock_do_not_end_the_removal_of_old_ones(tmp_path: Path, stamp_ns: int, wrong: int) -> None:
    journal = bounded(tmp_path / "journal.sqlite", kept=40, max_age_s=2 * 86400.0)
    add(journal, wrong + 20)
    journal._db.execute("UPDATE blocks SET stamp_ns = ? WHERE id <= ?", (stamp_ns, wrong))
    newest = journal._db.execute("SELECT max(stamp_ns) FROM blocks WHERE id > ?", (wrong,)).fetchone()[0]
    assert not journal._retention.is_due(newest)
    assert journal._retention.step(newest) == 0, "their age is not known, and no later one is old"
    later_ns = newest + 3 * DAY_NS
    assert journal._retention.is_due(later_ns)
    assert journal._retention.step(later_ns) > wrong
    assert JournalReader(journal.path).first_id() > wrong + 1
    journal.close()


def test_a_clock_that_is_behind_removes_nothing_and_is_forgotten_once_it_is_right(tmp_path: Path) -> None:
    journal = bounded(tmp_path / "journal.sqlite", kept=40, max_age_s=2 * 86400.0)
    add(journal, 140)
    newest = journal._db.execute("SELECT max(stamp_ns) FROM blocks").fetchone()[0]
    journal._db.execute("UPDATE blocks SET stamp_ns = stamp_ns - ? WHERE id = 100", (500 * DAY_NS,))
    for now_ns in (newest - 400 * DAY_NS, newest - 600 * DAY_NS):
        assert not journal._retention.is_due(now_ns)
        assert journal._retention.step(now_ns) == 0
    assert not JournalReader(journal.path).use().needed
    journal.close()


def test_made_up_streams_leave_with_their_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("floop_robot.stream.journal_retention.MAX_STREAMS", 5)
    journal = bounded(tmp_path / "journal.sqlite", kept=100, max_bytes=1.0)
    add(journal, 1)
    for number in range(40):
        journal.append([journal_entry(0, 20, f"made_up_{number}")])
        maintain(journal)
    reader = JournalReader(journal.path)
    blocks = reader.audit().blocks
    assert blocks < 20 and reader.audit().is_sound
    assert len(reader.high_water_marks()) <= 5 + blocks
    assert journal._db.execute("SELECT count(*) FROM tails").fetchone()[0] <= 5 + blocks
    journal.close()


def test_it_says_when_what_is_needed_is_more_than_its_bound(tmp_path: Path) -> None:
    journal = bounded(tmp_path / "journal.sqlite", kept=10**6, max_bytes=1.0)
    add(journal, 5)
    maintain(journal)
    use = JournalReader(journal.path).use()
    assert use.needed and use.removed_blocks == 0
    journal._retention = JournalRetention(journal._db, JournalLimits())
    maintain(journal)
    assert not JournalReader(journal.path).use().needed
    journal.close()


def test_the_file_shrinks_when_a_bound_is_lowered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("floop_robot.stream.journal_retention.FREE_BYTES", 50_000)
    journal = bounded(tmp_path / "journal.sqlite")
    add(journal, 300)
    journal.close()
    full = journal.path.stat().st_size
    journal = bounded(tmp_path / "journal.sqlite", max_bytes=300_000)
    for _ in range(10):
        journal.maintain()
    journal.close()
    assert journal.path.stat().st_size < full / 3


def test_a_full_disk_is_one_line_and_nothing_is_removed(tmp_path: Path) -> None:
    journal = bounded(tmp_path / "journal.sqlite", max_bytes=1.0, kept=1)
    add(journal, 5)
    journal._db.execute("CREATE TRIGGER full BEFORE DELETE ON blocks BEGIN SELECT RAISE(FAIL, 'disk is full'); END")
    with pytest.raises(StorageError, match="disk is full"):
        journal.maintain()
    audit = JournalReader(journal.path).audit()
    assert audit.is_sound and audit.blocks == 5
    journal.close()


def test_a_reader_that_asks_for_what_is_gone_is_told_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    served = Served(tmp_path)
    try:
        late = TailClient(served.server.endpoint)
        served.add(20)
        assert [b.id for b in late.poll(5)] == [1]
        for _ in range(9):
            served.add(20)
        served.journal._retention = JournalRetention(served.journal._db, JournalLimits(1.0, kept_transitions=60))
        maintain(served.journal)
        late._sent = None  # it was answered before the blocks went, had it not been stopped
        with caplog.at_level(logging.WARNING):
            assert [b.id for b in late.poll(5)] == [8, 9, 10]
        assert late.removed == 6 and "blocks 2 to 7 left it before they were read" in caplog.text
        newcomer = TailClient(served.server.endpoint)
        assert [b.id for b in newcomer.poll(5)] == [8, 9, 10]
        assert caplog.text.count("left it before") == 1
        for each in (late, newcomer):
            each.close()
    finally:
        served.close()


def test_a_learner_finds_all_rows_of_its_replay() -> None:
    assert KEPT_TRANSITIONS >= REPLAY_ROWS
