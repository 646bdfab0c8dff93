"""Records to one block of bytes and back; everything that is not a sound block becomes one error, `BlockRefused`.

A block is `b"FLB1"`, the CRC-32 of the body (little-endian), and the body: msgpack, in which transitions are columns
(`columns.py`) and the rarer kinds are structs. The keys of its records are `first_seq`, `first_seq + 1`, …: strictly
consecutive over all kinds.
"""

from __future__ import annotations

import enum
import math
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from floop_robot.spec.bounds import MAX_INT
from floop_robot.spec.errors import FloopError
from floop_robot.spec.records import EpisodeEnd, Event, Label, Record, StreamInfo, Transition
from floop_robot.stream.columns import SCALARS, VECTORS, TransitionColumns, validation_error

MAGIC = b"FLB1"
HEADER_BYTES = 8
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


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """Consecutive records of one stream, decoded. `end_seq` is one past the last key."""

    info: StreamInfo
    first_seq: int
    end_seq: int
    transitions: TransitionColumns | None = None
    ends: tuple[EpisodeEnd, ...] = ()
    labels: tuple[Label, ...] = ()
    events: tuple[Event, ...] = ()

    def __len__(self) -> int:
        return self.end_seq - self.first_seq

    @property
    def kinds(self) -> RecordKind:
        """Which kinds are in here."""
        kinds = RecordKind.TRANSITION if self.transitions is not None else RecordKind(0)
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


class _BlockBody(msgspec.Struct, frozen=True):
    """The body as it lies on wire and disk."""

    info: StreamInfo
    first_seq: int
    rows: int = 0
    columns: dict[str, bytes] = {}
    ends: tuple[EpisodeEnd, ...] = ()
    labels: tuple[Label, ...] = ()
    events: tuple[Event, ...] = ()


def _pack_array(value: object) -> bytes:
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value, "<f4").tobytes()
    raise NotImplementedError(f"cannot encode {type(value).__name__}")


def _unpack_array(_: type, value: Any) -> Any:
    if not isinstance(value, bytes):
        raise ValueError("expected the bytes of a float32 vector")
    return np.frombuffer(value, "<f4")


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_pack_array)
_DECODER = msgspec.msgpack.Decoder(_BlockBody, dec_hook=_unpack_array)


def encode_block(info: StreamInfo, first_seq: int, records: Sequence[Record]) -> bytes:
    """Records as a block; their keys become `first_seq`, `first_seq + 1`, … whatever `seq` they came with.

    Raises `BlockRefused` for records that no reader would accept (NaN, unlike shapes, numbers out of range).
    """
    seqs = range(first_seq, first_seq + len(records))
    keyed = list(zip(seqs, records, strict=True))
    rows = [(seq, record) for seq, record in keyed if isinstance(record, Transition)]
    rest = [msgspec.structs.replace(record, seq=seq) for seq, record in keyed if not isinstance(record, Transition)]
    try:
        columns = TransitionColumns.stack([row for _, row in rows]) if rows else None
        if columns is not None:
            columns = msgspec.structs.replace(columns, seq=np.array([seq for seq, _ in rows], "<i8"))
        block = Block(
            info=info,
            first_seq=first_seq,
            end_seq=first_seq + len(records),
            transitions=columns,
            ends=tuple(r for r in rest if isinstance(r, EpisodeEnd)),
            labels=tuple(r for r in rest if isinstance(r, Label)),
            events=tuple(r for r in rest if isinstance(r, Event)),
        )
        _check(block)
        body = _ENCODER.encode(_to_body(block))
        if rest:  # structs don't check their types when they are made; what no one could read must not be written
            _DECODER.decode(body)
    except (ValueError, TypeError, OverflowError, NotImplementedError, RecursionError) as error:
        raise BlockRefused(f"records cannot be written: {error}") from None
    return MAGIC + zlib.crc32(body).to_bytes(4, "little") + body


def decode_block(data: bytes) -> Block:
    """A block from bytes; raises `BlockRefused` for anything else (damage, malice, another version)."""
    try:
        block = _from_body(_DECODER.decode(body_of(data)))
        _check(block)
        return block
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise BlockRefused(f"block is malformed: {error or type(error).__name__}") from None


def body_of(data: bytes) -> memoryview:
    """The checked body of a block; raises `BlockDamaged` when length, mark or CRC is wrong."""
    if not HEADER_BYTES < len(data) <= MAX_BLOCK_BYTES:
        raise BlockDamaged(f"block has {len(data)} bytes, expected {HEADER_BYTES + 1} to {MAX_BLOCK_BYTES}")
    if data[:4] != MAGIC:
        raise BlockDamaged(f"block starts with {bytes(data[:4])!r}, expected {MAGIC!r}; is the sender's floop another?")
    body = memoryview(data)[HEADER_BYTES:]
    if zlib.crc32(body) != int.from_bytes(data[4:HEADER_BYTES], "little"):
        raise BlockDamaged("block failed its CRC: damaged on disk or on the way")
    return body


def split_block(block: Block, from_seq: int) -> bytes:
    """The part of `block` from key `from_seq` on, encoded again."""
    return encode_block(block.info, from_seq, block.records()[from_seq - block.first_seq :])


def _to_body(block: Block) -> _BlockBody:
    columns = block.transitions
    return _BlockBody(
        info=block.info,
        first_seq=block.first_seq,
        rows=0 if columns is None else len(columns),
        columns={} if columns is None else {name: getattr(columns, name).tobytes() for name in (*SCALARS, *VECTORS)},
        ends=block.ends,
        labels=block.labels,
        events=block.events,
    )


def _from_body(wire: _BlockBody) -> Block:
    columns = None
    if wire.rows:
        arrays: dict[str, Any] = {}
        for name, kind in SCALARS.items():
            arrays[name] = _column(wire, name, kind, (wire.rows,))
        for name in VECTORS:
            arrays[name] = _column(wire, name, np.dtype("<f4"), (wire.rows, -1))
        columns = TransitionColumns(**arrays)
    count = wire.rows + len(wire.ends) + len(wire.labels) + len(wire.events)
    return Block(
        info=wire.info,
        first_seq=wire.first_seq,
        end_seq=wire.first_seq + count,
        transitions=columns,
        ends=wire.ends,
        labels=wire.labels,
        events=wire.events,
    )


def _column(wire: _BlockBody, name: str, kind: np.dtype[Any], shape: tuple[int, ...]) -> Any:
    if name not in wire.columns:
        raise ValueError(f"column {name} is missing")
    raw = wire.columns[name]
    if kind == np.dtype("?") and raw.strip(b"\x00\x01"):
        raise ValueError(f"column {name} holds bytes other than 0 and 1")
    return np.frombuffer(raw, kind).reshape(shape)


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
    yield from (end.duration_s, end.total_reward, end.work.yaw_rad)
    yield from end.work.size_m
    yield from end.work.position_m


def _consecutive(block: Block) -> bool:
    rest: list[EpisodeEnd | Label | Event] = [*block.ends, *block.labels, *block.events]
    seqs = [record.seq for record in rest]
    if block.transitions is not None:
        seqs += block.transitions.seq.tolist()
    return sorted(seqs) == list(range(block.first_seq, block.end_seq))
