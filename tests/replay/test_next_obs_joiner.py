"""Whatever the block borders and however streams interleave, every transition comes out once, with its successor."""

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from floop_robot.replay.next_obs_joiner import NextObsJoiner
from floop_robot.replay.transitions import Transitions, concatenate
from floop_robot.spec.ids import Ids
from floop_robot.spec.records import (
    ActMode,
    EpisodeEnd,
    Event,
    ObjectReport,
    OutcomeCode,
    Record,
    Source,
    StreamInfo,
    Transition,
)
from floop_robot.stream.codec import Block, decode_block, encode_block

OBS = 3


@dataclass
class Stream:
    """One robot's boot: its records, and what should come out."""

    info: StreamInfo
    records: list[Record]
    successors: dict[float, tuple[float, bool, bool]]
    """First observation number → first number of the next, terminated, episode_end."""


def make_stream(name: int, lengths: list[int], endings: list[str]) -> Stream:
    info = StreamInfo(f"r{name}", "boot", "task", Ids("c", "l", "r"), Source.ROBOT)
    records: list[Record] = []
    successors = {}
    for episode, (length, ending) in enumerate(zip(lengths, endings, strict=True)):
        numbers = [name * 1e5 + episode * 100 + step for step in range(length + 1)]
        for step in range(length):
            last = step == length - 1
            terminated, truncated = last and ending == "terminated", last and ending == "truncated"
            records.append(transition(episode, step, numbers[step], terminated, truncated))
            successors[numbers[step]] = (numbers[step + 1], terminated, last)
            if step == 1:
                records.append(Event(seq=0, stamp_ns=0, name="swap"))  # keys run over all kinds
        if ending == "lost":
            del successors[numbers[length - 1]]
        else:
            records.append(end(episode, length, numbers[length], ending))
    return Stream(info, records, successors)


def transition(episode: int, step: int, number: float, terminated: bool, truncated: bool) -> Transition:
    return Transition(
        seq=0, episode=episode, step=step, stamp_ns=1, policy_version=1, act_mode=ActMode.MEAN,
        obs=np.full(OBS, number, np.float32), action_requested=np.zeros(2, np.float32),
        action=np.full(2, 0.5, np.float32), log_prob=float("nan"), reward=number, terminated=terminated,
        truncated=truncated, interventions=0,
    )  # fmt: skip


def end(episode: int, steps: int, number: float, ending: str) -> EpisodeEnd:
    outcomes = {"terminated": OutcomeCode.SUCCESS, "truncated": OutcomeCode.TIMEOUT, "aborted": OutcomeCode.ABORTED}
    return EpisodeEnd(
        seq=0, episode=episode, stamp_ns=1, policy_version=1, act_mode=ActMode.MEAN, steps=steps, duration_s=1.0,
        total_reward=0.0, outcome=outcomes[ending], final_obs=np.full(OBS, number, np.float32),
        object=ObjectReport("box", (0.1, 0.1, 0.1), (0.0, 0.0, 0.0), 0.0),
    )  # fmt: skip


def blocks_of(stream: Stream, sizes: list[int]) -> list[Block]:
    out, start = [], 0
    while start < len(stream.records):
        size = sizes[len(out) % len(sizes)]
        part = stream.records[start : start + size]
        out.append(decode_block(encode_block(stream.info, start, part)))
        start += size
    return out


streams = st.lists(
    st.lists(
        st.tuples(st.integers(1, 6), st.sampled_from(["terminated", "truncated", "aborted", "lost"])),
        min_size=1,
        max_size=5,
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=150, deadline=None)
@given(streams, st.lists(st.integers(1, 5), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_every_transition_comes_out_once_with_its_successor(episodes, sizes, random) -> None:  # type: ignore[no-untyped-def]
    made = [make_stream(i, [n for n, _ in e], [kind for _, kind in e]) for i, e in enumerate(episodes)]
    queues = [blocks_of(stream, sizes) for stream in made]
    joiner, parts = NextObsJoiner(), []
    while any(queues):
        queue = random.choice([q for q in queues if q])
        rows = joiner.join(queue.pop(0))
        if rows is not None:
            parts.append(rows)
    expected = {k: v for stream in made for k, v in stream.successors.items()}
    found = facts(concatenate(parts)) if parts else {}
    assert found == expected
    # The last row of a stream still waits; every other row without a successor is counted.
    lost = sum(kind == "lost" for e in episodes for _, kind in e)
    waiting = sum(e[-1][1] == "lost" for e in episodes)
    assert joiner.dropped == lost - waiting


def facts(rows: Transitions) -> dict[float, tuple[float, bool, bool]]:
    numbers = rows.obs[:, 0].tolist()
    assert len(numbers) == len(set(numbers)), "a row came out twice"
    assert rows.reward.tolist() == numbers
    triples = zip(rows.next_obs[:, 0].tolist(), rows.terminated.tolist(), rows.episode_end.tolist(), strict=True)
    return dict(zip(numbers, triples, strict=True))


def test_rows_around_a_gap_are_never_joined() -> None:
    stream = make_stream(0, [5], ["terminated"])
    blocks = blocks_of(stream, [1])
    joiner = NextObsJoiner()
    parts = [joiner.join(block) for i, block in enumerate(blocks) if i != 3]  # step 2 is missing
    found = facts(concatenate([rows for rows in parts if rows is not None]))
    assert found == {k: v for k, v in stream.successors.items() if k not in (1.0, 2.0)}
    assert joiner.dropped == 1
