"""Made-up names: a ring buffer takes memory for rows that are there, and for so many names at most."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from floop_robot.replay.ring_buffer import MAX_ROBOTS, Normalizer, RingBuffer
from floop_robot.replay.transitions import Transitions

OBS, ACTION = 30, 5


def rows(count: int, value: float) -> Transitions:
    vectors = np.full((count, OBS), value, np.float32)
    return Transitions(
        obs=vectors,
        action=np.zeros((count, ACTION), np.float32),
        action_requested=np.zeros((count, ACTION), np.float32),
        next_obs=vectors,
        reward=np.zeros(count, np.float32),
        terminated=np.zeros(count, np.bool_),
        episode_end=np.zeros(count, np.bool_),
        log_prob=np.zeros(count, np.float32),
        policy_version=np.zeros(count, np.int64),
        episode=np.zeros(count, np.int64),
        stamp_ns=np.zeros(count, np.int64),
        is_new=np.zeros(count, np.bool_),
    )


def buffer(quota: int) -> RingBuffer:
    return RingBuffer(OBS, ACTION, quota, Normalizer(np.zeros(OBS, np.float32), np.ones(OBS, np.float32)))


def test_three_hundred_made_up_names_take_a_few_megabytes() -> None:
    script = """
import resource
from tests.replay.test_ring_buffer_names import buffer, rows
made = buffer(50_000)
made.extend("robot_1", rows(10, 1.0))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for number in range(300):
    made.extend(f"nobody_{number}", rows(10, 2.0))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) < 20_000  # kB


def test_the_name_heard_longest_ago_is_forgotten_and_its_rows_are_never_drawn() -> None:
    made = buffer(20)
    made.extend("robot_1", rows(15, 1.0))
    for number in range(MAX_ROBOTS - 1):
        made.extend(f"nobody_{number}", rows(5, 2.0))
    made.extend("robot_1", rows(15, 1.0))  # heard again
    made.extend("robot_2", rows(5, 3.0))
    made.extend("robot_3", rows(5, 3.0))
    assert len(made) == 20 + 5 * (MAX_ROBOTS - 3) + 10
    out = np.zeros((5000, 2 * OBS + ACTION + 2), np.float32)
    made.draw(5000, 0.0, np.random.default_rng(0), out)
    drawn = out[:, 0].tolist()
    assert set(drawn) == {1.0, 2.0, 3.0}
    assert 60 < drawn.count(1.0) < 240  # 20 of 815 rows
