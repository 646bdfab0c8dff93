from __future__ import annotations

import threading

import numpy as np
import pytest

from floop_robot.bundle import Actor
from floop_robot.robot.policy_buffer import PolicyBuffer
from floop_robot.spec.calibration import NO_OFFSET
from tests.support.sample_bundles import make_bundle, random_observations


def actor(seed: int = 0) -> Actor:
    return make_bundle(seed).actor()


@pytest.fixture
def policy_buffer() -> PolicyBuffer:
    return PolicyBuffer()


def test_a_policy_acts_from_the_next_step_on(policy_buffer: PolicyBuffer) -> None:
    assert policy_buffer.take() is None
    policy_buffer.offer(4, actor())
    assert policy_buffer.current is None
    taken = policy_buffer.take()
    assert taken is not None
    assert taken.version == 4
    observation = random_observations(1)[0]
    assert (taken.actor.mean(observation) == actor().mean(observation)).all()
    assert policy_buffer.take() is taken


def test_the_first_step_is_the_first_action_not_the_swap(policy_buffer: PolicyBuffer) -> None:
    policy_buffer.offer(4, actor())
    taken = policy_buffer.take()
    assert taken is not None
    assert policy_buffer.first_step_s(4) is None
    for now_s in (1.0, 2.0):
        policy_buffer.acted(taken, now_s)
    assert policy_buffer.first_step_s(4) == 1.0
    assert policy_buffer.first_step_s(5) is None


def test_a_newer_candidate_replaces_one_that_waits(policy_buffer: PolicyBuffer) -> None:
    policy_buffer.offer(1, actor())
    policy_buffer.offer(2, actor(1))
    taken = policy_buffer.take()
    assert taken is not None
    assert taken.version == 2


def test_a_policy_with_another_correction_waits_for_the_end_of_the_episode(policy_buffer: PolicyBuffer) -> None:
    corrected = (0.03, 0.0, 0.0)
    for version, correction_m in ((1, NO_OFFSET), (2, corrected)):
        policy_buffer.offer(version, actor(), correction_m)
        taken = policy_buffer.take(NO_OFFSET)
        assert taken is not None
        assert taken.version == 1
    policy_buffer.offer(3, actor(), corrected)
    taken = policy_buffer.take(None)
    assert taken is not None
    assert taken.version == 3


def test_falling_back_returns_the_previous(policy_buffer: PolicyBuffer) -> None:
    for version in (1, 2):
        policy_buffer.offer(version, actor(version))
        policy_buffer.take()
    back = policy_buffer.fall_back()
    assert back is not None
    assert back.version == 1
    assert policy_buffer.last_fallback == (2, 1)
    policy_buffer.offer(3, actor())
    taken = policy_buffer.take()
    assert taken is not None
    assert taken.version == 3


def test_without_a_previous_one_nothing_acts(policy_buffer: PolicyBuffer) -> None:
    assert policy_buffer.fall_back() is None
    assert policy_buffer.last_fallback is None, "nothing acted, so nothing failed"
    policy_buffer.offer(1, actor())
    policy_buffer.take()
    assert policy_buffer.last_fallback is None
    assert policy_buffer.fall_back() is None
    assert policy_buffer.last_fallback == (1, 0)
    assert policy_buffer.take() is None


def test_swaps_under_load_are_whole(policy_buffer: PolicyBuffer) -> None:
    """A thread offers versions while another acts: each action is that of exactly one version, and they only grow."""
    bundles = {v: make_bundle(v) for v in range(1, 25)}
    observation = random_observations(1)[0]
    answers = {v: b.actor().mean(observation) for v, b in bundles.items()}

    def offer() -> None:
        for version, b in bundles.items():
            policy_buffer.offer(version, b.actor())

    thread = threading.Thread(target=offer, name="offer")
    thread.start()
    seen = [0]
    while seen[-1] < 24:
        policy = policy_buffer.take()
        if policy is None:
            continue
        assert np.array_equal(policy.actor.mean(observation), answers[policy.version])
        policy_buffer.acted(policy, float(policy.version))
        if policy.version != seen[-1]:
            seen.append(policy.version)
    thread.join()
    assert seen == sorted(seen)
    assert all(policy_buffer.first_step_s(v) == float(v) for v in seen[1:])
