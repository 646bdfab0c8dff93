"""A robot that joins a running fleet acts on the version in production from its first step on."""

from __future__ import annotations

from pathlib import Path

from floop_robot.bundle import Bundle
from floop_robot.bundle.delivery import InstallStage
from floop_robot.deploy.registry import read_history
from floop_robot.services.fleet_manager import registry_path
from floop_robot.services.supervision.fleet_description import SIMULATED
from tests.support.cli_in_process import PICK
from tests.support.in_process_fleet import OperatorClient
from tests.support.small_fleet import SmallFleet
from tests.support.waiting import wait_for

WAIT_S = 60.0


def test_a_robot_that_joins_late_never_acts_on_an_earlier_version(tmp_path: Path) -> None:
    with SmallFleet(tmp_path, Bundle.load(PICK), robots=2, explorers=0) as fleet:
        fleet.start("ingest", "fleet_manager")
        wait_for(fleet.status, WAIT_S, "the fleet manager")
        with OperatorClient(fleet.config.endpoints.fleet_rpc, "anna@bench", 20.0) as client:
            assert client.push(Bundle.load(PICK)).version == 2
        fleet.start(*SIMULATED.parts, robot="robot_2")
        registry = registry_path(fleet.config)
        wait_for(lambda: read_history(registry).episodes, WAIT_S, "an episode")
        history = read_history(registry)
    assert {(e.robot, e.version) for e in history.episodes} == {("robot_2", 2)}
    acted = [s.receipt for s in history.receipts if s.receipt.stage is InstallStage.ACTING]
    assert [(receipt.robot, receipt.version) for receipt in acted] == [("robot_2", 2)]
