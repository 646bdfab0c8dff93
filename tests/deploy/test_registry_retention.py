"""No start, label or refused order counts all history, and what leaves the registry changes no answer."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from floop_robot.deploy import deployment_controller
from floop_robot.deploy.controller_state import live_of
from floop_robot.deploy.registry import Registry, RegistryLimits, read_history, read_versions, registry_use, retention
from floop_robot.deploy.registry.telemetry_store import TelemetryStore
from tests.deploy.test_labels import label, tally, works
from tests.support.in_process_fleet import FleetHarness

DAY_NS = 86400 * 10**9


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FleetHarness]:
    monkeypatch.setattr(deployment_controller, "SUMMARY_EPISODES", 50)
    made = FleetHarness(tmp_path)
    yield made
    made.registry.close()


def answers(harness: FleetHarness) -> object:
    status = harness.fleet.status()
    return status.live, status.confirmed, status.watch, status.production


def test_a_restart_counts_the_episodes_after_the_summary_only(
    harness: FleetHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(1)
    counted: list[int] = []
    episodes_after = TelemetryStore.episodes_after

    def counting(store: TelemetryStore, number: int) -> object:
        found = episodes_after(store, number)
        counted.append(len(found))
        return found

    monkeypatch.setattr(TelemetryStore, "episodes_after", counting)
    works(harness, 1, [True] * 40)
    harness.submit(1, incumbent=1)
    for number in range(30):
        works(harness, 2, [rng.random() < 0.97 for _ in range(17)])
        if number % 5 == 0:
            before = answers(harness)
            harness.restart()
            assert answers(harness)[:2] == before[:2] and answers(harness)[3] == before[3]  # type: ignore[index]
            watch, was = harness.fleet.status().watch, before[2]  # type: ignore[index]
            assert watch is not None and watch.classes == was.classes and watch.decision == was.decision
    assert counted and max(counted) < 70, "550 episodes in all"


def test_labels_on_old_episodes_correct_counts_and_the_watch_without_counting_all_again(harness: FleetHarness) -> None:
    works(harness, 1, [True] * 40)
    harness.submit(1, incumbent=1)
    made = works(harness, 2, [True] * 12)
    works(harness, 2, [True] * 120)
    assert harness.target() == 2 and harness.fleet.status().confirmed == (2,)
    before = tally(harness, 2)
    for _ in range(2):  # the second time it is known
        harness.fleet.observe([], harness.episodes.read(), [label(made[0], False, 1), label(made[1], True, 2)])
        assert tally(harness, 2) == (before[0] - 1, before[1])
    harness.restart()
    assert tally(harness, 2) == (before[0] - 1, before[1])
    history = read_versions(harness.path, 10)
    assert sum(t.successes for t in live_of(history).tallies(history.weights[2]).values()) == before[0] - 1


def test_many_late_labels_still_roll_a_version_back(harness: FleetHarness) -> None:
    works(harness, 1, [True] * 40)
    harness.submit(1, incumbent=1)
    made = works(harness, 2, [True] * 10)
    works(harness, 1, [True] * 100)  # a held robot goes on
    assert harness.target() == 2
    for number, episode in enumerate(made):
        harness.fleet.observe([], harness.episodes.read(), [label(episode, False, number)])
    for number, episode in enumerate(works(harness, 2, [True] * 10)):
        harness.fleet.observe([], harness.episodes.read(), [label(episode, False, 100 + number)])
    assert harness.registry.versions()[-1].restores == 1


def test_episodes_leave_by_age_and_size_and_no_answer_changes(
    harness: FleetHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "KEPT_EPISODES", 60)
    made = works(harness, 1, [True] * 30)
    harness.fleet.observe([], harness.episodes.read(), [label(made[3], False, 1)])
    works(harness, 1, [True, False] * 100)
    before = answers(harness)
    harness.registry.close()
    registry = Registry(harness.path, RegistryLimits(max_age_s=86400.0))
    registry.maintain(harness.now_ns)
    assert len(registry.telemetry.episodes()) == 230
    registry.maintain(harness.now_ns + 2 * DAY_NS)
    left = len(registry.telemetry.episodes())
    assert 60 <= left < 120 and not registry_use(harness.path).needed
    registry.close()
    registry = Registry(harness.path, RegistryLimits(max_bytes=1.0))
    registry.maintain(harness.now_ns)
    assert 60 <= len(registry.telemetry.episodes()) <= left
    registry.maintain(harness.now_ns + 10**10)
    assert registry_use(harness.path).needed and registry_use(harness.path).bytes > 1
    registry.close()
    harness._open()
    assert answers(harness)[:2] == before[:2]  # type: ignore[index]
    works(harness, 1, [True])
    assert tally(harness) == (130, 231)


def test_candidates_leave_and_their_counts_stay(harness: FleetHarness) -> None:
    works(harness, 1, [True])
    for seed in range(5):
        harness.submit(seed, incumbent=7)  # stale
    before = harness.fleet.status()
    harness.registry.close()
    registry = Registry(harness.path, RegistryLimits(max_age_s=1.0))
    registry.maintain(harness.now_ns + DAY_NS)
    assert registry.candidates() == [] and sum(registry.candidate_counts().values()) == 5
    registry.close()
    harness._open()
    assert harness.fleet.status().candidates == before.candidates
    assert read_history(harness.path).candidates == ()


def test_a_registry_of_before_summaries_is_counted_whole_once(
    harness: FleetHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    works(harness, 1, [True] * 120)
    before = answers(harness)
    harness.registry.close()
    with sqlite3.connect(harness.path) as db:
        db.execute("DELETE FROM summary")
    db.close()
    harness._open()
    assert answers(harness) == before
    monkeypatch.setattr(TelemetryStore, "episodes_after", lambda store, number: [] if number == 120 else [None])
    harness.restart()
    assert answers(harness) == before
