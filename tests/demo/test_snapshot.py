"""Snapshots: what each start of a process wrote, and the last answer of a fleet manager that is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from floop_robot.demo.snapshot import SnapshotReader
from floop_robot.services.supervision.stats_file import StatsFile
from floop_robot.spec.config import Endpoints, FloopConfig
from tests.support.in_process_fleet import ManagerThread
from tests.support.ports import free_base_port
from tests.support.sample_bundles import make_bundle
from tests.support.sample_snapshots import policy_stats

CONFIG = FloopConfig(robots=2, explorers=1)


def test_before_anything_runs_everything_is_empty(tmp_path: Path) -> None:
    config = msgspec.structs.replace(CONFIG, run_dir=str(tmp_path), endpoints=Endpoints(base_port=free_base_port()))
    with SnapshotReader(config) as reader:
        seen = reader.take()
    assert (seen.fleet, seen.learner, seen.gate, seen.learner_boots, seen.gate_boots) == (None, None, None, 0, 0)
    assert [(r.name, r.policy, r.episodes, r.version) for r in seen.robots] == [
        ("robot_1", [], 0, 0),
        ("robot_2", [], 0, 0),
    ]
    assert [(e.name, e.boots) for e in seen.explorers] == [("explorer_1", [])]


def test_counts_of_a_robot_are_of_all_its_starts(tmp_path: Path) -> None:
    (tmp_path / "stats").mkdir()
    for pid, stats in ((1, policy_stats(episodes=3, successes=2, version=1)), (2, policy_stats(episodes=4, version=5))):
        StatsFile[type(stats)](tmp_path, f"robot_1.policy~{pid}").write(stats, force=True)
    config = msgspec.structs.replace(CONFIG, run_dir=str(tmp_path), endpoints=Endpoints(base_port=free_base_port()))
    with SnapshotReader(config) as reader:
        robot = reader.take().robots[0]
    assert (len(robot.policy), robot.episodes, robot.successes) == (2, 7, 2)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ManagerThread]:
    made = ManagerThread(tmp_path)
    yield made
    made.stop()


def config_of(manager: ManagerThread, run_dir: Path) -> FloopConfig:
    base_port = int(manager.rpc.rpartition(":")[2]) - 5  # `fleet_rpc` is the sixth port of a fleet
    return msgspec.structs.replace(CONFIG, run_dir=str(run_dir), endpoints=Endpoints(base_port=base_port))


def test_a_fleet_manager_that_went_away_keeps_its_last_state(manager: ManagerThread, tmp_path: Path) -> None:
    with SnapshotReader(config_of(manager, tmp_path)) as reader:
        before = reader.take()
        manager.stop()
        assert before.fleet is not None and before.fleet.production == 1
        assert reader.take().fleet == before.fleet


def test_the_bundle_in_production_is_the_fleet_managers(manager: ManagerThread, tmp_path: Path) -> None:
    with SnapshotReader(config_of(manager, tmp_path)) as reader:
        assert reader.production().manifest.sha256 == make_bundle(0).manifest.sha256
