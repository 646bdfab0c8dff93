"""Records out of a task's ranges: named, replaced one by one, and counted where they were made."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from floop_robot.spec.ids import ids_of
from floop_robot.spec.records import EpisodeEnd, Record, Source, StreamInfo, Transition
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task
from floop_robot.stream.codec import Block, decode_block, encode_block
from floop_robot.stream.row_ranges import RowRanges, without_faults
from floop_robot.stream.spool import Spool
from floop_robot.stream.spool_writer import SpoolWriter
from tests.support.sample_records import episode_end, stream_info, transition

RULES = get_task("floop/Pick-v0")
RANGES = RowRanges(RULES.spec)
INFO = StreamInfo("robot_1", "b", RULES.spec.id, ids_of(RULES, load_robot("panda")), Source.ROBOT)
LOW, HIGH = RULES.spec.observation.low, RULES.spec.observation.high


def row(obs: np.ndarray = HIGH, **changes: object) -> Transition:
    action = np.ones(RULES.spec.action.size, np.float32)
    found = msgspec.structs.replace(transition(0), obs=obs, action=action, action_requested=3 * action)
    return msgspec.structs.replace(found, **changes)


def end(final_obs: np.ndarray = LOW) -> EpisodeEnd:
    return msgspec.structs.replace(episode_end(1), final_obs=final_obs)


def with_number(at: int, value: float) -> np.ndarray:
    obs = HIGH.copy()
    obs[at] = value
    return obs


def block(*records: Record, info: StreamInfo = INFO) -> Block:
    return decode_block(encode_block(info, 10, records))


def test_what_lies_within_the_ranges_passes() -> None:
    assert RANGES.faults(block(row(), row(LOW), end(), end(HIGH))) == {}


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (row(with_number(0, 3e38)), "observation: tcp_x is 3e+38, outside -1.2 to 1.2 m"),
        (row(with_number(2, 450.0)), "observation: tcp_z is 450, outside -1.2 to 1.2 m"),
        (row(with_number(4, -2.0)), "observation: tcp_velocity[1] is -2, outside -1.5 to 1.5 m/s"),
        (row(action=np.full(5, 1.5, np.float32)), "action: tcp_delta[0] is 1.5, outside -1 to 1 1"),
        (row(action_requested=np.full(5, 1e9, np.float32)), "requested action holds 1e+09, beyond 1000"),
        (row(reward=1e30), "reward is 1e+30, beyond 1e+06"),
        (end(with_number(0, -5.0)), "final observation: tcp_x is -5, outside -1.2 to 1.2 m"),
        (msgspec.structs.replace(end(), duration_s=1e20), "the end of episode 1 holds 1e+20"),
        (msgspec.structs.replace(end(), tried=(1.0, -1e20)), "the end of episode 1 holds -1e+20"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_is_named_and_replaced_alone(bad: Record, text: str) -> None:
    found = block(row(), bad, row())
    assert RANGES.faults(found) == {11: text}
    rest = decode_block(without_faults(found, RANGES.faults(found)))
    assert (rest.first_seq, rest.end_seq, rest.rows) == (10, 13, 2)
    [event] = rest.events
    assert (event.seq, event.name, event.detail) == (11, "record_refused", text)


def test_other_contracts_are_held_against_bounds_of_any_task() -> None:
    other = stream_info()
    assert RANGES.faults(block(transition(999), info=other)) == {}
    [fault] = RANGES.faults(block(transition(0, obs=3e38), info=other)).values()
    assert fault == "observation holds 3e+38, beyond 1e+06"


def test_the_robot_refuses_them_before_they_reach_its_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path, INFO, 2**20)
    writer = SpoolWriter(spool, 0.01, ranges=RANGES)
    for record in (row(), row(with_number(0, 3e38)), row()):
        assert writer.put(record)
    assert writer.flush(10)
    writer.close()
    assert writer.stats().refused == 1 and writer.stats().written == 3
    found = [decode_block(each.payload) for each in spool.read(spool.info.boot_id, 0)]
    assert sum(each.rows for each in found) == 2
    assert [event.name for each in found for event in each.events] == ["record_refused"]
    spool.close()
