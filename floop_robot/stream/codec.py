"""Records to one block of bytes and back. A block is what a robot's disk, the wire and the journal hold, unchanged.

Layout, little-endian: `FLB2`, CRC-32 (u32), length of the body (u32), first key (u64), end key (u64), body. The CRC
covers everything behind it. It is computed once, where the block is made, and checked wherever the block was stored or
travelled. The body is the `Block` as msgpack, with transitions as columns (`columns.py`).

The keys of its records are `first_seq`, `first_seq + 1`, …: strictly consecutive over all kinds.
"""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from floop_robot.durable.framing import CRC_BYTES, deframe, frame, pack
from floop_robot.spec.bounds import MAX_INT
from floop_robot.spec.errors import FloopError
from floop_robot.spec.records import EpisodeEnd, Event, Label, Record, StreamInfo, Transition
from floop_robot.stream.columns import TransitionColumns, validation_error

MAGIC = b"FLB2"
_FIELDS = struct.Struct("<IQQ")
HEADER_BYTES = len(MAGIC) + CRC_BYTES + _FIELDS.size
MAX_BLOCK_BYTES = 16 * 2**20
"""No honest block comes near it; a length above is damage."""


class BlockRefused(FloopError):
    """Bytes that are no sound block, or records that cannot be one."""


class BlockDamaged(BlockRefused):
    """Bytes that changed on their way or on a disk: sound ones may come if they are asked for again."""


class RecordKind(enum.IntFlag):
    """Kinds of records, as a set."""

    TRANSITION = 1
    EPISODE_END = 2
    LABEL = 4
    EVENT = 8
    ALL = 15


class BlockHeader(msgspec.Struct, frozen=True):
    """What can be known of a block without decoding it."""

    first_seq: int
    end_seq: int
    """One past the last key."""
    crc: int
    size: int
    """Bytes of the whole block."""


