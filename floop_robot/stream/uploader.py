"""RecordUploader: everything a process needs to report records, in one object: spool, writer and sender."""

from __future__ import annotations

from pathlib import Path

import msgspec

from floop_robot.spec.records import Record, StreamInfo
from floop_robot.spec.task import TaskSpec
from floop_robot.stream.row_ranges import RowRanges
from floop_robot.stream.spool import Spool
from floop_robot.stream.spool_writer import SpoolWriter, WriterStats
from floop_robot.stream.stream_sender import SenderStats, StreamSender


class UploaderStats(msgspec.Struct, frozen=True):
    """How the reporting of a process does."""

    writer: WriterStats
    sender: SenderStats

    @property
    def depth(self) -> int:
        """Records taken and not yet on ingest's disk."""
        return self.writer.queued + self.sender.behind


class RecordUploader:
    """Records in at `put`, without waiting; on this disk within `sync_interval_s`; soon after on ingest's.

    `info.boot_id` is ignored: the boot belongs to the spool in `folder` (see `spool.py`). Raises `StorageError` when
    the folder can't be used.
    """

    def __init__(
        self,
        folder: Path,
        info: StreamInfo,
        endpoint: str,
        *,
        limit_mb: float = 256.0,
        sync_interval_s: float = 0.2,
        task: TaskSpec | None = None,
        secret: str = "",
    ) -> None:
        """`task`: records that don't keep its ranges are refused here already. `secret`: shown to ingest."""
        self._spool = Spool(folder, info, int(limit_mb * 2**20))
        self._writer = SpoolWriter(self._spool, sync_interval_s, ranges=RowRanges(task) if task else None)
        self._sender = StreamSender(self._spool, endpoint, secret=secret)

    @property
    def info(self) -> StreamInfo:
        """What travels with every record, with the boot in force."""
        return self._spool.info

    def put(self, record: Record) -> bool:
        """Take a record; never blocks; its `seq` is assigned here. False: dropped, queue and spool are full."""
        return self._writer.put(record)

    def stats(self) -> UploaderStats:
        """Counts so far; from any thread."""
        return UploaderStats(self._writer.stats(), self._sender.stats())

    @property
    def is_durable(self) -> bool:
        """Everything put before is on this disk; from any thread, never waits."""
        return self._writer.stats().queued == 0

    def pause(self, paused: bool, why: str = "") -> None:
        """Send nothing while paused, records wait in the spool; `stats` shows `why` as an error. From any thread."""
        self._sender.pause(paused, why)

    def drain(self, timeout_s: float) -> bool:
        """Wait until ingest has confirmed everything put before. False: it took longer; the spool keeps the rest."""
        return self._writer.flush(timeout_s) and self._sender.drain(timeout_s)

    def close(self) -> None:
        """Make durable what was put, and end; the next uploader of this folder sends what ingest has not confirmed."""
        self._writer.close()
        self._sender.close()
        self._spool.close()
