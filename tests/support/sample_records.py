"""Records to test with."""

from __future__ import annotations

import time

import numpy as np

from floop_robot.spec.ids import Ids
from floop_robot.spec.records import (
    ActMode,
    EpisodeEnd,
    Event,
    Label,
    ObjectReport,
    OutcomeCode,
    Record,
    Source,
    StreamInfo,
    Transition,
)
from floop_robot.stream.codec import decode_block, encode_block
from floop_robot.stream.journal import JournalEntry

OBS, ACTION = 24, 5


def stream_info(robot: str = "robot_1", boot_id: str = "boot", source: Source = Source.ROBOT) -> StreamInfo:
    return StreamInfo(robot, boot_id, "floop/Pick-v0", Ids("c", "l", "r"), source)


def transition(number: int, *, obs: float | None = None, mode: ActMode = ActMode.MEAN) -> Transition:
    """A transition that carries `number` in `step`, so that it is recognised on the other side."""
    vector = np.full(OBS, number % 1000 if obs is None else obs, np.float32)
    action = np.linspace(-1, 1, ACTION, dtype=np.float32)
    return Transition(
        seq=0,
        episode=number // 40,
        step=number,
        stamp_ns=time.time_ns(),
        policy_version=3,
        act_mode=mode,
        obs=vector,
        action_requested=action,
        action=action * np.float32(0.5),
        log_prob=-1.25 if mode is ActMode.SAMPLE else float("nan"),
        reward=0.1,
        terminated=False,
        truncated=number % 40 == 39,
        interventions=number % 3,
    )


def episode_end(episode: int, *, duration_s: float = 2.0) -> EpisodeEnd:
    return EpisodeEnd(
        seq=0,
        episode=episode,
        stamp_ns=time.time_ns(),
        policy_version=3,
        act_mode=ActMode.MEAN,
        steps=40,
        duration_s=duration_s,
        total_reward=4.0,
        outcome=OutcomeCode.TIMEOUT,
        final_obs=np.arange(OBS, dtype=np.float32),
        object=ObjectReport("box", (0.04, 0.05, 0.06), (0.5, 0.0, 0.03), 0.3),
    )


def label(episode: int) -> Label:
    return Label(seq=0, stamp_ns=1, episode_boot_id="boot", episode=episode, success=True, author="ada", comment="ü")


def event(name: str = "swap") -> Event:
    return Event(seq=0, stamp_ns=1, name=name, detail="v3 → v4")


def journal_entry(
    first: int, count: int, robot: str = "robot_1", source: Source = Source.ROBOT, *more: Record
) -> JournalEntry:
    rows = [transition(i) for i in range(first, first + count)]
    payload = encode_block(stream_info(robot, source=source), first, [*rows, *more])
    return JournalEntry(decode_block(payload), payload)
