"""SpoolWriter: writes the control loop's records to the robot's disk without ever making the loop wait."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

import msgspec

from floop_robot.durable.owned_thread import OwnedThread
from floop_robot.spec.errors import StorageError
from floop_robot.spec.records import Event, Record
from floop_robot.spec.wall_clock import WallClock
from floop_robot.stream.codec import decode_block, encode_block
from floop_robot.stream.protocol import OutgoingBlock
from floop_robot.stream.row_ranges import RowRanges, without_faults
from floop_robot.stream.spool import Spool

log = logging.getLogger(__name__)

MAX_QUEUED = 8192
"""Records that wait for the disk: minutes of a robot's records in a few megabytes."""
MAX_ROWS = 256
"""Records in one block."""
MAX_DAMAGE_EVENTS = 8
"""Events about damage that was found at the start."""
RETRY_S = 0.5
"""Pause after a disk error."""


class WriterStats(msgspec.Struct, frozen=True):
    """How a spool writer does."""

    written: int
    """Records made durable by this process."""
    durable_seq: int
    queued: int
    dropped: int
    """Records refused because queue and spool were full."""
    refused: int
    """Records that no reader would accept (NaN, wrong shape, out of range); an event stands in their place."""
    error: str
    """What is wrong with the disk now; empty when nothing is."""
    damaged: int = 0
    """Places of the spool that were found damaged at the start; the log names them, and so do events."""


class SpoolWriter:
    """Collects records, and writes them to a spool from a thread of its own once per `sync_interval_s`.

    A record is at ack level `robot` when `durable_seq` has passed it. When the spool is full, the oldest records stay,
    and new ones are dropped and counted. Once there is room again, an event in the stream gives their number.
    """

    def __init__(
        self,
        spool: Spool,
        sync_interval_s: float,
        *,
        max_queued: int = MAX_QUEUED,
        clock_ns: Callable[[], int] = time.time_ns,
        ranges: RowRanges | None = None,
    ) -> None:
        """`clock_ns`: the wall clock, which stamps the writer's own events.

        `ranges`: records that don't keep them are refused; None: all that are sound are written.
        """
        self._spool, self._wall_clock, self._ranges = spool, WallClock(clock_ns), ranges
        self._interval_s = sync_interval_s
        self._max_queued = max_queued
        self._queue: deque[Record] = deque()  # no lock: append and popleft are atomic, and the loop must not wait
        self._queue.extend(self._event("spool_damaged", line) for line in spool.damage[:MAX_DAMAGE_EVENTS])
        self._next_seq = spool.durable_seq
        self._pending: list[OutgoingBlock] = []
        self._written = self._dropped = self._reported = self._refused = 0
        self._error = ""
        self._stop = threading.Event()
        self._thread = OwnedThread(self._run, "spool-writer", self._stop)
        self._thread.start()

    def put(self, record: Record) -> bool:
        """Take a record; never blocks. Its `seq` is assigned in the order of puts. False: dropped, there is no room."""
        if len(self._queue) >= self._max_queued or self._stop.is_set():
            self._dropped += 1
            return False
        self._queue.append(record)
        return True

    def stats(self) -> WriterStats:
        """Counts so far; from any thread."""
        return WriterStats(
            written=self._written,
            durable_seq=self._spool.durable_seq,
            queued=len(self._queue) + sum(block.end_seq - block.first_seq for block in self._pending),
            dropped=self._dropped,
            refused=self._refused,
            error=self._error or self._thread.fault,
            damaged=len(self._spool.damage),
        )

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything put before is durable; not for control loops. False: it took longer."""
        deadline = time.monotonic() + timeout_s
        while self._queue or self._pending:
            if time.monotonic() > deadline:
                return False
            time.sleep(self._interval_s / 4)
        return True

    def close(self) -> None:
        """Write what was put, and end the thread."""
        self._stop.set()
        self._thread.join()
        self._write_all()

    def _run(self) -> None:
        while not self._stop.wait(RETRY_S if self._error else self._interval_s):
            self._write_all()

    def _write_all(self) -> None:
        while self._queue or self._pending:
            if not self._pending:
                self._collect()
            if not self._commit():
                return

    def _collect(self) -> None:
        # The queue is left alone while a commit is outstanding, so memory stays bounded by it and one batch.
        taken = min(len(self._queue), MAX_ROWS)
        batch: list[Record] = [self._queue[i] for i in range(taken)]
        if self._dropped > self._reported:
            lost = self._dropped - self._reported
            self._reported += lost
            batch.append(self._event("records_dropped", f"{lost}: no room"))
        self._pending = [self._encode(batch)]
        for _ in range(taken):
            self._queue.popleft()

    def _encode(self, batch: list[Record]) -> OutgoingBlock:
        end = self._next_seq + len(batch)
        try:
            payload = encode_block(self._spool.info, self._next_seq, batch)
        except Exception:  # whatever it is, one record must not hold up all that follow
            batch = [self._sound(record) for record in batch]
            try:
                payload = encode_block(self._spool.info, self._next_seq, batch)
            except Exception as error:  # each is sound alone, but their shapes differ
                self._refused += len(batch)
                payload = encode_block(self._spool.info, self._next_seq, [self._stand_in(error)] * len(batch))
        block = OutgoingBlock(self._next_seq, end, self._in_range(payload))
        self._next_seq = end
        return block

    def _in_range(self, payload: bytes) -> bytes:
        """The block with events for records that no robot of its task can make."""
        if self._ranges is None:
            return payload
        block = decode_block(payload)
        if not (faults := self._ranges.faults(block)):
            return payload
        if not self._refused:
            log.warning("%d records are left out: %s", len(faults), next(iter(faults.values())))
        self._refused += len(faults)
        return without_faults(block, faults)

    def _sound(self, record: Record) -> Record:
        try:
            encode_block(self._spool.info, 0, [record])
            return record
        except Exception as error:
            self._refused += 1
            return self._stand_in(error)

    def _commit(self) -> bool:
        try:
            self._spool.commit(self._pending)
        except (OSError, StorageError) as error:
            self._error = str(error)
            return False
        self._written += sum(block.end_seq - block.first_seq for block in self._pending)
        self._pending, self._error = [], ""
        return True

    def _stand_in(self, error: Exception) -> Event:
        return self._event("record_refused", str(error).encode("ascii", "replace").decode())

    def _event(self, name: str, detail: str) -> Event:
        return Event(seq=0, stamp_ns=self._wall_clock(), name=name, detail=detail)
