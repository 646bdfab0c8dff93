"""MemoryJournal: spool, ingest and tail of one process."""

from __future__ import annotations

import msgspec

from floop_robot.spec.ids import Ids
from floop_robot.spec.records import Source, StreamInfo
from floop_robot.stream.memory_journal import JOURNAL_ID, MemoryFollower, MemoryJournal, MemorySink
from tests.support.sample_records import episode_end, transition

INFO = StreamInfo("robot_1", "boot", "floop/Pick-v0", Ids("contract", "limits", "reward"), Source.ROBOT)


def test_an_episode_becomes_one_block_that_each_follower_reads_once() -> None:
    journal = MemoryJournal()
    sink, first = MemorySink(journal, INFO), MemoryFollower(journal)
    assert sink.put(transition(0)) and sink.put(transition(1))
    assert first.poll() == [], "the episode goes on"
    sink.put(episode_end(2))
    sink.put(msgspec.structs.replace(episode_end(3), episode=4))
    found = first.poll()
    assert [each.id for each in found] == [1, 2] and first.position == 2 and first.journal_id == JOURNAL_ID
    assert [(each.block.first_seq, each.block.end_seq) for each in found] == [(0, 3), (3, 4)]
    assert first.poll() == []
    assert [each.id for each in MemoryFollower(journal).poll()] == [1, 2]
