"""Framing: how values become bytes, and how damage to those bytes is noticed.

Everything is encoded by `msgpack` and decoded by `msgspec` into a typed struct, so bytes from outside are checked
while they are read. A frame is the CRC-32 of its body (little-endian), then the body: TCP's own checksum lets flipped
bits through, and plain ZeroMQ adds none.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import msgpack
import msgspec

from floop_robot.spec.errors import FloopError

T = TypeVar("T")
CRC_BYTES = 4


class Message(msgspec.Struct, frozen=True, tag=True):
    """Base of every message between processes; a class's name is its tag, unless it gives another."""


class MessageRefused(FloopError):
    """Bytes that are no message."""


class MessageDamaged(MessageRefused):
    """Not the bytes that were sent: sent again, they may arrive."""


def pack(value: object, enc_hook: Callable[[Any], Any] | None = None) -> bytes:
    """Encode structs, enums and plain values as msgpack; `enc_hook` turns other types into plain ones.

    Raises TypeError, ValueError, OverflowError, NotImplementedError or RecursionError for what can't be encoded.
    """
    packed: bytes = msgpack.packb(msgspec.to_builtins(value, builtin_types=(bytes,), enc_hook=enc_hook))
    return packed


def checksum(data: bytes | memoryview, before: int = 0) -> int:
    """The CRC-32 of `data`; `before` is the CRC of bytes that it continues."""
    return zlib.crc32(data, before)


def frame(body: bytes) -> bytes:
    """The CRC of `body`, then `body`."""
    return checksum(body).to_bytes(CRC_BYTES, "little") + body


def deframe(data: bytes | memoryview) -> memoryview | None:
    """The body of a frame; None when its CRC is wrong."""
    view = memoryview(data)
    if len(view) < CRC_BYTES:
        return None
    body = view[CRC_BYTES:]
    return body if checksum(body) == int.from_bytes(view[:CRC_BYTES], "little") else None


def frame_message(message: Message) -> bytes:
    """A message as bytes."""
    return frame(pack(message))


def deframe_message(data: bytes, decoder: msgspec.msgpack.Decoder[T]) -> T:
    """A message from bytes; raises `MessageDamaged`, or `MessageRefused` when it is none of the expected."""
    body = deframe(data)
    if body is None:
        raise MessageDamaged("a message failed its CRC: damaged on the way")
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise MessageRefused(f"a message is malformed: {error or type(error).__name__}") from None
