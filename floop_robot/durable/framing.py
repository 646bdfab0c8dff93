"""What every message between processes is, and how it becomes bytes and back.

The bytes: the CRC-32 of its msgpack (little-endian), then the msgpack. TCP's own checksum lets flipped bits
through, and plain ZeroMQ adds none.
"""

from __future__ import annotations

import zlib
from typing import TypeVar

import msgspec

from floop_robot.spec.errors import FloopError

T = TypeVar("T")
_ENCODER = msgspec.msgpack.Encoder()


class Message(msgspec.Struct, frozen=True, tag=True):
    """Base of every message; a class's name is its tag, unless it gives another."""


class MessageRefused(FloopError):
    """Bytes that are no message."""


class MessageDamaged(MessageRefused):
    """Not the bytes that were sent: sent again, they may arrive."""


def frame_message(message: Message) -> bytes:
    """A message as bytes."""
    body = _ENCODER.encode(message)
    return zlib.crc32(body).to_bytes(4, "little") + body


def deframe_message(data: bytes, decoder: msgspec.msgpack.Decoder[T]) -> T:
    """A message from bytes; raises `MessageDamaged`, or `MessageRefused` when it is none of the expected."""
    body = memoryview(data)[4:]
    if zlib.crc32(body) != int.from_bytes(data[:4], "little"):
        raise MessageDamaged("a message failed its CRC: damaged on the way")
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise MessageRefused(f"a message is malformed: {error or type(error).__name__}") from None
