"""Segment: one file of the spool. A head that says whose records follow, then frames, each with length and CRC.

A frame is `mark | length | first_seq | end_seq | crc` (little-endian) and its payload; the CRC-32 covers header and
payload. The head is a frame of its own mark, written to the side and renamed, so a segment exists whole or not at all.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from floop_robot.durable.files import replace_file
from floop_robot.durable.framing import pack
from floop_robot.spec.errors import StorageError
from floop_robot.spec.records import StreamInfo
from floop_robot.stream.codec import MAX_BLOCK_BYTES
from floop_robot.stream.protocol import OutgoingBlock

HEADER_MAGIC, FRAME_MAGIC = b"FLSH", b"FLSF"
_HEADER = struct.Struct("<4sIQQI")


class SegmentHeader(msgspec.Struct, frozen=True):
    """What every record of a segment has in common."""

    info: StreamInfo
    first_seq: int


class Segment(msgspec.Struct, frozen=True):
    """A segment file, and how much of it is durable; frozen, so that size and keys read in another thread agree."""

    path: Path
    head: SegmentHeader
    size: int
    """Bytes up to the end of the last durable frame."""
    end_seq: int
    """One past the last durable key."""
    is_clean: bool = True
    """Whether the file ended with a whole frame when it was opened."""


def frame(mark: bytes, first_seq: int, end_seq: int, payload: bytes) -> bytes:
    """One frame."""
    fields = struct.pack("<IQQ", len(payload), first_seq, end_seq)
    return b"".join((mark, fields, zlib.crc32(payload, zlib.crc32(fields)).to_bytes(4, "little"), payload))


def create_segment(path: Path, head: SegmentHeader) -> Segment:
    """Make a segment that holds no record yet; atomic. Raises OSError."""
    data = frame(HEADER_MAGIC, head.first_seq, head.first_seq, pack(head))
    replace_file(path, data)
    return Segment(path, head, len(data), head.first_seq)


def open_segment(path: Path) -> Segment:
    """Find the end of a segment; raises `StorageError` when its head is damaged."""
    with path.open("rb") as file:
        os.fdatasync(file.fileno())  # a killed writer may have left sound frames that only the page cache holds
        data = file.read()
    head, size = _head_of(path, data)
    end_seq = head.first_seq
    for end, block in _frames(data, size):
        size, end_seq = end, max(end_seq, block.end_seq)
    return Segment(path, head, size, end_seq, is_clean=size == len(data))


def read_blocks(segment: Segment, offset: int) -> Iterator[tuple[int, OutgoingBlock]]:
    """Blocks from byte `offset` (0 for the first) up to the durable end, each with the offset behind it.

    Damaged frames are left out: the key of the next block tells the gap.
    """
    with segment.path.open("rb") as file:
        file.seek(offset)
        data = file.read(max(0, segment.size - offset))
    start = 0 if offset else _head_of(segment.path, data)[1]
    for end, block in _frames(data, start):
        yield offset + end, block


def _head_of(path: Path, data: bytes) -> tuple[SegmentHeader, int]:
    found = _frame_at(data, 0, HEADER_MAGIC)
    if found is None:
        raise StorageError(f"{path} has a damaged head")
    end, block = found
    try:
        return msgspec.msgpack.decode(block.payload, type=SegmentHeader), end
    except (msgspec.MsgspecError, ValueError) as error:
        raise StorageError(f"{path} has a damaged head: {error}") from None


def _frame_at(data: bytes, start: int, mark: bytes = FRAME_MAGIC) -> tuple[int, OutgoingBlock] | None:
    if len(data) - start < _HEADER.size:
        return None
    found, length, first_seq, end_seq, crc = _HEADER.unpack_from(data, start)
    begin, end = start + _HEADER.size, start + _HEADER.size + length
    if found != mark or length > MAX_BLOCK_BYTES or end > len(data):
        return None
    fields = memoryview(data)[start + 4 : begin - 4]
    if zlib.crc32(memoryview(data)[begin:end], zlib.crc32(fields)) != crc:
        return None
    return end, OutgoingBlock(first_seq, end_seq, data[begin:end])


def _frames(data: bytes, start: int) -> Iterator[tuple[int, OutgoingBlock]]:
    while start < len(data):
        found = _frame_at(data, start)
        if found is None:  # damaged: look for the next sound one
            start = data.find(FRAME_MAGIC, start + 1)
            if start < 0:
                return
            continue
        start = found[0]
        yield found
