"""Framing: what msgpack writes msgspec reads back, and every flipped bit is noticed."""

from __future__ import annotations

import enum
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from floop_robot.durable.framing import (
    Message,
    MessageDamaged,
    MessageRefused,
    checksum,
    deframe,
    deframe_message,
    frame,
    frame_message,
    pack,
)


class Color(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Inner(msgspec.Struct, frozen=True):
    numbers: tuple[float, ...]
    name: str | None = None


class Sample(Message, frozen=True):
    inner: Inner
    blob: bytes = b""
    color: Color = Color.RED
    level: Level = Level.HIGH
    table: dict[str, int] = msgspec.field(default_factory=dict)


class Short(Message, frozen=True, array_like=True, tag="short"):
    first: int
    second: tuple[bytes, ...] = ()


class Other(Message, frozen=True):
    pass


DECODER: msgspec.msgpack.Decoder[Sample | Other] = msgspec.msgpack.Decoder(Sample | Other)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=20),
)


@given(PLAIN)
def test_plain_values_are_the_bytes_that_msgspec_writes(value: object) -> None:
    assert pack(value) == msgspec.msgpack.encode(value)


@pytest.mark.parametrize(
    "value",
    [
        Sample(Inner((1.0, math.inf, -0.0)), b"\0" * 70_000, table={"a": 2**40}),
        Short(1, (b"a", b"b")),
        (1, Inner((math.nan,)), Level.HIGH),
    ],
)
def test_structs_are_the_bytes_that_msgspec_writes(value: object) -> None:
    assert pack(value) == msgspec.msgpack.encode(value)


def test_other_types_need_a_hook() -> None:
    array = np.arange(3, dtype="<f4")
    assert msgspec.msgpack.decode(pack({"a": array}, lambda a: a.tobytes())) == {"a": array.tobytes()}
    with pytest.raises(TypeError):
        pack({"a": array})
    with pytest.raises(OverflowError):
        pack(2**65)


def test_a_message_comes_back() -> None:
    message = Sample(Inner((1.5,), "x"), b"blob", table={"a": 1})
    assert deframe_message(frame_message(message), DECODER) == message


def test_every_flipped_bit_of_a_message_is_noticed() -> None:
    data = frame_message(Sample(Inner((1.5,), "x"), b"blob"))
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(MessageDamaged):
            deframe_message(bytes(damaged), DECODER)


@given(st.binary(max_size=64))
def test_sound_frames_of_anything_else_are_refused(body: bytes) -> None:
    with pytest.raises(MessageRefused):
        deframe_message(frame(body), DECODER)


def test_short_data_are_no_frame() -> None:
    assert all(deframe(frame(b"x")[:count]) is None for count in range(5))
    assert deframe(frame(b"x")) == b"x"


def test_a_checksum_may_continue_that_of_bytes_before() -> None:
    assert checksum(b"cd", checksum(b"ab")) == checksum(b"abcd") != checksum(b"cd")
