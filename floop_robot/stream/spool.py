"""Spool: what a robot has recorded and not yet delivered, on its own disk.

Segments (`segment.py`) hold blocks in the order of their keys. `commit` makes blocks durable, with one fdatasync for
all. `acknowledge` deletes segments whose records are all on ingest's disk.

The identity of the counter, `boot_id`, is stored in the heads of the segments. When a file is damaged, or does not end
with a whole block, the used keys are unknown. Then the next records begin a new boot. The old boot is delivered first.
Damage is logged, and sound blocks on both sides of it are delivered.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from floop_robot.durable.files import TEMPORARY, sync_folder, write_all
from floop_robot.durable.locks import ExclusiveLock
from floop_robot.spec.errors import StorageError
from floop_robot.spec.records import Event, StreamInfo
from floop_robot.stream.codec import encode_block
from floop_robot.stream.protocol import OutgoingBlock
from floop_robot.stream.segment import (
    OldSpool,
    Segment,
    SegmentHeader,
    create_segment,
    open_segment,
    read_blocks,
)

log = logging.getLogger(__name__)

SEGMENT_BYTES = 4 * 2**20
"""A segment is read and deleted as a whole."""
MAX_LOST_EVENTS = 512
"""Most events for lost keys in one block."""


class SpoolFull(StorageError):
    """The spool has reached its limit."""


class StreamRange(msgspec.Struct, frozen=True):
    """The stream to deliver first, and which of its keys are here: `floor` ≤ seq < `limit`."""

    info: StreamInfo
    floor: int
    limit: int


class Spool:
    """The spool in one folder; one process at a time. Methods may be called from the writing and the sending thread.

    Raises `StorageError` when the folder can't be used: no permission, full disk, in use, of another robot.
    """

    def __init__(self, folder: Path, info: StreamInfo, limit_bytes: int, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder = folder
        self._limit_bytes = limit_bytes
        self._segment_bytes = min(segment_bytes, max(4096, limit_bytes // 4))
        self._lock = threading.Lock()  # guards the list and sizes of segments; held for microseconds, except to rotate
        self._file = -1
        self._folder_lock = ExclusiveLock(folder / "lock", f"spool {folder}", "stop it, or choose another folder")
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Readable when there is something new to send."""
        try:
            self._segments, self.damage = _scan(folder, info.robot)
            """What was found damaged, in words."""
            self.info = msgspec.structs.replace(info, boot_id=self._boot())
            """Whose records are written, with the boot in force."""
            self._rotate(self._next_seq())
        except OSError as error:
            self.close()
            raise _unusable(folder, error) from None
        except BaseException:
            self.close()
            raise

    @property
    def durable_seq(self) -> int:
        """One past the newest key of the boot in force that survives a power cut."""
        return self._segments[-1].end_seq

    @property
    def size(self) -> int:
        """Bytes in use."""
        with self._lock:
            return sum(segment.size for segment in self._segments)

    def stream(self) -> StreamRange:
        """The oldest boot that is still here; its `limit` grows if it is the boot in force."""
        with self._lock:
            first = self._segments[0].head
            limit = max(s.end_seq for s in self._segments if s.head.info.boot_id == first.info.boot_id)
            return StreamRange(first.info, first.first_seq, limit)

    def ends(self) -> dict[str, int]:
        """One past the newest durable key of every boot that is here, oldest boot first."""
        with self._lock:
            found: dict[str, int] = {}
            for segment in self._segments:
                boot_id = segment.head.info.boot_id
                found[boot_id] = max(found.get(boot_id, 0), segment.end_seq)
            return found

    def commit(self, blocks: list[OutgoingBlock]) -> None:
        """Make blocks durable, all or none; raises OSError, or `SpoolFull` when they don't fit."""
        data = b"".join(block.payload for block in blocks)
        if self.size + len(data) > self._limit_bytes:
            raise SpoolFull(f"spool {self.folder} is full ({self._limit_bytes >> 20} MiB); is ingest reachable?")
        active = self._segments[-1]
        if self._file < 0 or (active.size > 4096 and active.size + len(data) > self._segment_bytes):
            self._rotate(active.end_seq)
            active = self._segments[-1]
        try:
            write_all(self._file, data)
            os.fdatasync(self._file)
        except OSError:
            self._abandon(active)
            raise
        with self._lock:
            self._segments[-1] = msgspec.structs.replace(
                active, size=active.size + len(data), end_seq=blocks[-1].end_seq
            )
        self.wake()

    def wake(self) -> None:
        """Make `wake_fd` readable."""
        os.eventfd_write(self.wake_fd, 1)

    def acknowledge(self, boot_id: str, next_seq: int) -> None:
        """Every key of `boot_id` below `next_seq` is delivered: delete segments that hold nothing else."""
        with self._lock:
            delivered = []
            while len(self._segments) > 1:
                first = self._segments[0]
                if first.head.info.boot_id != boot_id or first.end_seq > next_seq:
                    break
                delivered.append(self._segments.pop(0))
        for segment in delivered:
            segment.path.unlink(missing_ok=True)
        if delivered:
            sync_folder(self.folder)

    def read(self, boot_id: str, seq: int) -> Iterator[OutgoingBlock]:
        """Blocks of `boot_id` from the one that holds `seq` on, to what is durable now; lost keys become events."""
        return SpoolReader(self, boot_id, seq).take()

    def segments(self, boot_id: str, seq: int) -> list[Segment]:
        """Segments of `boot_id` that hold durable keys from `seq` on, oldest first."""
        with self._lock:
            return [s for s in self._segments if s.head.info.boot_id == boot_id and s.end_seq > seq]

    def close(self) -> None:
        """Release the folder; what was not committed is lost."""
        if self._file >= 0:
            os.close(self._file)
        self._folder_lock.release()
        os.close(self.wake_fd)
        self._file = self.wake_fd = -1

    def _boot(self) -> str:
        if self._segments and self._segments[-1].is_clean:
            return self._segments[-1].head.info.boot_id
        return secrets.token_hex(8)

    def _next_seq(self) -> int:
        same = [s.end_seq for s in self._segments if s.head.info.boot_id == self.info.boot_id]
        return max(same, default=0)

    def _rotate(self, first_seq: int) -> None:
        last = max((_number(segment.path) for segment in self._segments), default=0)
        segment = create_segment(self.folder / f"{last + 1:010d}.log", SegmentHeader(self.info, first_seq))
        descriptor = os.open(segment.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        if self._file >= 0:
            os.close(self._file)
        self._file = descriptor
        with self._lock:
            empty = [s for s in self._segments if s.end_seq == s.head.first_seq]
            self._segments = [s for s in self._segments if s not in empty] + [segment]
        for old in empty:
            old.path.unlink(missing_ok=True)

    def _abandon(self, active: Segment) -> None:
        # After a failed write or sync the content of the disk is unknown: cut it off and continue in a new segment.
        try:
            os.ftruncate(self._file, active.size)
        finally:
            os.close(self._file)
            self._file = -1


class SpoolReader:
    """A place in one boot's records, from which reading goes on without looking at what lies before."""

    def __init__(self, spool: Spool, boot_id: str, seq: int) -> None:
        self.seq = seq
        """The next key."""
        self.boot_id = boot_id
        self._spool = spool
        self._path, self._offset = Path(), 0

    def take(self) -> Iterator[OutgoingBlock]:
        """What became durable since; keys that the disk lost come as events, so that none is ever missing."""
        for segment in self._spool.segments(self.boot_id, self.seq):
            info = segment.head.info
            for offset, block in read_blocks(segment, self._offset if segment.path == self._path else 0):
                self._path, self._offset = segment.path, offset
                if block.end_seq > self.seq:
                    yield from self._lost(info, block.first_seq)
                    self.seq = block.end_seq
                    yield block
            yield from self._lost(info, segment.end_seq)

    def _lost(self, info: StreamInfo, end: int) -> Iterator[OutgoingBlock]:
        while self.seq < end:
            start, self.seq = self.seq, min(end, self.seq + MAX_LOST_EVENTS)
            where = f"{self._spool.folder}: records {start} to {self.seq - 1} of boot {self.boot_id}"
            log.error("spool %s are damaged; events stand in their place", where)
            lost = Event(seq=0, stamp_ns=0, name="record_lost", detail="damaged on the robot's disk")
            yield OutgoingBlock(start, self.seq, encode_block(info, start, [lost] * (self.seq - start)))


def _unusable(folder: Path, error: OSError) -> StorageError:
    return StorageError(f"cannot use spool {folder}: {error.strerror or error}; check permissions and free space")


def _number(path: Path) -> int:
    return int(path.stem)


def _scan(folder: Path, robot: str) -> tuple[list[Segment], list[str]]:
    """Segments in order, and what is damaged; files of other names are none."""
    segments: list[Segment] = []
    damage: list[str] = []
    for path in sorted((path for path in folder.glob("*.log") if path.stem.isdecimal()), key=_number):
        try:
            segment = open_segment(path)
        except OldSpool:
            raise
        except StorageError as error:
            path.replace(path.with_suffix(".damaged"))  # a person may look at it
            damage.append(f"{error}, and no block in it is sound; it is set aside as {path.stem}.damaged")
            if segments:
                segments[-1] = msgspec.structs.replace(segments[-1], is_clean=False)
            continue
        if segment.head.info.robot != robot:
            raise StorageError(f"spool {folder} belongs to robot {segment.head.info.robot!r}, not {robot!r}")
        segments.append(segment)
        damage += segment.damage
    for path in folder.glob(f"*{TEMPORARY}"):  # of a killed process
        path.unlink()
    for line in damage:
        log.error("%s", line)
    return _in_order(segments), damage


def _in_order(segments: list[Segment]) -> list[Segment]:
    """By boot, and by key within each: files that somebody copied or swapped have other numbers."""
    newest = {segment.head.info.boot_id: number for number, segment in enumerate(segments)}
    return sorted(segments, key=lambda segment: (newest[segment.head.info.boot_id], segment.head.first_seq))
