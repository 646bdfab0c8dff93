"""When a killed process counts as back, and the error when it does not."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

from floop_robot.demo import chaos_runner
from floop_robot.demo.chaos_runner import AT_WORK, ChaosRunner, is_at_work, is_back, kind_of, steps_per_s
from floop_robot.demo.snapshot import ExplorerView, SnapshotReader
from floop_robot.learn.learner import LearnerStatus
from floop_robot.services.explorer import ExplorerStats
from floop_robot.services.gate import GateStats
from floop_robot.services.safety import SafetyStats
from floop_robot.services.supervision.process_spec import ProcessSpec
from floop_robot.services.supervision.supervisor import Supervisor
from floop_robot.sim.sim_driver import DriverStats
from floop_robot.spec.config import Endpoints, FloopConfig
from floop_robot.spec.errors import FloopError
from tests.support.blank_struct import blank
from tests.support.ports import free_base_port
from tests.support.sample_snapshots import fleet_status, policy_stats, robot_view, snapshot
from tests.support.waiting import wait_for

BEFORE = snapshot()
ROBOT = robot_view("robot_1")
OTHER = robot_view("robot_2")


def later(**changes: Any):
    """`BEFORE` with changes to robot 1 (`policy`, `safety`, `driver`) or to the fleet."""
    parts = {name: changes.pop(name) for name in ("policy", "safety", "driver") if name in changes}
    return snapshot(robots=(msgspec.structs.replace(ROBOT, **parts), OTHER), **changes)


RESTARTED = [*ROBOT.policy, policy_stats(steps=3, boot_id="second")]
TWO_STARTS = ExplorerView("explorer_1", [blank(ExplorerStats, transitions=3), blank(ExplorerStats, transitions=1)])
STARTED_EXPLORER = ExplorerView("explorer_1", [blank(ExplorerStats, transitions=3), blank(ExplorerStats)])
CASES = [
    ("robot_1.policy", later(policy=RESTARTED), True),
    ("robot_1.policy", later(policy=[policy_stats(steps=99)]), False),  # the killed process's own last figures
    ("robot_1.policy", later(policy=[*ROBOT.policy, policy_stats(steps=0)]), False),  # it exists, but does nothing yet
    ("robot_1.safety", later(safety=[blank(SafetyStats)] * 2, policy=[policy_stats(steps=12)]), True),
    ("robot_1.safety", later(safety=[blank(SafetyStats)] * 2), False),
    ("robot_1.sim_robot", later(driver=[blank(DriverStats)] * 2, policy=[policy_stats(steps=12)]), True),
    ("robot_1.sim_robot", later(policy=[policy_stats(steps=12)]), False),
    ("ingest", later(policy=[policy_stats(acked=6)]), True),
    ("ingest", later(policy=[policy_stats(steps=99)]), False),
    ("learner", later(learner_boots=2), True),
    ("learner", later(learner_boots=2, learner=blank(LearnerStatus)), False),
    ("learner", later(), False),
    ("fitter", later(), False),
    ("fitter", later(fitter_boots=2), True),
    ("gate", later(gate_boots=2), True),
    ("gate", later(gate_boots=2, gate=blank(GateStats, incumbent=2)), False),
    ("explorer_1", later(explorers=(TWO_STARTS,)), True),
    ("explorer_1", later(explorers=(STARTED_EXPLORER,)), False),
    ("fleet_manager", later(fleet=fleet_status(epoch=2)), True),
    ("fleet_manager", later(), False),
    ("fleet_manager", later(fleet=None), False),
]  # fmt: skip


@pytest.mark.parametrize(("name", "now", "expected"), CASES)
def test_a_process_is_back_when_its_successor_does_the_job(name: str, now: Any, expected: bool) -> None:
    assert is_back(name, BEFORE, BEFORE, now) is expected


def test_every_kind_of_process_says_when_it_is_back() -> None:
    assert {kind_of(name) for name, _, _ in CASES} == set(AT_WORK)
    assert (kind_of("robot_12.policy"), kind_of("explorer_3"), kind_of("gate")) == ("policy", "explorer", "gate")


@pytest.mark.parametrize(
    "missing",
    [{"fleet": None}, {"learner": None}, {"gate": None}, {"gate": blank(GateStats)}, {"learner": blank(LearnerStatus)},
     {"explorers": (ExplorerView("explorer_1", []),)}],
)  # fmt: skip
def test_the_fleet_is_at_work_when_every_process_is(missing: dict[str, Any]) -> None:
    assert is_at_work(snapshot())
    assert not is_at_work(snapshot(**missing))


def test_speed_is_of_an_average_robot_without_the_one_that_was_hit() -> None:
    now = later(policy=[policy_stats(steps=90)])
    assert steps_per_s(BEFORE, now, 4.0) == pytest.approx(10.0)
    assert steps_per_s(BEFORE, now, 4.0, but="robot_1") == 0.0
    nobody = snapshot(robots=())
    assert math.isnan(steps_per_s(nobody, nobody, 4.0))


@pytest.fixture
def config(tmp_path: Path) -> FloopConfig:
    return FloopConfig(robots=1, explorers=0, run_dir=str(tmp_path), endpoints=Endpoints(base_port=free_base_port()))


def timer(config: FloopConfig, name: str, *arguments: str) -> ProcessSpec:
    """A real, light process of the fleet."""
    file = Path(config.run_dir) / "floop.yaml"
    file.write_bytes(msgspec.yaml.encode(config))
    return ProcessSpec(name=name, module="bare_timer", arguments=("--config", str(file), *arguments))


def test_a_process_that_does_not_work_again_in_time_is_late_and_the_run_goes_on(
    config: FloopConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chaos_runner, "RESUME_TIMEOUT_S", 1.5)
    with Supervisor([timer(config, "ingest")], tmp_path) as fleet, SnapshotReader(config) as snapshots:
        pid = wait_for(lambda: fleet.pid("ingest"))
        chaos = ChaosRunner(fleet, snapshots)
        assert chaos.kill("ingest").resumed_s >= 1.5
        wait_for(lambda: fleet.pid("ingest") not in (None, pid), what="its restart")
        fleet.retire(["ingest"])
        with pytest.raises(FloopError, match="cannot kill ingest: it is not running"):
            chaos.kill("ingest")


def test_a_process_that_cannot_work_ends_the_run(config: FloopConfig, tmp_path: Path) -> None:
    broken = msgspec.structs.replace(timer(config, "gate"), arguments=("--config", str(tmp_path / "none.yaml")))
    with Supervisor([broken], tmp_path) as fleet, SnapshotReader(config) as snapshots:
        wait_for(lambda: fleet.given_up)
        with pytest.raises(FloopError, match=r"gate stopped for good: cannot read .*none\.yaml"):
            ChaosRunner(fleet, snapshots).look()
