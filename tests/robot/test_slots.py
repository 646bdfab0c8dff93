from __future__ import annotations

import threading

import msgspec
import numpy as np
import pytest

from floop_robot.bundle.bundle import Bundle
from floop_robot.robot.slots import PolicySlots
from floop_robot.spec.errors import BundleRefused, ContractMismatch
from tests.bundle.making import IDS, TASK, make_bundle, random_observations


def bundle(version: int, seed: int = 0) -> Bundle:
    return make_bundle(seed).stamped(version=version, epoch=1, parent=0, certificate=None)


@pytest.fixture
def slots() -> PolicySlots:
    return PolicySlots(TASK, IDS, "robot_3")


def test_a_bundle_acts_from_the_next_step_on(slots: PolicySlots) -> None:
    assert slots.take(0.0, 0) is None
    slots.offer(bundle(4))
    assert slots.current is None
    taken = slots.take(1.0, 1)
    assert taken is not None
    assert taken.version == 4
    observation = random_observations(1)[0]
    assert (taken.actor.mean(observation) == bundle(4).actor().mean(observation)).all()
    assert slots.take(2.0, 2) is taken
    assert [(r.version, r.mono_s) for r in slots.receipts()] == [(4, 1.0)]


def test_what_is_refused_changes_nothing(slots: PolicySlots) -> None:
    slots.offer(bundle(4))
    slots.take(0.0, 0)
    with pytest.raises(BundleRefused, match="not newer than v4 at robot_3"):
        slots.offer(bundle(4, seed=1))
    other = msgspec.structs.replace(IDS, contract="another")
    with pytest.raises(ContractMismatch, match="robot_3"):
        slots.offer(make_bundle(ids=other).stamped(version=5, epoch=1, parent=0, certificate=None))
    broken = bundle(5)
    with pytest.raises(BundleRefused):
        slots.offer(Bundle(broken.manifest, broken.tensors[:-8]))
    now = slots.take(1.0, 1)
    assert now is not None
    assert now.version == 4


def test_a_newer_candidate_replaces_one_that_waits(slots: PolicySlots) -> None:
    slots.offer(bundle(1))
    slots.offer(bundle(2, seed=1))
    taken = slots.take(0.0, 0)
    assert taken is not None
    assert taken.version == 2
    assert [r.version for r in slots.receipts()] == [2]


def test_falling_back_returns_the_previous_and_versions_still_grow(slots: PolicySlots) -> None:
    for version in (1, 2):
        slots.offer(bundle(version, seed=version))
        slots.take(float(version), 0)
    back = slots.fall_back(3.0, 0)
    assert back is not None
    assert back.version == 1
    assert [(r.version, r.fell_back) for r in slots.receipts()] == [(1, False), (2, False), (1, True)]
    with pytest.raises(BundleRefused):
        slots.offer(bundle(2, seed=5))
    slots.offer(bundle(3))
    taken = slots.take(4.0, 0)
    assert taken is not None
    assert taken.version == 3


def test_without_a_previous_one_nothing_acts(slots: PolicySlots) -> None:
    slots.offer(bundle(1))
    slots.take(0.0, 0)
    assert slots.fall_back(1.0, 0) is None
    assert slots.take(2.0, 0) is None


def test_swaps_under_load_are_whole(slots: PolicySlots) -> None:
    """A thread offers versions while another acts: each action is that of exactly one version, and they only grow."""
    bundles = [bundle(v, seed=v) for v in range(1, 25)]
    observation = random_observations(1)[0]
    answers = {b.manifest.version: b.actor().mean(observation) for b in bundles}

    def offer() -> None:
        for b in bundles:
            slots.offer(b)

    thread = threading.Thread(target=offer, name="offer")
    thread.start()
    seen = [0]
    while seen[-1] < 24:
        policy = slots.take(0.0, 0)
        if policy is None:
            continue
        assert np.array_equal(policy.actor.mean(observation), answers[policy.version])
        if policy.version != seen[-1]:
            seen.append(policy.version)
    thread.join()
    assert seen == sorted(seen)
    assert [r.version for r in slots.receipts()] == seen[1:]
