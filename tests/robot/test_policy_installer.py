"""PolicyInstaller without sockets: what it installs, refuses, reports and stores."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from floop_robot.bundle.delivery import InstallStage, PolicyDelivery, Receipt
from floop_robot.robot.local_store import StoredPolicy
from floop_robot.robot.policy_buffer import PolicyBuffer
from floop_robot.robot.policy_installer import PolicyInstaller
from tests.support.sample_bundles import IDS, TASK, make_bundle


def delivery(version: int, seed: int = 0, epoch: int = 1) -> PolicyDelivery:
    bundle = make_bundle(seed).with_version(version=version, epoch=epoch, parent=0, certificate=None)
    return PolicyDelivery(version=version, epoch=epoch, bundle=bundle.to_bytes())


class Bench:
    """An installer, its buffer, and what it reports."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.buffer, self.store = PolicyBuffer(), StoredPolicy(folder)
        self.receipts: list[Receipt] = []
        self.notices: list[str] = []
        self.installer = PolicyInstaller(
            "robot_1", TASK, IDS, self.buffer, self.store, self.receipts.append, self.notices.append
        )

    def act(self, now_s: float = 1e9) -> None:
        """One control step."""
        policy = self.buffer.take()
        assert policy is not None
        self.buffer.acted(policy, now_s)

    @property
    def stages(self) -> list[tuple[int, InstallStage]]:
        return [(r.version, r.stage) for r in self.receipts]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "robot_1")


def test_every_stage_of_an_installation_is_reported(bench: Bench) -> None:
    assert bench.installer.install(delivery(3), 0.0)
    assert bench.installer.awaits_first_step
    bench.installer.check_first_step()
    bench.act()
    bench.installer.check_first_step()
    expected = (InstallStage.RECEIVED, InstallStage.VERIFIED, InstallStage.INSTALLED, InstallStage.ACTING)
    assert bench.stages == [(3, stage) for stage in expected]
    assert (bench.installer.version, bench.installer.acting, bench.installer.held) == (3, 3, 3)
    assert not bench.installer.awaits_first_step


def test_a_robot_takes_its_own_correction_and_no_other(bench: Bench) -> None:
    bundle = make_bundle().with_calibration({"robot_1": (0.03, 0.0, 0.0), "robot_2": (0.0, 0.05, 0.0)})
    blob = bundle.with_version(version=3, epoch=1, parent=0, certificate=None).to_bytes()
    assert bench.installer.install(PolicyDelivery(version=3, epoch=1, bundle=blob), 0.0)
    policy = bench.buffer.take()
    assert policy is not None and policy.correction_m == (0.03, 0.0, 0.0)
    bench.installer.install(delivery(4), 0.0)
    policy = bench.buffer.take()
    assert policy is not None and policy.correction_m == (0.0, 0.0, 0.0), "a version without corrections has none"


def test_a_version_that_is_not_newer_is_ignored(bench: Bench) -> None:
    bench.installer.install(delivery(3), 0.0)
    reported = len(bench.receipts)
    assert bench.installer.install(delivery(3), 0.0)
    assert bench.installer.install(delivery(2), 0.0)
    assert len(bench.receipts) == reported


def test_a_refused_version_changes_nothing(bench: Bench) -> None:
    bench.installer.install(delivery(3), 0.0)
    for number in (1, 2):
        assert not bench.installer.install(PolicyDelivery(version=4, epoch=1, bundle=b"damaged"), 0.0)
        assert bench.installer.refusals == number
    assert bench.notices[-1].startswith("v4 was refused by robot_1: ")
    assert bench.notices[-1].endswith("robot_1 keeps v3.")
    assert bench.receipts[-1].detail == bench.notices[-1]
    assert bench.installer.version == 3
    assert bench.installer.install(delivery(4), 0.0)
    assert bench.installer.refusals == 0


def test_a_bundle_of_an_older_epoch_is_refused(bench: Bench) -> None:
    bench.installer.install(delivery(3, epoch=2), 0.0)
    assert not bench.installer.install(delivery(4, epoch=1), 0.0)
    assert "stop the older fleet manager" in bench.notices[-1]


def test_a_restarted_robot_acts_on_its_stored_policy(bench: Bench, tmp_path: Path) -> None:
    bench.installer.install(delivery(3), 0.0)
    again = Bench(tmp_path / "robot_1")
    again.installer.restore()
    again.act()
    assert (again.installer.version, again.receipts) == (3, [])
    empty = Bench(tmp_path / "robot_2")
    empty.installer.restore()
    assert (empty.installer.version, empty.notices) == (0, [])


def test_a_fallback_is_reported_once_and_stored(bench: Bench) -> None:
    for version in (3, 4):
        bench.installer.install(delivery(version, seed=version), 0.0)
        bench.act()
        bench.installer.check_first_step()
    bench.buffer.fall_back()
    for _ in range(2):
        bench.installer.check_fallback()
    (receipt,) = (r for r in bench.receipts if r.failed)
    assert (receipt.version, receipt.fallback_version) == (4, 3)
    assert (bench.installer.acting, bench.installer.held, bench.installer.version) == (3, 3, 4)
    stored = bench.store.load(TASK, IDS, "robot_1")
    assert stored is not None
    assert stored.bundle.manifest.version == 3


def test_a_disk_that_fails_does_not_stop_an_installation(bench: Bench) -> None:
    bench.store.path.mkdir()
    assert bench.installer.install(delivery(3), 0.0)
    assert bench.notices[-1].startswith("v3 acts, but would not survive a restart: ")


def test_a_version_that_fails_at_its_first_step_is_not_awaited_any_more(bench: Bench) -> None:
    bench.installer.install(delivery(3, seed=3), 0.0)
    bench.act()
    bench.installer.check_first_step()
    bench.installer.install(delivery(4, seed=4), 0.0)
    bench.buffer.take()
    bench.buffer.fall_back()
    assert bench.installer.awaits_first_step
    bench.installer.check_first_step()
    bench.installer.check_fallback()
    assert not bench.installer.awaits_first_step
    assert bench.stages[-1] == (4, InstallStage.REFUSED)
    assert (bench.installer.acting, bench.installer.held) == (3, 3)


def test_a_policy_made_under_other_limits_acts_and_is_noticed(bench: Bench) -> None:
    other = make_bundle(ids=msgspec.structs.replace(IDS, limits="limits-b"))
    blob = other.with_version(version=3, epoch=1, parent=0, certificate=None).to_bytes()
    assert bench.installer.install(PolicyDelivery(version=3, epoch=1, bundle=blob), 0.0)
    (notice,) = bench.notices
    assert notice.endswith("was trained under limits limits-b, robot_1 enforces limits-a")
    (verified,) = (r for r in bench.receipts if r.stage is InstallStage.VERIFIED)
    assert verified.detail == notice
    bench.act()
