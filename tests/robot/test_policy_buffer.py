from __future__ import annotations

import threading

import numpy as np
import pytest

from floop_robot.bundle import Actor
from floop_robot.robot.policy_buffer import PolicyBuffer
from tests.support.sample_bundles import make_bundle, random_observations


def actor(seed: int = 0) -> Actor:
    return make_bundle(seed).actor()


@pytest.fixture
def slots() -> PolicyBuffer:
    return PolicyBuffer()


def test_a_policy_acts_from_the_next_step_on(slots: PolicyBuffer) -> None:
    assert slots.take() is None
    slots.offer(4, actor())
    assert slots.current is None
    taken = slots.take()
    assert taken is not None
    assert taken.version == 4
    observation = random_observations(1)[0]
    assert (taken.actor.mean(observation) == actor().mean(observation)).all()
    assert slots.take() is taken


def test_the_first_step_is_the_first_action_not_the_swap(slots: PolicyBuffer) -> None:
    slots.offer(4, actor())
    taken = slots.take()
    assert taken is not None
    assert slots.first_step_s(4) is None
    for now_s in (1.0, 2.0):
        slots.acted(taken, now_s)
    assert slots.first_step_s(4) == 1.0
    assert slots.first_step_s(5) is None


def test_a_newer_candidate_replaces_one_that_waits(slots: PolicyBuffer) -> None:
    slots.offer(1, actor())
    slots.offer(2, actor(1))
    taken = slots.take()
    assert taken is not None
    assert taken.version == 2


def test_falling_back_returns_the_previous(slots: PolicyBuffer) -> None:
    for version in (1, 2):
        slots.offer(version, actor(version))
        slots.take()
    back = slots.fall_back()
    assert back is not None
    assert back.version == 1
    assert slots.last_fallback == (2, 1)
    slots.offer(3, actor())
    taken = slots.take()
    assert taken is not None
    assert taken.version == 3


def test_without_a_previous_one_nothing_acts(slots: PolicyBuffer) -> None:
    slots.offer(1, actor())
    slots.take()
    assert slots.last_fallback is None
    assert slots.fall_back() is None
    assert slots.last_fallback == (1, 0)
    assert slots.take() is None


def test_swaps_under_load_are_whole(slots: PolicyBuffer) -> None:
    """A thread offers versions while another acts: each action is that of exactly one version, and they only grow."""
    bundles = {v: make_bundle(v) for v in range(1, 25)}
    observation = random_observations(1)[0]
    answers = {v: b.actor().mean(observation) for v, b in bundles.items()}

    def offer() -> None:
        for version, b in bundles.items():
            slots.offer(version, b.actor())

    thread = threading.Thread(target=offer, name="offer")
    thread.start()
    seen = [0]
    while seen[-1] < 24:
        policy = slots.take()
        if policy is None:
            continue
        assert np.array_equal(policy.actor.mean(observation), answers[policy.version])
        slots.acted(policy, float(policy.version))
        if policy.version != seen[-1]:
            seen.append(policy.version)
    thread.join()
    assert seen == sorted(seen)
    assert all(slots.first_step_s(v) == float(v) for v in seen[1:])
