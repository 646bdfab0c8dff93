"""RecordedEpisodes: only whole episodes of robots count, however their rows were cut into blocks."""

from __future__ import annotations

import numpy as np

from floop_robot.fit.recorded_episodes import RecordedEpisodes
from floop_robot.spec.hidden_parameters import HiddenParameters
from floop_robot.spec.records import Source
from floop_robot.stream.codec import Block, decode_block, encode_block
from tests.support.recorded_robots import recorded_blocks

BLOCK = recorded_blocks(HiddenParameters(), 1)[0]


def part(first: int, last: int | None) -> Block:
    records = BLOCK.records()[first:last]
    return decode_block(encode_block(BLOCK.info, first, records))


def test_an_episode_may_come_in_pieces() -> None:
    whole, pieces = RecordedEpisodes(), RecordedEpisodes()
    whole.take(BLOCK)
    for block in (part(0, 5), part(5, 9), part(9, None)):
        pieces.take(block)
    (one,), (other,) = whole.of("robot_1"), pieces.of("robot_1")
    assert one.steps == other.steps == BLOCK.rows and one.success
    assert np.array_equal(one.obs, other.obs) and len(one.obs) == one.steps + 1


def test_an_episode_with_a_gap_is_left_out() -> None:
    recorded = RecordedEpisodes()
    recorded.take(part(0, 5))
    recorded.take(part(7, None))
    assert recorded.of("robot_1") == ()


def test_explorers_record_nothing_of_robots() -> None:
    recorded = RecordedEpisodes()
    recorded.take(recorded_blocks(HiddenParameters(), 1, source=Source.EXPLORER)[0])
    assert recorded.robots == ()


def test_old_episodes_go() -> None:
    recorded = RecordedEpisodes(per_robot=2)
    for _ in range(3):
        recorded.take(BLOCK)
    assert len(recorded.of("robot_1")) == 2
