"""Blocks: what goes in comes out, and nothing but BlockRefused comes out of anything else."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from floop_robot.spec.records import MAX_TRIED, ActMode, EpisodeEnd, Event, Label, Record, Transition
from floop_robot.stream.codec import (
    HEADER_BYTES,
    Block,
    BlockDamaged,
    BlockRefused,
    RecordKind,
    check_block,
    decode_block,
    encode_block,
    frame_block,
    read_header,
    stored_crc,
)
from tests.support.sample_records import episode_end, event, label, stream_info, transition

INFO = stream_info()
MIXED: list[Record] = [
    transition(0),
    transition(1, mode=ActMode.SAMPLE),
    episode_end(0),
    event(),
    transition(2),
    label(0),
]


def assert_equal(found: Record, put: Record, seq: int) -> None:
    assert type(found) is type(put)
    for name in found.__struct_fields__:
        a, b = getattr(found, name), seq if name == "seq" else getattr(put, name)
        assert type(a) is type(b), name
        np.testing.assert_equal(a, b, err_msg=name)


def test_records_come_back_equal_and_in_order_with_consecutive_keys() -> None:
    block = decode_block(encode_block(INFO, 17, MIXED))
    assert (block.info, block.first_seq, block.end_seq) == (INFO, 17, 23)
    assert block.kinds == RecordKind.ALL
    for i, (found, put) in enumerate(zip(block.records(), MIXED, strict=True)):
        assert_equal(found, put, 17 + i)


def test_columns_are_arrays_of_the_promised_shapes_and_types() -> None:
    columns = decode_block(encode_block(INFO, 0, [transition(i) for i in range(50)])).transitions
    assert columns is not None and len(columns) == 50
    assert columns.obs.shape == (50, 24) and columns.obs.dtype == np.float32
    assert columns.action.shape == (50, 5) and columns.action.dtype == np.float32
    assert columns.step.tolist() == list(range(50))
    assert columns.truncated.dtype == np.bool_ and columns.truncated.tolist() == [i == 39 for i in range(50)]
    assert np.isnan(columns.log_prob).all()


@pytest.mark.parametrize(
    "bad",
    [
        transition(0, obs=float("nan")),
        transition(0, obs=float("inf")),
        msgspec.structs.replace(transition(0), reward=float("nan")),
        msgspec.structs.replace(transition(0), action=np.full(5, np.nan, np.float32)),
        msgspec.structs.replace(transition(0), action=np.zeros(4, np.float32)),
        msgspec.structs.replace(transition(0), obs=np.zeros((2, 2, 2), np.float32)),
        msgspec.structs.replace(transition(0), obs=np.zeros(0, np.float32)),
        msgspec.structs.replace(transition(0), obs="nonsense"),
        msgspec.structs.replace(transition(0), episode=2**70),
        msgspec.structs.replace(transition(0), log_prob=0.5),
        msgspec.structs.replace(transition(0), act_mode=ActMode.SAMPLE),
        msgspec.structs.replace(transition(0), act_mode=7),
        episode_end(0, duration_s=float("nan")),
        msgspec.structs.replace(episode_end(0), final_obs=np.full(3, np.nan, np.float32)),
        msgspec.structs.replace(episode_end(0), final_obs=np.zeros((2, 2), np.float32)),
        msgspec.structs.replace(episode_end(0), outcome="fine"),
        msgspec.structs.replace(episode_end(0), tried=(0.5, float("nan"))),
        msgspec.structs.replace(episode_end(0), tried=(0.5,) * (MAX_TRIED + 1)),
        msgspec.structs.replace(event(), detail="\ud800"),
        msgspec.structs.replace(label(0), episode="three"),
        msgspec.structs.replace(label(0), episode=2**70),
        msgspec.structs.replace(label(0), episode=2**63),
        msgspec.structs.replace(episode_end(0), episode=2**63),
        msgspec.structs.replace(episode_end(0), policy_version=-1),
    ],
)
def test_what_no_reader_would_take_is_not_written(bad: Record) -> None:
    with pytest.raises(BlockRefused):
        encode_block(INFO, 0, [transition(1), bad])


def test_transitions_of_unlike_shapes_do_not_share_a_block() -> None:
    other = msgspec.structs.replace(transition(1), obs=np.zeros(7, np.float32))
    with pytest.raises(BlockRefused):
        encode_block(INFO, 0, [transition(0), other])


def test_every_single_flipped_bit_is_noticed() -> None:
    data = encode_block(INFO, 3, [transition(1), event()])
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BlockDamaged):
            decode_block(bytes(flipped))


def test_every_truncation_is_noticed() -> None:
    data = encode_block(INFO, 3, [transition(1), event()])
    for length in range(len(data)):
        with pytest.raises(BlockDamaged):
            decode_block(data[:length])


def framed(body: bytes) -> bytes:
    return frame_block(body, 3, 3 + len(MIXED))


def survives(body: bytes) -> None:
    """It is refused in that one way, or decoded."""
    try:
        block = decode_block(framed(body))
    except BlockRefused:
        return
    assert isinstance(block, Block)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bodies_raise_nothing_else(body: bytes) -> None:
    survives(body)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_mutated_bodies_with_a_right_crc_raise_nothing_else(data: st.DataObject) -> None:
    body = bytearray(encode_block(INFO, 3, MIXED)[HEADER_BYTES:])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        if data.draw(st.booleans()):
            body[at] = data.draw(st.integers(0, 255))
        else:
            del body[at : at + data.draw(st.integers(1, 40))]
        if not body:
            break
    survives(bytes(body))


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(["info", "first_seq", "rows", "columns", "ends", "labels", "events"]), PLAIN)
def test_wrong_values_in_any_field_raise_nothing_else(name: str, value: object) -> None:
    wire = msgspec.msgpack.decode(encode_block(INFO, 3, MIXED)[HEADER_BYTES:])
    wire[name] = value
    survives(msgspec.msgpack.encode(wire))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["seq", "act_mode", "obs", "action", "reward", "terminated"]), st.binary(max_size=300))
def test_wrong_columns_raise_nothing_else(name: str, value: bytes) -> None:
    wire = msgspec.msgpack.decode(encode_block(INFO, 3, MIXED)[HEADER_BYTES:])
    wire["columns"][name] = value
    survives(msgspec.msgpack.encode(wire))


def test_deep_nesting_and_bad_text_are_refused() -> None:
    for body in (b"\x91" * 100_000, b"\x81" * 100_000, b"\x82\xa4info\xa3\xff\xff\xff", b"\xdd\xff\xff\xff\xff"):
        with pytest.raises(BlockRefused):
            decode_block(framed(body))


@pytest.mark.parametrize(
    ("field", "value"),
    [("first_seq", -1), ("first_seq", 2**63), ("rows", -3), ("rows", 2**40), ("rows", 2), ("info", None)],
)
def test_impossible_counts_are_refused(field: str, value: object) -> None:
    wire = msgspec.msgpack.decode(encode_block(INFO, 3, MIXED)[HEADER_BYTES:])
    wire[field] = value
    with pytest.raises(BlockRefused):
        decode_block(framed(msgspec.msgpack.encode(wire)))


def test_keys_that_are_not_consecutive_are_refused() -> None:
    wire = msgspec.msgpack.decode(encode_block(INFO, 3, MIXED)[HEADER_BYTES:])
    wire["first_seq"] = 4
    with pytest.raises(BlockRefused, match="consecutive"):
        decode_block(framed(msgspec.msgpack.encode(wire)))


def test_kinds_are_what_was_put() -> None:
    for record, kind in (
        (transition(0), RecordKind.TRANSITION),
        (episode_end(0), RecordKind.EPISODE_END),
        (label(0), RecordKind.LABEL),
    ):
        assert decode_block(encode_block(INFO, 0, [record])).kinds == kind
    assert {type(r) for r in MIXED} == {Transition, EpisodeEnd, Label, Event}


def test_the_header_tells_the_keys_without_decoding() -> None:
    data = encode_block(INFO, 3, MIXED)
    header = check_block(data)
    assert (header.first_seq, header.end_seq, header.size) == (3, 3 + len(MIXED), len(data))
    assert header.crc == stored_crc(data) and read_header(b"??" + data + b"more", 2) == header
    assert read_header(b"??" + data, 1) is None and read_header(data[:-1]) is None


def test_a_header_with_other_keys_than_the_records_is_refused() -> None:
    body = encode_block(INFO, 3, MIXED)[HEADER_BYTES:]
    for keys in ((2, 3 + len(MIXED)), (3, 4 + len(MIXED))):
        with pytest.raises(BlockRefused, match="header"):
            decode_block(frame_block(body, *keys))


def test_a_block_of_an_older_floop_is_damage_that_says_so() -> None:
    with pytest.raises(BlockDamaged, match="is the sender's floop another"):
        decode_block(b"FLB1" + encode_block(INFO, 3, MIXED)[4:])