class Block(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Consecutive records of one stream, as they lie on disk and wire."""

    info: StreamInfo
    first_seq: int
    rows: int = 0
    """Number of transitions."""
    columns: dict[str, bytes] = {}
    """Bytes of each column of the transitions; read them as `transitions`."""
    ends: tuple[EpisodeEnd, ...] = ()
    labels: tuple[Label, ...] = ()
    events: tuple[Event, ...] = ()

    def __len__(self) -> int:
        return self.rows + len(self.ends) + len(self.labels) + len(self.events)

    @property
    def end_seq(self) -> int:
        """One past the last key."""
        return self.first_seq + len(self)

    @cached_property
    def transitions(self) -> TransitionColumns | None:
        """The transitions as arrays over the block's own bytes; raises ValueError where columns don't fit."""
        return TransitionColumns.from_bytes(self.columns, self.rows) if self.rows else None

    @property
    def kinds(self) -> RecordKind:
        """Which kinds are in here."""
        kinds = RecordKind.TRANSITION if self.rows else RecordKind(0)
        kinds |= RecordKind.EPISODE_END if self.ends else RecordKind(0)
        kinds |= RecordKind.LABEL if self.labels else RecordKind(0)
        return kinds | (RecordKind.EVENT if self.events else RecordKind(0))

    def records(self) -> list[Record]:
        """All records in the order of their keys."""
        columns = self.transitions
        rows: list[Record] = [] if columns is None else [columns.row(i) for i in range(len(columns))]
        return sorted([*rows, *self.ends, *self.labels, *self.events], key=lambda record: record.seq)


class TailBlock(msgspec.Struct, frozen=True):
    """A block, and its id in the journal, which rises."""

    id: int
    block: Block


def _pack_array(value: object) -> bytes:
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value, "<f4").tobytes()
    raise NotImplementedError(f"cannot encode {type(value).__name__}")


def _unpack_array(_: type, value: Any) -> Any:
    if not isinstance(value, bytes):
        raise ValueError("expected the bytes of a float32 vector")
    return np.frombuffer(value, "<f4")


_MALFORMED = (
    msgspec.MsgspecError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)
"""What other people's bytes may raise."""
_DECODER = msgspec.msgpack.Decoder(Block, dec_hook=_unpack_array)

_EARLIER_NAME = msgspec.msgpack.encode("work")
"""What `EpisodeEnd.object` was called before: earlier robots, and spools and journals on disks, have it."""


def encode_block(info: StreamInfo, first_seq: int, records: Sequence[Record]) -> bytes:
    """Records as a block; their keys become `first_seq`, `first_seq + 1`, … whatever `seq` they came with.

    Raises `BlockRefused` for records that no reader would accept (NaN, unlike shapes, numbers out of range).
    """
    end_seq = first_seq + len(records)
    keyed = list(zip(range(first_seq, end_seq), records, strict=True))
    rows = [(seq, record) for seq, record in keyed if isinstance(record, Transition)]
    rest = [msgspec.structs.replace(record, seq=seq) for seq, record in keyed if not isinstance(record, Transition)]
    try:
        block = Block(
            info=info,
            first_seq=first_seq,
            rows=len(rows),
            columns=TransitionColumns.pack([row for _, row in rows], [seq for seq, _ in rows]) if rows else {},
            ends=tuple(r for r in rest if isinstance(r, EpisodeEnd)),
            labels=tuple(r for r in rest if isinstance(r, Label)),
            events=tuple(r for r in rest if isinstance(r, Event)),
        )
        _check(block)
        body = pack(block, _pack_array)
        if rest:  # structs don't check their types when they are made; what no one could read must not be written
            _DECODER.decode(body)
    except (ValueError, TypeError, OverflowError, NotImplementedError, RecursionError) as error:
        raise BlockRefused(f"records cannot be written: {error}") from None
    return frame_block(body, first_seq, end_seq)


def frame_block(body: bytes, first_seq: int, end_seq: int) -> bytes:
    """Put the header before a body."""
    return MAGIC + frame(_FIELDS.pack(len(body), first_seq, end_seq) + body)


def decode_block(data: bytes) -> Block:
    """A block from bytes; raises `BlockRefused` for anything else (damage, malice, another version)."""
    header = check_block(data)
    try:
        block = _decode_body(data[HEADER_BYTES:])
        _check(block)
    except _MALFORMED as error:
        raise BlockRefused(f"block is malformed: {error or type(error).__name__}") from None
    if (block.first_seq, block.end_seq) != (header.first_seq, header.end_seq):
        raise BlockRefused(f"block holds keys {block.first_seq} to {block.end_seq}, its header says otherwise")
    return block


def _decode_body(body: bytes) -> Block:
    try:
        return _DECODER.decode(body)
    except msgspec.ValidationError:
        if _EARLIER_NAME not in body:
            raise
    raw = msgspec.msgpack.decode(body)
    for end in raw["ends"]:
        end["object"] = end.pop("work")
    return msgspec.convert(raw, Block, dec_hook=_unpack_array)


def check_block(data: bytes) -> BlockHeader:
    """The header of a whole block; raises `BlockDamaged` when mark, length or CRC is wrong."""
    if data[: len(MAGIC)] != MAGIC:
        raise BlockDamaged(f"block starts with {bytes(data[:4])!r}, expected {MAGIC!r}; is the sender's floop another?")
    header = read_header(data)
    if header is None or header.size != len(data):
        raise BlockDamaged("block failed its CRC: damaged on disk or on the way")
    return header


def read_header(data: bytes, start: int = 0) -> BlockHeader | None:
    """The header of the block that begins at `start`; None where no sound block begins."""
    view = memoryview(data)[start:]
    if len(view) <= HEADER_BYTES or view[: len(MAGIC)] != MAGIC:
        return None
    length, first_seq, end_seq = _FIELDS.unpack_from(view, len(MAGIC) + CRC_BYTES)
    size = HEADER_BYTES + length
    if not HEADER_BYTES < size <= min(MAX_BLOCK_BYTES, len(view)) or deframe(view[len(MAGIC) : size]) is None:
        return None
    return BlockHeader(first_seq, end_seq, stored_crc(data, start), size)


def stored_crc(data: bytes, start: int = 0) -> int:
    """The CRC that a block carries, unchecked."""
    return int.from_bytes(data[start + len(MAGIC) : start + len(MAGIC) + CRC_BYTES], "little")


def _check(block: Block) -> None:
    if len(block) == 0 or not 0 <= block.first_seq < MAX_INT:
        raise ValueError(f"{len(block)} records from seq {block.first_seq}")
    if not block.info.robot or not block.info.boot_id:
        raise ValueError("robot and boot_id must not be empty")
    if block.transitions is not None and (fault := validation_error(block.transitions)):
        raise ValueError(fault)
    for end in block.ends:
        if not all(map(math.isfinite, _numbers(end))) or not np.isfinite(end.final_obs).all():
            raise ValueError(f"the end of episode {end.episode} holds NaN or infinity")
        if np.ndim(end.final_obs) != 1:
            raise ValueError(f"final_obs of episode {end.episode} has shape {np.shape(end.final_obs)}")
    if not _consecutive(block):
        raise ValueError(f"keys are not consecutive from {block.first_seq}")


def _numbers(end: EpisodeEnd) -> Iterator[float]:
    yield from (end.duration_s, end.total_reward, end.object.yaw_rad)
    yield from end.object.size_m
    yield from end.object.position_m
    yield from end.object.correction_m
    yield from end.tried


def _consecutive(block: Block) -> bool:
    rest: list[EpisodeEnd | Label | Event] = [*block.ends, *block.labels, *block.events]
    seqs = [record.seq for record in rest]
    if block.transitions is not None:
        seqs += block.transitions.seq.tolist()
    return sorted(seqs) == list(range(block.first_seq, block.end_seq))
