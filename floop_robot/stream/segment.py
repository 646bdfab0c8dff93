"""Segment: one file of the spool. A head that says whose records follow, then blocks as `codec.py` makes them.

The head is `FLS2`, its length (u32, little-endian) and a frame with its own CRC. It is written to the side and renamed,
so a segment exists whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec

from floop_robot.durable.files import replace_file
from floop_robot.durable.framing import deframe, frame, pack
from floop_robot.spec.errors import StorageError
from floop_robot.spec.records import StreamInfo
from floop_robot.stream.codec import MAGIC, BlockRefused, decode_block, read_header
from floop_robot.stream.protocol import OutgoingBlock

_HEAD_MAGIC, _OLD_HEAD_MAGIC = b"FLS2", b"FLSH"
_LENGTH = struct.Struct("<I")


class OldSpool(StorageError):
    """A spool that an older floop wrote in another format."""


class SegmentHeader(msgspec.Struct, frozen=True):
    """What every record of a segment has in common."""

    info: StreamInfo
    first_seq: int


class Segment(msgspec.Struct, frozen=True):
    """A segment file, and how much of it is durable; frozen, so that size and keys read in another thread agree."""

    path: Path
    head: SegmentHeader
    size: int
    """Bytes up to the end of the last durable block."""
    end_seq: int
    """One past the last durable key."""
    is_clean: bool = True
    """Whether the file ended with a whole block when it was opened."""
    damage: tuple[str, ...] = ()
    """What was damaged when it was opened, in words."""


def create_segment(path: Path, head: SegmentHeader) -> Segment:
    """Make a segment that holds no record yet; atomic. Raises OSError."""
    data = _head(head)
    replace_file(path, data)
    return Segment(path, head, len(data), head.first_seq)


def _head(head: SegmentHeader) -> bytes:
    framed = frame(pack(head))
    return _HEAD_MAGIC + _LENGTH.pack(len(framed)) + framed


def open_segment(path: Path) -> Segment:
    """Find the end of a segment, and what is damaged in it.

    Raises `OldSpool` when it is old, `StorageError` when neither its head nor any block is sound.
    """
    with path.open("rb") as file:
        os.fdatasync(file.fileno())  # a killed writer may have left sound blocks that only the page cache holds
        data = file.read()
    damage = []
    try:
        head, size = _head_of(path, data)
    except OldSpool:
        raise
    except StorageError as error:
        data = _mend_head(path, data, error)
        head, size = _head_of(path, data)
        damage.append(f"{error}; made again from the first sound block, record {head.first_seq}")
    end_seq = head.first_seq
    for end, block in _blocks(data, size):
        if size < (begin := end - len(block.payload)):
            lost = f"; records {end_seq} to {block.first_seq - 1} are lost" if block.first_seq > end_seq else ""
            damage.append(f"{path}: bytes {size} to {begin - 1} are damaged{lost}")
        size, end_seq = end, max(end_seq, block.end_seq)
    if size < len(data):
        damage.append(
            f"{path}: bytes {size} to {len(data) - 1} are no whole block (damaged, or cut off by a power cut); "
            f"records of boot {head.info.boot_id} from {end_seq} on are lost, if there were any"
        )
    return Segment(path, head, size, end_seq, is_clean=size == len(data), damage=tuple(damage))


def _mend_head(path: Path, data: bytes, error: StorageError) -> bytes:
    """Write a segment again whose head is damaged, from its first sound block on; raises `error` without one."""
    found = next(iter(_blocks(data, 0)), None)
    if found is None:
        raise error
    end, block = found
    try:
        info = decode_block(block.payload).info
    except BlockRefused:
        raise error from None
    mended = _head(SegmentHeader(info, block.first_seq)) + data[end - len(block.payload) :]
    with contextlib.suppress(OSError):
        os.link(path, path.with_suffix(".damaged"))  # a person may look at it
    replace_file(path, mended)
    return mended


def read_blocks(segment: Segment, offset: int) -> Iterator[tuple[int, OutgoingBlock]]:
    """Blocks from byte `offset` (0 for the first) up to the durable end, each with the offset behind it.

    Damaged blocks are left out; the first key of the next block shows the gap.
    """
    with segment.path.open("rb") as file:
        file.seek(offset)
        data = file.read(max(0, segment.size - offset))
    start = 0 if offset else _head_of(segment.path, data)[1]
    for end, block in _blocks(data, start):
        yield offset + end, block


def _head_of(path: Path, data: bytes) -> tuple[SegmentHeader, int]:
    if data.startswith(_OLD_HEAD_MAGIC):
        raise OldSpool(
            f"spool {path.parent} was written by an older floop (segment format 1); let that floop deliver it "
            "until nothing waits in it, then move the folder away"
        )
    start = len(_HEAD_MAGIC) + _LENGTH.size
    if len(data) < start or not data.startswith(_HEAD_MAGIC):
        raise StorageError(f"{path} has a damaged head")
    end = start + _LENGTH.unpack_from(data, len(_HEAD_MAGIC))[0]
    body = deframe(memoryview(data)[start:end]) if end <= len(data) else None
    if body is None:
        raise StorageError(f"{path} has a damaged head")
    try:
        return msgspec.msgpack.decode(body, type=SegmentHeader), end
    except (msgspec.MsgspecError, ValueError) as error:
        raise StorageError(f"{path} has a damaged head: {error}") from None


def _blocks(data: bytes, start: int) -> Iterator[tuple[int, OutgoingBlock]]:
    while start < len(data):
        header = read_header(data, start)
        if header is None:  # damaged: look for the next sound one
            start = data.find(MAGIC, start + 1)
            if start < 0:
                return
            continue
        end = start + header.size
        yield end, OutgoingBlock(header.first_seq, header.end_seq, data[start:end])
        start = end
