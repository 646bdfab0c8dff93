"""A registry restored from a copy: it grows beyond what robots know, and the same number never means two policies."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from floop_robot.bundle.delivery import Heartbeat, InstallStage, PolicyDelivery, Receipt
from floop_robot.deploy.registry import Registry
from floop_robot.deploy.restored_registry import MAX_GROWTH
from floop_robot.robot.local_store import StoredPolicy
from floop_robot.robot.policy_buffer import PolicyBuffer
from floop_robot.robot.policy_installer import PolicyInstaller
from tests.support.in_process_fleet import FleetHarness
from tests.support.sample_bundles import IDS, TASK, make_bundle


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[FleetHarness]:
    made = FleetHarness(tmp_path)
    yield made
    made.registry.close()


def beat(fleet: FleetHarness, version: int, epoch: int, sha256: str = "", robot: str = "robot_1"):
    return fleet.fleet.handle(
        Heartbeat(robot=robot, boot_id="b", contract=IDS.contract, version=version, epoch=epoch, sha256=sha256)
    )


def restored(fleet: FleetHarness, lost: int) -> tuple[int, str, int]:
    """Publish `lost` versions more, and go back to the copy from before; returns what robots have then."""
    fleet.registry.close()
    shutil.copy(fleet.path, fleet.path.with_suffix(".copy"))
    fleet._open()
    for seed in range(lost):
        fleet.submit(10 + seed, fleet.registry.alias("production"))
        fleet.now_ns += 100 * 10**9
        fleet.fleet.tick()
    newest = fleet.registry.versions()[-1]
    fleet.registry.close()
    for path in fleet.path.parent.glob("registry.sqlite*"):
        if path.suffix != ".copy":
            path.unlink()
    shutil.copy(fleet.path.with_suffix(".copy"), fleet.path)
    fleet._open()
    return newest.version, newest.sha256, newest.epoch


def test_numbers_and_epoch_go_on_beyond_what_a_robot_reports(fleet: FleetHarness) -> None:
    version, sha256, epoch = restored(fleet, lost=3)
    assert version == 4 and fleet.fleet.status().production == 1
    for _ in range(3):  # repeated, it changes nothing more
        target = beat(fleet, version, epoch + 7, sha256)
    assert target.version == 5 and target.epoch > epoch + 7
    status = fleet.fleet.status()
    assert (status.production, status.epoch) == (5, target.epoch)
    assert "robot_1 had v4" in status.notes[0] and "restored from a copy: v1 goes on as v5" in status.notes[0]
    assert fleet.registry.versions()[-1].sha256 == make_bundle(0).manifest.sha256
    fleet.restart()
    assert fleet.fleet.status().epoch > target.epoch
    fleet.submit(20, 5)
    assert fleet.fleet.status().production == 6


def test_another_policy_under_a_known_number_is_replaced(fleet: FleetHarness) -> None:
    version, sha256, epoch = restored(fleet, lost=1)
    fleet.submit(30, 1)  # before any robot is heard: v2 is published again
    assert fleet.fleet.status().production == version == 2
    assert fleet.registry.version(2).sha256 != sha256
    target = beat(fleet, version, epoch, sha256)
    assert target.version == 3
    assert "other bytes" in fleet.fleet.status().notes[0]
    assert beat(fleet, version, epoch, sha256).version == 3 and len(fleet.registry.versions()) == 3


def test_robots_of_this_registry_and_older_ones_change_nothing(fleet: FleetHarness) -> None:
    sha256 = fleet.registry.version(1).sha256
    beat(fleet, 1, fleet.registry.epoch, sha256)
    beat(fleet, 1, 0)
    beat(fleet, 0, 0)
    assert len(fleet.registry.versions()) == 1 and fleet.fleet.status().notes == ()


def test_a_made_up_number_does_not_use_the_numbers_up(fleet: FleetHarness) -> None:
    beat(fleet, 2**61, 1)
    beat(fleet, 1, 2**61)
    status = fleet.fleet.status()
    assert status.production == 1 and len(status.notes) == 2 and "no registry has reached" in status.notes[0]
    assert beat(fleet, 1 + MAX_GROWTH, 1).version == MAX_GROWTH + 2


def test_a_registry_that_grew_stays_readable(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry.sqlite")
    registry.grow(7, 90)
    registry.grow(3, 20)
    assert registry.epoch == 9
    registry.close()
    registry = Registry(tmp_path / "registry.sqlite")
    assert registry.epoch == 10
    registry.close()


def test_a_robot_refuses_another_policy_under_the_number_that_it_has(tmp_path: Path) -> None:
    receipts: list[Receipt] = []
    lines: list[str] = []
    installer = PolicyInstaller(
        "robot_1", TASK, IDS, PolicyBuffer(), StoredPolicy(tmp_path), receipts.append, lines.append
    )

    def deliver(seed: int) -> PolicyDelivery:
        stamped = make_bundle(seed).with_version(version=7, epoch=1, parent=0, certificate=None)
        return PolicyDelivery(version=7, epoch=1, bundle=stamped.to_bytes())

    installer.install(deliver(1), 0.0)
    installer.install(deliver(1), 0.0)
    assert [receipt.stage for receipt in receipts][-1] is InstallStage.INSTALLED and not lines
    installer.install(deliver(2), 0.0)
    assert receipts[-1].stage is InstallStage.REFUSED and "another policy" in receipts[-1].detail
    assert installer.held_manifest is not None
    assert installer.held_manifest.sha256 == make_bundle(1).manifest.sha256
