"""MemoryJournal: spool, ingest and tail for one process; what it holds is lost with the process."""

from __future__ import annotations

from floop_robot.spec.records import EpisodeEnd, Event, Record, StreamInfo
from floop_robot.stream.codec import TailBlock, decode_block, encode_block

JOURNAL_ID = "memory"


class MemoryJournal:
    """Blocks of records in the order in which they came. Each passes the real codec, one block per episode."""

    def __init__(self) -> None:
        self.blocks: list[TailBlock] = []

    def append(self, info: StreamInfo, first_seq: int, records: list[Record]) -> None:
        """Store records of one stream as a block; raises `BlockRefused`."""
        self.blocks.append(TailBlock(len(self.blocks) + 1, decode_block(encode_block(info, first_seq, records))))


class MemorySink:
    """A stream into a `MemoryJournal`; a `core.RecordSink`."""

    def __init__(self, journal: MemoryJournal, info: StreamInfo) -> None:
        self._journal, self._info = journal, info
        self._next_seq = 0
        self._waiting: list[Record] = []  # bounded by the longest episode

    def put(self, record: Record) -> bool:
        """Take a record; an episode's end, or an event, stores what has come."""
        self._waiting.append(record)
        if isinstance(record, EpisodeEnd | Event):
            self._journal.append(self._info, self._next_seq, self._waiting)
            self._next_seq += len(self._waiting)
            self._waiting = []
        return True


class MemoryFollower:
    """Reads a `MemoryJournal` from its start; a `core.JournalSource`."""

    def __init__(self, journal: MemoryJournal) -> None:
        self._journal = journal
        self.position = 0
        self.journal_id = JOURNAL_ID

    def poll(self, timeout_s: float = 0.0) -> list[TailBlock]:
        """The blocks that came since the last call; it never waits."""
        found = self._journal.blocks[self.position :]
        self.position = len(self._journal.blocks)
        return found
