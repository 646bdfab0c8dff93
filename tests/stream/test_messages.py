"""Messages: what is framed comes back, and nothing but MessageRefused comes out of anything else."""

from __future__ import annotations

import contextlib
import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from floop_robot.durable.framing import MessageRefused, deframe_message, frame, frame_message, pack
from floop_robot.stream.messages import (
    Ack,
    Data,
    FetchBlocks,
    FetchedBlocks,
    FromIngest,
    FromSender,
    FromTailClient,
    Hello,
)

SENDER = msgspec.msgpack.Decoder(FromSender)
INGEST = msgspec.msgpack.Decoder(FromIngest)
CLIENT = msgspec.msgpack.Decoder(FromTailClient)
DECODERS = (SENDER, INGEST, CLIENT)


def raw(value: object) -> bytes:
    return frame(pack(value))


def test_messages_come_back_equal() -> None:
    for message, decoder in (
        (Hello("r", "b", 3, 7), SENDER),
        (Data("r", "b", 3, 9), SENDER),
        (Ack("b", 3, 100, resend=True, nonce=4), INGEST),
        (FetchBlocks(1, 0, 10, 1000, 0.5, sources=(0, 2)), CLIENT),
    ):
        assert deframe_message(frame_message(message), decoder) == message
    fetched = FetchedBlocks(1, "j", (1, 2), 2)
    assert deframe_message(frame_message(fetched), msgspec.msgpack.Decoder(FetchedBlocks)) == fetched


def test_every_flipped_bit_and_truncation_is_noticed() -> None:
    data = frame_message(Data("robot_1", "boot", 3, 9))
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(MessageRefused):
            deframe_message(bytes(flipped), SENDER)
    for length in range(len(data)):
        with pytest.raises(MessageRefused):
            deframe_message(data[:length], SENDER)


@pytest.mark.parametrize(
    ("value", "decoder"),
    [
        (["hello", "", "b", 0, 1], SENDER),
        (["hello", "r", "b", -1, 1], SENDER),
        (["hello", "r", "b", 2**63, 1], SENDER),
        (["hello", "r" * 500, "b", 0, 1], SENDER),
        (["data", "r", "b", 0], SENDER),
        (["ack", "b", 0, 100], SENDER),
        (["fetch", 1, -5, 10, 1000, 1.0], CLIENT),
        (["fetch", 1, 0, 10, 1000, math.nan], CLIENT),
        (["fetch", 1, 0, 10, 1000, 1e9], CLIENT),
        (["fetch", 1, 2**70 // 2**7, 10, 1000, 1.0], CLIENT),
        (["fetch", 1, 0, 10, 1000, 1.0, 15, [300]], CLIENT),
    ],
)
def test_values_out_of_range_are_refused(value: list[object], decoder: msgspec.msgpack.Decoder[object]) -> None:
    with pytest.raises(MessageRefused):
        deframe_message(raw(value), decoder)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.sampled_from(DECODERS))
def test_arbitrary_bodies_raise_nothing_else(body: bytes, decoder: msgspec.msgpack.Decoder[object]) -> None:
    with contextlib.suppress(MessageRefused):
        deframe_message(frame(body), decoder)
