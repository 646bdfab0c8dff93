"""Who starts begins with the journal's summary: no restart reads all history, and nothing that fails is forgotten."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from floop_robot.monitor.fleet_summary import FleetSummary
from floop_robot.spec.records import Source
from floop_robot.stream.codec import decode_block, encode_block
from floop_robot.stream.journal import Journal, JournalEntry
from floop_robot.stream.journal_follower import ROBOT_REPORTS, JournalFollower, SummaryStart
from floop_robot.stream.journal_retention import JournalLimits, JournalRetention
from tests.stream.test_tail import Served
from tests.support.sample_policies import episode_end
from tests.support.sample_records import stream_info, transition
from tests.support.waiting import wait_for

WAIT_S = 20.0


@pytest.fixture(autouse=True)
def always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("floop_robot.stream.journal.MAINTAIN_S", 0.0)
    monkeypatch.setattr("floop_robot.stream.journal_summary.STORE_S", 0.0)
    monkeypatch.setattr("floop_robot.stream.journal_retention.RUN_TRANSITIONS", 1)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    yield made
    made.close()


def work(journal: Journal, episodes: int, success: bool, name: str = "box", source: Source = Source.ROBOT) -> None:
    for _ in range(episodes):
        first = journal.high_water_mark("robot_1", "boot") or 0
        end = episode_end(name, success=success, episode=first)
        payload = encode_block(stream_info("robot_1", source=source), first, [transition(first), end])
        journal.append([JournalEntry(decode_block(payload), payload)])


class Reader:
    """What gate and explorers do with the journal."""

    def __init__(self, endpoint: str, start: SummaryStart | None = None) -> None:
        self.begun: list[int] = []
        self.summary = FleetSummary()
        self.blocks: list[int] = []
        self.follower = JournalFollower(endpoint, ROBOT_REPORTS, start=start or SummaryStart(self.begin))

    def begin(self, summary: FleetSummary, through: int) -> None:
        self.summary = summary
        self.begun.append(through)

    def read(self) -> None:
        for found in self.follower.poll(0.1):
            self.blocks.append(found.id)
            block = found.block
            self.summary.take(block.info, block.ends, block.labels, block.events)

    def read_to(self, head: int) -> None:
        wait_for(lambda: (self.read() or self.follower.position == head) and self.begun, WAIT_S, f"block {head}")


def test_a_reader_begins_behind_the_summary_and_knows_what_came_before(served: Served) -> None:
    work(served.journal, 30, success=False)
    served.journal.maintain()
    work(served.journal, 2, success=True)
    reader = Reader(served.server.endpoint)
    reader.read_to(32)
    assert reader.begun == [30] and reader.blocks == [31, 32]
    assert reader.summary.failures.failing == ("box",) and reader.summary.failures.episodes == 32
    reader.follower.close()


def test_an_empty_journal_is_begun_with_too(served: Served) -> None:
    reader = Reader(served.server.endpoint)
    wait_for(lambda: reader.read() or reader.begun, WAIT_S, "the beginning")
    work(served.journal, 3, success=True)
    served.server.notify()
    reader.read_to(3)
    assert reader.begun == [0] and reader.summary.failures.episodes == 3
    reader.follower.close()


def test_a_failing_class_and_its_reports_outlive_their_blocks(served: Served) -> None:
    work(served.journal, 20, success=False, name="mug")
    work(served.journal, 5, success=True)
    served.journal._retention = JournalRetention(served.journal._db, JournalLimits(1.0, kept_transitions=3))
    served.journal.maintain()
    assert served.journal._retention.first_needed == 23
    reader = Reader(served.server.endpoint)
    reader.read_to(25)
    assert reader.summary.failures.failing == ("mug",) and len(reader.summary.failures.reports(("mug",))) == 20
    reader.follower.close()


def test_a_reader_that_was_away_while_blocks_went_begins_with_the_summary_again(served: Served) -> None:
    work(served.journal, 3, success=True)
    reader = Reader(served.server.endpoint)
    reader.read_to(3)
    work(served.journal, 20, success=False, name="mug")
    served.journal._retention = JournalRetention(served.journal._db, JournalLimits(1.0, kept_transitions=3))
    served.journal.maintain()
    reader.read_to(23)
    assert reader.begun[-1] == 23 and reader.summary.failures.failing == ("mug",)
    reader.follower.close()


def test_a_restarted_ingest_takes_in_what_came_after_its_last_summary(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    work(journal, 10, success=False)
    journal.maintain()
    work(journal, 10, success=False, name="mug")
    journal._db.close()  # killed
    journal._lock.release()
    again = Journal(tmp_path / "journal.sqlite")
    assert again._summary._now.failures.failing == ("box", "mug")
    assert again._summary._now.failures.episodes == 20
    again.close()


EARLIER_FLOOP = "DROP TABLE summary; DROP TABLE row_checksums; UPDATE meta SET value = '2' WHERE name = 'schema'"


@pytest.mark.parametrize("damage", ["UPDATE summary SET stored = x'00112233'", "DELETE FROM summary", EARLIER_FLOOP])
def test_a_summary_that_is_damaged_or_missing_is_made_again(tmp_path: Path, damage: str) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    work(journal, 10, success=False)
    journal.close()
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        db.executescript(damage)
    db.close()
    again = Journal(tmp_path / "journal.sqlite")
    assert again._summary._now.failures.failing == ("box",)
    again.close()


def test_blocks_before_the_summary_s_end_can_be_asked_for(served: Served) -> None:
    work(served.journal, 10, success=True)
    served.journal.maintain()
    begun: list[int] = []
    start = SummaryStart(lambda summary, through: begun.append(through), before=4)
    reader = Reader(served.server.endpoint, start)
    wait_for(lambda: reader.read() or reader.blocks, WAIT_S, "blocks")
    assert begun == [10] and reader.blocks == [7, 8, 9, 10]
    reader.follower.close()


def test_a_learner_without_a_checkpoint_reads_the_newest_transitions_only(served: Served) -> None:
    work(served.journal, 10, success=True)
    served.journal._retention = JournalRetention(served.journal._db, JournalLimits(kept_transitions=3))
    served.journal.maintain()
    follower = JournalFollower(served.server.endpoint, start=SummaryStart(lambda summary, through: None, recent=True))
    found = wait_for(lambda: follower.poll(0.1), WAIT_S, "blocks")
    assert found[0].id > 1
    follower.close()


def test_a_replaced_journal_is_begun_with_anew(tmp_path: Path) -> None:
    first = Served(tmp_path / "a")
    endpoint = first.server.endpoint
    work(first.journal, 10, success=False)
    reader = Reader(endpoint)
    reader.read_to(10)
    first.close()
    second = Served(tmp_path / "b", endpoint)
    try:
        work(second.journal, 3, success=True)
        second.server.notify()
        reader.read_to(3)
        assert len(reader.begun) == 2 and reader.summary.failures.failing == ()
    finally:
        reader.follower.close()
        second.close()
