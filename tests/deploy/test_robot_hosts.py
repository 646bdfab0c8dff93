"""Two hosts with one robot's name: real registry, a clock that the test turns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from floop_robot.bundle.delivery import (
    Heartbeat,
    InstallStage,
    NameRefusal,
    Receipt,
    ReceiptAck,
    ReceiptReport,
    RobotHost,
    Target,
)
from floop_robot.deploy.messages import Reply
from floop_robot.deploy.robot_hosts import REPLACED_AFTER_S
from floop_robot.robot.host_identity import host_identity
from tests.support.in_process_fleet import FleetHarness, S
from tests.support.sample_bundles import IDS

FIRST, SECOND = RobotHost("1", "left:/runs/robot_1"), RobotHost("2", "right:/runs/robot_1")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[FleetHarness]:
    made = FleetHarness(tmp_path)
    yield made
    made.registry.close()


def beat(fleet: FleetHarness, host: RobotHost, version: int = 1) -> Reply:
    beat = Heartbeat(robot="robot_1", boot_id="b", contract=IDS.contract, version=version, acting=version, host=host)
    return fleet.fleet.handle(beat)


def receipt(fleet: FleetHarness, host: RobotHost, stage: InstallStage = InstallStage.ACTING) -> Reply:
    made = Receipt(robot="robot_1", version=1, stage=stage, since_received_s=0.1, detail="no room")
    return fleet.fleet.handle(ReceiptReport(receipt=made, host=host))


def test_the_second_is_refused_and_nothing_of_it_is_kept(fleet: FleetHarness) -> None:
    assert isinstance(beat(fleet, FIRST), Target)
    fleet.now_ns += S
    refused = beat(fleet, SECOND, version=0)
    assert isinstance(refused, NameRefusal)
    assert refused.reason == (
        "the name robot_1 is in use by left:/runs/robot_1, heard 1.0 s ago; give this robot another name, or stop the "
        "other: 10 s later the name is free"
    )
    assert isinstance(receipt(fleet, SECOND, InstallStage.REFUSED), NameRefusal)
    robot = fleet.fleet.robot_statuses()[0]
    assert (robot.acting, robot.last_refusal, robot.host) == (1, "", FIRST.name)
    assert robot.duplicate == SECOND.name
    assert fleet.registry.telemetry.receipts() == []
    assert isinstance(beat(fleet, FIRST), Target)
    assert isinstance(receipt(fleet, FIRST), ReceiptAck)
    notes = [entry.what for entry in fleet.registry.audit() if "second robot_1" in entry.what]
    assert notes == ["refused a second robot_1 on right:/runs/robot_1; the first runs on left:/runs/robot_1"]
    fleet.now_ns += int((REPLACED_AFTER_S + 1) * S)
    assert fleet.fleet.robot_statuses()[0].duplicate == "", "it has gone"


def test_a_restart_on_the_same_host_is_no_second(fleet: FleetHarness) -> None:
    beat(fleet, FIRST)
    assert isinstance(beat(fleet, RobotHost(FIRST.id, FIRST.name)), Target)


def test_another_host_follows_when_the_first_is_gone(fleet: FleetHarness) -> None:
    beat(fleet, FIRST)
    for _ in range(9):
        fleet.now_ns += S
        assert isinstance(beat(fleet, SECOND), NameRefusal), "asking does not make the first go"
    fleet.now_ns += S
    assert isinstance(beat(fleet, SECOND), Target)
    assert isinstance(beat(fleet, FIRST), NameRefusal), "now that one is the second"
    assert fleet.fleet.robot_statuses()[0].host == SECOND.name
    moved = "robot_1 runs on right:/runs/robot_1 now; left:/runs/robot_1 was silent for 10 s"
    assert moved in [entry.what for entry in fleet.registry.audit()]


def test_a_restarted_fleet_manager_knows_who_was_first(fleet: FleetHarness) -> None:
    beat(fleet, FIRST)
    fleet.restart()
    assert isinstance(beat(fleet, SECOND), NameRefusal)
    assert isinstance(beat(fleet, FIRST), Target)
    fleet.restart()
    fleet.now_ns += int(REPLACED_AFTER_S * S)
    assert isinstance(beat(fleet, SECOND), Target), "the first had its time"


def test_an_identity_is_of_the_folder_and_outlives_a_restart(tmp_path: Path) -> None:
    left, right = tmp_path / "left", tmp_path / "right"
    left.mkdir(), right.mkdir()
    assert host_identity(left) == host_identity(left)
    assert host_identity(left).id != host_identity(right).id
    assert host_identity(left).name.endswith(":" + str(left))
    assert len(host_identity(left).name) <= 300
